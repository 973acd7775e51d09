package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// memoryFeed is a feed in memory. Its clock is a counter, so that places are
// dense and a test can tell exactly what is where.
type memoryFeed struct {
	mu      sync.Mutex
	ms      uint64
	entries [][]store.Entry
	trimmed []store.Place
	last    []store.Place
	changed chan struct{}
	// broken makes every call fail; kick makes Follow fail once.
	broken error
	kick   chan error
	// reads counts calls of Read, follows those of Follow, following the ones that
	// have not returned.
	reads, follows, following int
	// lag is how far Complete is behind the clock, in ms.
	lag uint64
	// beforeFollow is called once, when Follow is and has not looked yet.
	beforeFollow func()
}

func newMemoryFeed(partitions int) *memoryFeed {
	return &memoryFeed{
		ms: 1000, entries: make([][]store.Entry, partitions),
		trimmed: make([]store.Place, partitions), last: make([]store.Place, partitions),
		changed: make(chan struct{}), kick: make(chan error),
	}
}

func (f *memoryFeed) add(partition int, kind, payload string) store.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ms++
	e := store.Entry{Place: store.Place{Ms: f.ms, Seq: 1}, UID: uuid.New(), Type: kind, Payload: []byte(payload)}
	f.entries[partition] = append(f.entries[partition], e)
	f.last[partition] = e.Place
	close(f.changed)
	f.changed = make(chan struct{})
	return e
}

// fill adds n small events over all partitions, unseen by a follower until done.
func (f *memoryFeed) fill(n int) []store.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]store.Entry, 0, n)
	for i := range n {
		p := i * 7 % len(f.entries)
		f.ms++
		e := store.Entry{
			Place: store.Place{Ms: f.ms, Seq: 1}, UID: uuid.New(), Type: "message:new",
			Payload: fmt.Appendf(nil, `{"n":%d,"phone_number_id":"p%d","waba_id":"w%d"}`, i, i%2, i%3),
		}
		f.entries[p] = append(f.entries[p], e)
		f.last[p] = e.Place
		out = append(out, e)
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return out
}

// addAt adds an event at a place of the test's choice, below the clock.
func (f *memoryFeed) addAt(partition int, ms uint64) store.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := store.Entry{Place: store.Place{Ms: ms, Seq: 1}, UID: uuid.New(), Type: "message:new", Payload: []byte(`{}`)}
	f.entries[partition] = append(f.entries[partition], e)
	f.last[partition] = e.Place
	close(f.changed)
	f.changed = make(chan struct{})
	return e
}

// goBack loses what stands after a place, as a replica does that lagged. The clock
// stays.
func (f *memoryFeed) goBack(partition int, ms uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last[partition] = store.Place{Ms: ms, Seq: 1}
	f.entries[partition] = slices.DeleteFunc(slices.Clone(f.entries[partition]), func(e store.Entry) bool {
		return e.Place.Compare(f.last[partition]) > 0
	})
	close(f.changed)
	f.changed = make(chan struct{})
}

// trim forgets the first n entries of a partition.
func (f *memoryFeed) trim(partition, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trimmed[partition] = f.entries[partition][n-1].Place
	f.entries[partition] = f.entries[partition][n:]
}

func (f *memoryFeed) setBroken(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *memoryFeed) Partitions() int { return len(f.entries) }

func (f *memoryFeed) Bounds(ctx context.Context) ([]store.Bounds, store.Place, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.broken, ctx.Err()); err != nil {
		return nil, store.Place{}, err
	}
	bounds := make([]store.Bounds, len(f.entries))
	for p := range bounds {
		bounds[p] = store.Bounds{Trimmed: f.trimmed[p], Last: f.last[p]}
	}
	return bounds, store.Place{Ms: f.ms, Seq: ^uint64(0)}, nil
}

func (f *memoryFeed) Read(ctx context.Context, p int, after store.Place, limit, maxBytes int) ([]store.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if err := errors.Join(f.broken, ctx.Err()); err != nil {
		return nil, err
	}
	return f.readLocked(p, after, limit, maxBytes), nil
}

func (f *memoryFeed) readLocked(p int, after store.Place, limit, maxBytes int) []store.Entry {
	var out []store.Entry
	bytes := 0
	from, to := 0, len(f.entries[p])
	for from < to {
		if mid := (from + to) / 2; f.entries[p][mid].Place.Compare(after) <= 0 {
			from = mid + 1
		} else {
			to = mid
		}
	}
	for _, e := range f.entries[p][from:] {
		if len(out) == limit || bytes >= maxBytes {
			break
		}
		out = append(out, e)
		bytes += len(e.Payload)
	}
	return out
}

func (f *memoryFeed) Follow(ctx context.Context, from []store.Place, emit func(store.Round) error) error {
	f.mu.Lock()
	f.follows++
	f.following++
	hook := f.beforeFollow
	f.beforeFollow = nil
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.following--; f.mu.Unlock() }()
	if hook != nil {
		hook()
	}
	at, ends := slices.Clone(from), make([]store.Place, len(from))
	for {
		f.mu.Lock()
		if f.broken != nil {
			f.mu.Unlock()
			return f.broken
		}
		round := store.Round{Entries: map[int][]store.Entry{}, Complete: store.Place{Ms: f.ms - f.lag, Seq: ^uint64(0)}}
		for p := range f.entries {
			if f.last[p].Compare(ends[p]) < 0 {
				f.mu.Unlock()
				return store.ErrWentBack
			}
			ends[p] = f.last[p]
			if news := f.readLocked(p, at[p], 1<<30, 1<<30); len(news) > 0 {
				round.Entries[p] = news
				at[p] = news[len(news)-1].Place
			}
		}
		changed := f.changed
		f.mu.Unlock()
		if err := emit(round); err != nil {
			return err
		}
		select {
		case <-changed:
		case err := <-f.kick:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var _ Feed = (*memoryFeed)(nil)

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not come about in 20 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
