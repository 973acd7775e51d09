package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"spillway/wal"
)

const (
	// scanRecords and scanBytes bound what is read from the log at a time; a
	// larger record comes alone.
	scanRecords, scanBytes = 1024, 1 << 20
	// positionEvery is how often an entry without a record tells how far it is.
	positionEvery = 200 * time.Millisecond
)

// scan reads a lane from next to last. It holds nothing of the log between two
// reads, however slow emit is.
type scan struct {
	log        *wal.Log
	lane       wal.Lane
	query      *recordQuery
	emit       func(logEntry) error
	reader     *wal.Reader
	next, last uint64
	// single is how many records are read one at a time: the last read of many
	// failed, and this finds which it was. A read that fails may take Pebble a
	// second.
	single int
	// gap is what cannot be read, until something can be.
	gap  *logEntry
	told time.Time
}

// scanLane emits what the query asks for of one lane, and last of all how far
// it came.
func scanLane(ctx context.Context, log *wal.Log, lane wal.Lane, query *recordQuery, emit func(logEntry) error) error {
	next, last, err := extent(log, lane, query.From, query.To, query.Since)
	if err != nil {
		return err
	}
	if query.After > 0 {
		next = query.After + 1
	}
	s := &scan{log: log, lane: lane, query: query, emit: emit, next: next, last: last, told: time.Now()}
	defer func() { s.seek(0) }()
	s.seek(next)
	for s.next <= s.last {
		if err := s.step(ctx); err != nil {
			return err
		}
	}
	if err := s.tellGap(); err != nil {
		return err
	}
	return s.emit(logEntry{Lane: lane.String(), Seq: last, Last: last})
}

// extent finds where reading begins and ends: next is beyond last where there
// is nothing. A record that was asked for by its number and is not there is an
// error.
func extent(log *wal.Log, lane wal.Lane, from, to uint64, since time.Time) (next, last uint64, err error) {
	next, last = log.First(lane), log.Head(lane)
	switch {
	case from > last:
		return 0, 0, badRequest{fmt.Errorf("the %s lane has no record %d: the last one is %d", lane, from, last)}
	case from > 0 && from < next:
		return 0, 0, badRequest{fmt.Errorf("%s record %d is gone: the first one kept is %d", lane, from, next)}
	}
	next = max(next, from)
	if !since.IsZero() {
		young, err := log.Since(lane, since)
		if err != nil {
			return 0, 0, fmt.Errorf("find %s records since %s: %w", lane, since.Format(time.RFC3339), err)
		}
		next = max(next, young)
	}
	if to > 0 {
		last = min(last, to)
	}
	return next, last, nil
}

// seek makes a reader that stands at next; none where it is 0.
func (s *scan) seek(next uint64) {
	if s.reader != nil {
		s.reader.Close()
		s.reader = nil
	}
	if next > 0 {
		s.reader, s.next = s.log.Reader(s.lane, next), next
	}
}

// step reads and emits a batch, or finds out why there is none.
func (s *scan) step(ctx context.Context) error {
	limit := scanRecords
	if s.single > 0 {
		limit = 1
	}
	records, err := s.reader.Next(ctx, limit, scanBytes)
	switch {
	case err == nil:
		return s.pass(records)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, wal.ErrClosed):
		return fmt.Errorf("read log: %w", err)
	case errors.Is(err, wal.ErrTrimmed):
		return s.jump()
	case s.single == 0:
		s.single = scanRecords
		return nil
	}
	if s.gap == nil {
		s.gap = &logEntry{Lane: s.lane.String(), Seq: s.next, Last: s.last, Gap: &logGap{Reason: err.Error()}}
	}
	s.gap.Gap.Through = s.next
	s.seek(s.next + 1)
	return s.tellPosition()
}

// pass emits the records that are asked for.
func (s *scan) pass(records []wal.Record) error {
	s.single = max(s.single-1, 0)
	if s.gap != nil {
		s.single = 0 // it was found
	}
	if err := s.tellGap(); err != nil {
		return err
	}
	for i := range records {
		r := &records[i]
		if r.Seq > s.last {
			break
		}
		s.next = r.Seq + 1
		if !s.query.wants(r) {
			continue
		}
		entry := logEntry{Lane: s.lane.String(), Seq: r.Seq, Last: s.last,
			Record: &logRecord{Received: r.Received, App: r.App, Signature: r.Signature, Body: r.Body}}
		if err := s.emit(entry); err != nil {
			return err
		}
	}
	if s.next > s.last {
		return nil
	}
	return s.tellPosition()
}

// jump goes on where records are kept, after those that went meanwhile.
func (s *scan) jump() error {
	if err := s.tellGap(); err != nil {
		return err
	}
	through := min(s.log.First(s.lane)-1, s.last)
	gap := logEntry{Lane: s.lane.String(), Seq: s.next, Last: s.last, Gap: &logGap{Through: through, Trimmed: true}}
	s.seek(through + 1)
	return s.emit(gap)
}

func (s *scan) tellGap() error {
	if s.gap == nil {
		return nil
	}
	gap := *s.gap
	s.gap = nil
	return s.emit(gap)
}

// tellPosition tells now and then up to where all was looked at, and told.
func (s *scan) tellPosition() error {
	if time.Since(s.told) < positionEvery {
		return nil
	}
	s.told = time.Now()
	through := s.next - 1
	if s.gap != nil {
		through = s.gap.Seq - 1
	}
	return s.emit(logEntry{Lane: s.lane.String(), Seq: through, Last: s.last})
}

func (q *recordQuery) wants(r *wal.Record) bool {
	return (q.App == "" || q.App == r.App) && (q.Wamid == "" || containsWamid(r.Body, q.Wamid))
}

// containsWamid looks for the id as it is and as JSON may write it: with \/ for
// a slash, or with \u and a number for any sign.
func containsWamid(body []byte, wamid string) bool {
	if bytes.Contains(body, []byte(wamid)) {
		return true
	}
	if !bytes.Contains(body, []byte(`\/`)) && !bytes.Contains(body, []byte(`\u`)) {
		return false
	}
	return bytes.Contains(unescape(body), []byte(wamid))
}

// unescape replaces \/ and the \u of ASCII signs; all else stays.
func unescape(text []byte) []byte {
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		switch {
		case rest[0] != '\\' || len(rest) < 2:
			plain = append(plain, rest[0])
		case rest[1] == '/':
			plain = append(plain, '/')
			i++
		case rest[1] == 'u' && len(rest) >= 6 && rest[2] == '0' && rest[3] == '0' && hexValue(rest[4]) < 8 && hexValue(rest[5]) < 16:
			plain = append(plain, hexValue(rest[4])<<4|hexValue(rest[5]))
			i += 5
		default: // an escape of two signs, so that the second one begins none
			plain = append(plain, rest[0], rest[1])
			i++
		}
	}
	return plain
}

// hexValue is 16 for what is no hex digit.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
