package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// entriesFrom makes n entries with the ids from first on.
func entriesFrom(first uint64, n, payload int) []store.Entry {
	out := make([]store.Entry, n)
	for i := range out {
		out[i] = store.Entry{Place: placeOf(first + uint64(i)), Payload: bytes.Repeat([]byte("x"), payload)}
	}
	return out
}

func TestTail(t *testing.T) {
	tail := &tail{limit: 4096}
	tail.reset(10)
	if got, more, ok := tail.after(10, 10); len(got) != 0 || more || !ok {
		t.Errorf("an empty tail gave %d, %v, %v", len(got), more, ok)
	}
	tail.add(entriesFrom(11, 5, 100))
	tail.add(entriesFrom(20, 5, 100))
	for _, tt := range []struct {
		after, upTo uint64
		want        int
		ok          bool
	}{{9, 24, 0, false}, {10, 24, 10, true}, {10, 15, 5, true}, {15, 24, 5, true}, {19, 22, 3, true}, {24, 24, 0, true}} {
		got, more, ok := tail.after(tt.after, tt.upTo)
		if len(got) != tt.want || ok != tt.ok || more {
			t.Errorf("after %d up to %d: %d, %v, %v", tt.after, tt.upTo, len(got), more, ok)
		}
	}
	// It is bounded: the oldest go, and it says so.
	kept, _, _ := tail.after(10, 24)
	tail.add(entriesFrom(30, 20, 100))
	if tail.bytes > tail.limit || len(tail.entries) == 0 || idOf(tail.entries[0].Place) <= tail.base {
		t.Errorf("%d bytes, %d entries, base %d", tail.bytes, len(tail.entries), tail.base)
	}
	if _, _, ok := tail.after(10, 49); ok {
		t.Error("the tail claims what it dropped")
	}
	if len(kept) != 10 || kept[0].Payload == nil {
		t.Error("what was handed out was changed")
	}
	tail.add(entriesFrom(100, 1, 10_000))
	if _, _, ok := tail.after(100, 100); !ok || len(tail.entries) != 0 {
		t.Errorf("an entry beyond the bound: %d kept, base %d", len(tail.entries), tail.base)
	}
}

// TestTailInRounds: what one round cannot take comes with the next.
func TestTailInRounds(t *testing.T) {
	tail := newTail(entriesFrom(1, roundEntries+5, 1))
	got, more, _ := tail.after(0, 1<<40)
	if len(got) != roundEntries || !more {
		t.Errorf("%d entries, more %v", len(got), more)
	}
	got, more, _ = tail.after(idOf(got[len(got)-1].Place), 1<<40)
	if len(got) != 5 || more {
		t.Errorf("then %d entries, more %v", len(got), more)
	}
	big := newTail(entriesFrom(1, 10, roundBytes))
	if got, more, _ := big.after(0, 10); len(got) != 1 || !more {
		t.Errorf("%d big entries in a round, more %v", len(got), more)
	}
}

func newTail(entries []store.Entry) *tail {
	t := &tail{limit: 1 << 30}
	t.add(entries)
	return t
}

func plainBatch(partition int, from, to uint64, n int) *store.Batch {
	b := &store.Batch{Source: crashSource, Partition: partition, To: store.Cursor{Seq: to, Hash: to}}
	if from > 0 {
		b.From = store.Cursor{Seq: from, Hash: from}
	}
	for i := range n {
		identity := fmt.Sprint(partition, ".", to, ".", i)
		b.Events = append(b.Events, event.Event{
			Type: event.WebhookErrors, Identity: identity, Received: time.Now(),
			Payload: []byte(`{"value":"` + identity + `"}`),
		})
	}
	return b
}

// TestFollowKeepsNothingOfTheBatch: the caller may use its buffers again.
func TestFollowKeepsNothingOfTheBatch(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	ctx, cancel := context.WithCancel(t.Context())
	rounds := make(chan store.Round, 100)
	done := make(chan error, 1)
	go func() {
		done <- s.Follow(ctx, make([]store.Place, 8), func(r store.Round) error { rounds <- r; return nil })
	}()
	<-rounds // the first one, empty: now it follows
	b := plainBatch(3, 0, 1, 2)
	want := string(b.Events[0].Payload)
	if _, err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i := range b.Events {
		clear(b.Events[i].Payload)
	}
	r := <-rounds
	if got := string(r.Entries[3][0].Payload); got != want {
		t.Errorf("followed %s, want %s", got, want)
	}
	read, err := s.Read(t.Context(), 3, store.Place{}, 10, 1<<20)
	if err != nil || fmt.Sprint(read) != fmt.Sprint(r.Entries[3]) {
		t.Errorf("read %v, followed %v: %v", read, r.Entries[3], err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestQuietRounds: where only Complete moves, that is told once a second.
func TestQuietRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, testConfig(vfs.NewMem()))
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Time
		done := make(chan error, 1)
		go func() {
			done <- s.Follow(ctx, make([]store.Place, 8), func(store.Round) error {
				at = append(at, time.Now())
				return nil
			})
		}()
		for range 10 {
			g, err := s.places.take(1, 1, 1)
			if err != nil {
				t.Error(err)
			}
			s.places.settle(g, false) // a commit that failed moves Complete alone
			time.Sleep(500 * time.Millisecond)
		}
		cancel()
		<-done
		if len(at) < 4 || len(at) > 6 {
			t.Errorf("%d rounds in 5 s", len(at))
		}
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < quietRounds {
				t.Errorf("a quiet round %v after another", d)
			}
		}
	})
}

