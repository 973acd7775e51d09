package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store"
)

const (
	// pollInterval is the time between two looks at the streams where this process
	// appends nothing, busyInterval where it does.
	pollInterval = 20 * time.Millisecond
	busyInterval = 5 * time.Millisecond
	// A round holds at most so much of one partition, so that a backlog in one
	// does not hold up the others.
	roundEntries = 256
	roundBytes   = 256 << 10
	// quietRounds is the least time between two rounds without entries.
	quietRounds = time.Second
	// skew is how far the clocks of the servers may be apart, in milliseconds: a
	// place is complete when it is so old by the clock of each partition's server.
	skew = 1000
	// farEnd is after every place.
	farEnd = math.MaxUint64
)

// head is how far a stream goes, by the server's clock at that moment.
type head struct {
	now           uint64 // Unix milliseconds
	last, trimmed store.Place
}

// heads reads all heads in one pipeline; errors are by partition. In a Cluster those
// that are away are not waited for.
func (s *Store) heads(ctx context.Context) ([]head, map[int]error) {
	heads, missing := make([]head, len(s.partitions)), make(map[int]error)
	calls, partitions := make([]*invocation, len(heads)), make([]int, len(heads))
	for i, p := range s.partitions {
		calls[i], partitions[i] = newInvocation(headScript, 1, 1), i
		calls[i].add(&p.keys.state)
	}
	replies, errs := s.runPresent(ctx, calls, partitions)
	for i, err := range errs {
		if err == nil {
			heads[i], err = parseHead(replies[i])
		}
		if err != nil {
			missing[i] = err
		}
	}
	return heads, missing
}

func parseHead(reply any) (h head, err error) {
	list, err := listOf(reply, 4)
	if err != nil {
		return head{}, err
	}
	var texts [4]string
	for i := range texts {
		if texts[i], err = stringOf(list[i]); err != nil {
			return head{}, err
		}
	}
	seconds, err := strconv.ParseUint(texts[0], 10, 64)
	if err != nil {
		return head{}, fmt.Errorf("%w: time %q", errReply, texts[0])
	}
	micros, err := strconv.ParseUint(texts[1], 10, 64)
	if err != nil {
		return head{}, fmt.Errorf("%w: time %q", errReply, texts[1])
	}
	h.now = seconds*1000 + micros/1000
	if h.last, err = parsePlace(texts[2]); err != nil {
		return head{}, err
	}
	h.trimmed, err = parsePlace(texts[3])
	return h, err
}

// parsePlace reads the id of a stream's entry; empty is the beginning.
func parsePlace(id string) (store.Place, error) {
	if id == "" {
		return store.Place{}, nil
	}
	ms, seq, _ := strings.Cut(id, "-")
	a, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return store.Place{}, fmt.Errorf("%w: id %q", errReply, id)
	}
	b, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return store.Place{}, fmt.Errorf("%w: id %q", errReply, id)
	}
	return store.Place{Ms: a, Seq: b}, nil
}

func formatPlace(p store.Place) string {
	return strconv.FormatUint(p.Ms, 10) + "-" + strconv.FormatUint(p.Seq, 10)
}

// Bounds gives each partition's bounds. The limit is the clocks' time and a
// second, and what stands beyond it.
func (s *Store) Bounds(ctx context.Context) (bounds []store.Bounds, limit store.Place, err error) {
	done, err := s.begin(ctx, opRead)
	if err != nil {
		return nil, store.Place{}, err
	}
	defer func() { done(err) }()
	heads, missing := s.heads(ctx)
	for i, err := range missing {
		return nil, store.Place{}, fmt.Errorf("read bounds of partition %d: %w", i, err)
	}
	bounds = make([]store.Bounds, len(heads))
	for i, h := range heads {
		bounds[i] = store.Bounds{Trimmed: h.trimmed, Last: h.last}
		for _, p := range []store.Place{h.last, {Ms: h.now + skew, Seq: farEnd}} {
			if limit.Compare(p) < 0 {
				limit = p
			}
		}
	}
	return bounds, limit, nil
}

// Read gives entries of a partition after a place.
func (s *Store) Read(ctx context.Context, partition int, after store.Place, limit, maxBytes int) (_ []store.Entry, err error) {
	done, err := s.begin(ctx, opRead)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	if partition < 0 || partition >= len(s.partitions) {
		return nil, fmt.Errorf("read events: no partition %d of %d", partition, len(s.partitions))
	}
	var entries []store.Entry
	bytes := 0
	for len(entries) < limit && bytes < maxBytes {
		// As many as should fit, going by those so far.
		count := firstPage
		if len(entries) > 0 {
			count = max((maxBytes-bytes)/max(bytes/len(entries), 1), 1)
		}
		count = min(count, limit-len(entries), mostPage)
		page, err := s.page(ctx, partition, after, count)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if bytes >= maxBytes {
				return entries, nil
			}
			bytes += len(page[i].Payload)
			entries = append(entries, page[i])
		}
		if len(page) < count {
			break
		}
		after = page[len(page)-1].Place
	}
	return entries, nil
}

// firstPage and mostPage are how many entries are asked for at a time: the
// largest payloads are some megabytes.
const (
	firstPage = 32
	mostPage  = 1024
)

func (s *Store) page(ctx context.Context, partition int, after store.Place, count int) ([]store.Entry, error) {
	if after.Ms == farEnd && after.Seq == farEnd {
		return nil, nil
	}
	cmd := s.rangeAfter(ctx, partition, after, count)
	if err := s.client.Process(ctx, cmd); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return parseEntries(cmd)
}

