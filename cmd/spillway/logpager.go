package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	// fetchRecords and fetchBytes bound a page of records of a running receiver,
	// fetchTime how long a record that was found waits for its page to be full.
	fetchRecords, fetchBytes = 4096, 4 << 20
	fetchTime                = 500 * time.Millisecond
)

// pager reads a lane of a running receiver page by page: an answer is read to its
// end, or given up, before any of it is handed on. However long that takes, no
// answer is open meanwhile, which the receiver would cut.
type pager struct {
	remote *remoteLog
	emit   func(logEntry) error
	// last is where reading will end, as the first page tells.
	last uint64

	// The page: its records and gaps, up to which record it goes, since when.
	entries []logEntry
	bytes   int
	through uint64
	began   time.Time
}

// run reads what the query asks for of its one lane.
func (p *pager) run(ctx context.Context, query recordQuery) error {
	for {
		p.entries, p.bytes, p.began = nil, 0, time.Now()
		err := p.remote.stream(ctx, http.MethodGet, logRecordsPath, query.values(), func(line *logLine) error {
			if line.Entry == nil {
				return nil
			}
			return p.take(line.Entry)
		})
		for i := range p.entries {
			if err := p.emit(p.entries[i]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, errPageFull):
			query.After = p.through
		case err != nil:
			return err
		default:
			query.After = cmp.Or(query.To, p.last)
		}
		if query.After >= p.last {
			return nil
		}
		query.From, query.To, query.Since = 0, min(query.After+fetchRecords, p.last), time.Time{}
	}
}

// take takes an entry into the page; errPageFull where that is all for now.
func (p *pager) take(e *logEntry) error {
	p.last = cmp.Or(p.last, e.Last)
	e.Last = p.last
	found := e.Record != nil || e.Gap != nil
	if !found && len(p.entries) == 0 {
		return p.emit(*e) // which tells how far reading is, and no more
	}
	p.through = e.Seq
	if e.Gap != nil {
		p.through = e.Gap.Through
	}
	if e.Record != nil {
		p.bytes += len(e.Record.Body)
	}
	if found {
		p.entries = append(p.entries, *e)
	}
	if len(p.entries) == fetchRecords || p.bytes >= fetchBytes || time.Since(p.began) >= fetchTime {
		return errPageFull
	}
	return nil
}