// TestIdsAreReservedAheadOfNeed: no Apply of a store that runs has to wait for a
// sync.
func TestIdsAreReservedAheadOfNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, testConfig(vfs.NewMem()))
		for i := range uint64(10) {
			time.Sleep(25 * time.Second)
			synctest.Wait()
			s.places.mu.Lock()
			left := s.places.reserved - s.places.clock()
			s.places.mu.Unlock()
			if ms := placeOf(left).Ms; ms < 15_000 || ms > 60_000 {
				t.Errorf("reserved %d ms ahead", ms)
			}
			if _, err := s.Apply(t.Context(), plainBatch(1, i, i+1, 1)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestOneContactFromAllSides: number and user id of the same people claim, apply
// and are forgotten side by side, in different partitions.
func TestOneContactFromAllSides(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	const people, rounds = 5, 40
	var wg sync.WaitGroup
	var born atomic.Int64
	errs := make([]error, s.Partitions())
	for p := range s.Partitions() {
		wg.Go(func() {
			for seq := uint64(1); seq <= rounds && errs[p] == nil; seq++ {
				var n int
				n, errs[p] = applyPerson(s, p, seq, fmt.Sprint(seq%people))
				born.Add(int64(n))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := born.Load(); n < people {
		t.Errorf("%d contacts born of %d people", n, people)
	}
	for i := range people {
		a, errA := s.Contact(t.Context(), "1", fmt.Sprint("49", i))
		b, errB := s.Contact(t.Context(), "1", fmt.Sprint("US.", i))
		if errA != nil || errB != nil || a != b {
			t.Errorf("person %d: %+v, %+v: %v, %v", i, a, b, errA, errB)
		}
	}
}

// applyPerson applies a message that shows the number, the user id or both, and
// returns how many contacts were born of it.
func applyPerson(s *Store, p int, seq uint64, name string) (born int, err error) {
	c := event.Customer{WABA: "1", Name: name, Writes: true}
	if p%3 != 1 {
		c.WaID = "49" + name
	}
	if p%3 != 2 {
		c.UserID = "US." + name
	}
	c.Contact = c.Candidate()
	e := event.Event{
		Type: event.MessageNew, Identity: fmt.Sprint("wamid.", p, ".", seq), Customer: &c, Key: c.Primary(),
		Time: time.Now(), Received: time.Now(), Payload: append(event.AppendContact(nil, c.Contact), '}'),
	}
	ctx := context.Background()
	claimed, err := s.Claim(ctx, []store.Claim{{Customer: &c, Message: e.Identity}})
	if err != nil {
		return 0, err
	}
	e.SetContact(claimed[0].Contact)
	c.Born = claimed[0].Birth == e.Identity
	b := plainBatch(p, seq-1, seq, 0)
	b.Events = append(b.Events, e)
	r, err := s.Apply(ctx, b)
	if err != nil || !r.Applied {
		return 0, fmt.Errorf("applied %v: %w", r.Applied, err)
	}
	if p == 0 && seq%7 == 0 && seq < 30 {
		if _, err := s.Forget(ctx, "1", c.WaID); err != nil && !errors.Is(err, store.ErrNoContact) {
			return 0, err
		}
	}
	return r.ContactsNew, nil
}

// TestCountsSurvive: what is counted is what is held, after trimming, forgetting
// and opening again.
func TestCountsSurvive(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.Retain = 500
	s := mustOpen(t, cfg)
	check := func(s *Store) {
		t.Helper()
		var count, size int64
		err := s.scan(tagEvent, func(k, v []byte) error {
			count, size = count+1, size+int64(len(k)+len(v))
			return nil
		})
		if gotCount, gotSize := s.places.size(); err != nil || gotCount != count || gotSize != size {
			t.Errorf("%d entries, %d bytes counted; %d, %d held: %v", gotCount, gotSize, count, size, err)
		}
		if count == 0 || count > cfg.Retain {
			t.Errorf("%d entries held", count)
		}
	}
	for seq := uint64(1); seq <= 40; seq++ {
		for p := range 4 {
			if _, err := applyPerson(s, p, seq, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Apply(t.Context(), plainBatch(p+4, seq-1, seq, 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.trim(); err != nil {
		t.Fatal(err)
	}
	check(s)
	if n, err := s.Forget(t.Context(), "1", "49x"); err != nil || n == 0 {
		t.Fatalf("forgot %d events: %v", n, err)
	}
	check(s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, cfg)
		check(s)
	}
}

// TestForgottenIsNotFollowed: nor does it come from memory.
func TestForgottenIsNotFollowed(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	from := make([]store.Place, 8)
	ctx, cancel := context.WithCancel(t.Context())
	following := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() {
		done <- s.Follow(ctx, from, func(store.Round) error { following <- struct{}{}; return nil })
	}()
	<-following
	if _, err := applyPerson(s, 3, 1, "x"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Forget(t.Context(), "1", "49x"); err != nil || n != 2 {
		t.Fatalf("forgot %d events: %v", n, err)
	}
	enough := errors.New("enough")
	err := s.Follow(t.Context(), from, func(r store.Round) error {
		if len(r.Entries) > 0 {
			t.Errorf("followed what was forgotten: %s", r.Entries[3][0].Type)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	cancel()
	<-done
}