// rangeAfter is XRANGE from the place after the one given.
func (s *Store) rangeAfter(ctx context.Context, partition int, after store.Place, count int) *goredis.Cmd {
	return goredis.NewCmd(ctx, "xrange", s.partitions[partition].keys.events, "("+formatPlace(after), "+", "count", count)
}

func parseEntries(cmd *goredis.Cmd) ([]store.Entry, error) {
	list, err := cmd.Slice()
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	entries := make([]store.Entry, 0, len(list))
	for _, each := range list {
		e, err := parseEntry(each)
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry takes an entry apart: an id, and the fields uid, type and payload.
func parseEntry(reply any) (e store.Entry, err error) {
	pair, err := listOf(reply, 2)
	if err != nil {
		return e, err
	}
	fields, err := listOf(pair[1], 6)
	if err != nil {
		return e, err
	}
	var texts [4]string
	for i, v := range []any{pair[0], fields[1], fields[3], fields[5]} {
		if texts[i], err = stringOf(v); err != nil {
			return e, err
		}
	}
	if e.Place, err = parsePlace(texts[0]); err != nil {
		return e, err
	}
	if e.UID, err = uuid.Parse(texts[1]); err != nil {
		return e, fmt.Errorf("%w: uid of %s", errReply, texts[0])
	}
	e.Type, e.Payload = texts[2], []byte(texts[3])
	return e, nil
}

// Follow emits all entries after the given places, and then each new one: at once
// where this process appended it, else within pollInterval. A partition whose
// node is away holds back Complete and nothing else.
func (s *Store) Follow(ctx context.Context, from []store.Place, emit func(store.Round) error) error {
	if len(from) != len(s.partitions) {
		return fmt.Errorf("follow events: %d places for %d partitions", len(from), len(s.partitions))
	}
	f := &follower{store: s, at: append([]store.Place(nil), from...), ends: make([]store.Place, len(from))}
	for {
		began, news := time.Now(), s.whenNews()
		round, more, err := f.collect(ctx)
		if err != nil {
			return err
		}
		moved := f.told.Compare(round.Complete) < 0
		if len(round.Entries) > 0 || !f.begun || moved && time.Since(f.emitted) >= quietRounds {
			if err := emit(round); err != nil {
				return err
			}
			f.begun, f.told, f.emitted = true, round.Complete, time.Now()
		}
		if more {
			continue
		}
		if err := s.pause(ctx, began, news); err != nil {
			return err
		}
	}
}

// pause waits for news, busyInterval at least and pollInterval at most.
func (s *Store) pause(ctx context.Context, began time.Time, news <-chan struct{}) error {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.open.Done():
		return errClosed
	case <-news:
	}
	timer.Reset(max(0, busyInterval-time.Since(began)))
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.open.Done():
		return errClosed
	}
}

// follower is one call of Follow.
type follower struct {
	store *Store
	// at is the last place handled by partition, ends the last one seen.
	at, ends []store.Place
	// complete is how far all partitions are handled, told what was emitted of it.
	complete, told store.Place
	begun          bool
	emitted        time.Time
}

// collect reads the next round; more is true where there is more already.
func (f *follower) collect(ctx context.Context) (round store.Round, more bool, err error) {
	s := f.store
	done, err := s.begin(ctx, opRead)
	if err != nil {
		return store.Round{}, false, err
	}
	defer func() { done(err) }()
	heads, missing := s.heads(ctx)
	if len(missing) == len(heads) {
		return store.Round{}, false, fmt.Errorf("follow events: %w", missing[0])
	}
	complete := store.Place{Ms: farEnd, Seq: farEnd}
	if len(missing) > 0 {
		complete = f.complete
	}
	var all []keyed
	reads := make(map[int]*goredis.Cmd)
	for i, h := range heads {
		if missing[i] != nil {
			continue
		}
		if h.last.Compare(f.ends[i]) < 0 {
			return store.Round{}, false, fmt.Errorf("follow events of partition %d: %w", i, store.ErrWentBack)
		}
		f.ends[i] = h.last
		if h.last.Compare(f.at[i]) > 0 {
			reads[i] = s.rangeAfter(ctx, i, f.at[i], roundEntries)
			all = append(all, keyed{s.partitions[i].keys.events, reads[i]})
		}
		complete = earlier(complete, store.Place{Ms: h.now - min(skew, h.now), Seq: farEnd})
	}
	if len(reads) > 0 {
		s.process(ctx, all)
		round.Entries = make(map[int][]store.Entry, len(reads))
	}
	for i, cmd := range reads {
		entries, err := parseEntries(cmd)
		if errors.Is(err, errReply) {
			return store.Round{}, false, err
		}
		if err != nil {
			complete = earlier(complete, f.complete)
			continue
		}
		if len(entries) > 0 {
			f.at[i] = entries[len(entries)-1].Place
			round.Entries[i] = entries
		}
		if len(entries) == roundEntries && f.at[i].Compare(heads[i].last) < 0 {
			more = true
			complete = earlier(complete, f.at[i])
		}
	}
	if f.complete.Compare(complete) < 0 {
		f.complete = complete
	}
	round.Complete = f.complete
	return round, more, nil
}

func earlier(p, q store.Place) store.Place {
	if p.Compare(q) < 0 {
		return p
	}
	return q
}
