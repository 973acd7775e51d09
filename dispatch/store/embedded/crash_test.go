package embedded

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// recordEvents are what one record of the test's log holds for a partition: a
// status that comes with others of its message, and a message of a customer.
func recordEvents(partition int, seq uint64) []event.Event {
	at := time.Now().Add(-time.Hour)
	wamid := fmt.Sprintf("wamid.%d.%d", partition, seq/3)
	name := [...]string{"sent", "delivered", "read"}[seq%3]
	c := event.Customer{WABA: "1", WaID: fmt.Sprint(partition, ".", seq%50), Writes: true, Name: "Ann"}
	c.Contact = c.Candidate()
	identity := fmt.Sprintf("wamid.m.%d.%d", partition, seq)
	return []event.Event{
		{
			UID: event.UID(event.MessageStatus, wamid+name), Type: event.MessageStatus, Key: wamid,
			Identity: event.StatusIdentity(wamid, name, ""), Status: &event.Status{Wamid: wamid, Name: name},
			Time: at, Received: at, Payload: fmt.Appendf(nil, `{"record":%d}`, seq),
		},
		{
			UID: event.UID(event.MessageNew, identity), Type: event.MessageNew, Key: c.WaID, Identity: identity,
			Time: at, Received: at, Customer: &c,
			Payload: fmt.Appendf(event.AppendContact(nil, c.Contact), `,"record":%d}`, seq),
		},
	}
}

var crashSource = store.Source{Node: "node", Lane: "express"}

// drain applies records from the stored cursors on, until stop or record last.
func drain(s *Store, last uint64, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	cursors, err := s.Cursors(ctx, crashSource)
	if err != nil {
		return withoutEnd(err)
	}
	errs := make([]error, len(cursors))
	var wg sync.WaitGroup
	for p, from := range cursors {
		wg.Go(func() {
			for seq := from.Seq + 1; seq <= last && errs[p] == nil; seq++ {
				to := store.Cursor{Seq: seq, Hash: seq * 31}
				errs[p] = applyRecord(ctx, s, p, from, to)
				from = to
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err := withoutEnd(err); err != nil {
			return err
		}
	}
	return nil
}

// withoutEnd is err, but for that of a context that ended.
func withoutEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// applyRecord does for one record what dispatching does.
func applyRecord(ctx context.Context, s *Store, partition int, from, to store.Cursor) error {
	events := recordEvents(partition, to.Seq)
	c := events[1].Customer
	claimed, err := s.Claim(ctx, []store.Claim{{Customer: c, Message: events[1].Identity}})
	if err != nil {
		return err
	}
	events[1].SetContact(claimed[0].Contact)
	c.Born = claimed[0].Birth == events[1].Identity
	r, err := s.Apply(ctx, &store.Batch{
		Source: crashSource, Partition: partition, From: from, To: to, Events: events,
	})
	if err == nil && !r.Applied {
		err = fmt.Errorf("partition %d: %v is stored, not %v", partition, r.Stored, from)
	}
	return err
}

// checkAgree checks that the effects are those of the records up to the cursor:
// each once, and no other.
func checkAgree(t *testing.T, s *Store) (held int64) {
	t.Helper()
	cursors, err := s.Cursors(t.Context(), crashSource)
	if err != nil {
		t.Fatal(err)
	}
	for p, c := range cursors {
		entries, err := s.Read(t.Context(), p, store.Place{}, 1<<30, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		held += int64(len(entries))
		counts := make(map[string]int)
		for _, e := range entries {
			counts[e.Type]++
		}
		want := fmt.Sprint(c.Seq, c.Seq, min(c.Seq, 50))
		if got := fmt.Sprint(counts[event.MessageStatus], counts[event.MessageNew], counts[event.ContactNew]); got != want {
			t.Fatalf("partition %d at %v: %s statuses, messages and contacts; want %s", p, c, got, want)
		}
		seen := make(map[string]bool)
		for _, e := range entries {
			if seen[e.UID.String()] {
				t.Fatalf("partition %d: %s twice", p, e.UID)
			}
			seen[e.UID.String()] = true
		}
	}
	if count, _ := s.places.size(); count != held {
		t.Errorf("%d entries counted, %d held", count, held)
	}
	return held
}

// TestCrashesAtRandom crashes a busy store again and again, each time with
// another part of what was not synced kept, and applies what is missing again.
func TestCrashesAtRandom(t *testing.T) {
	const crashes, last = 25, 400
	random := rand.New(rand.NewPCG(1, 2))
	fs := vfs.NewCrashableMem()
	cfg := testConfig(fs)
	cfg.MemtableBytes = minMemtable
	lost := 0
	var shown uint64
	for range crashes {
		s := mustOpen(t, cfg)
		before := checkAgree(t, s)
		if first := s.places.last; first < shown {
			t.Fatalf("ids start at %#x, %#x was shown", first, shown)
		}
		stop := make(chan struct{})
		done := make(chan error, 1)
		go func() { done <- drain(s, last, stop) }()
		time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
		close(stop)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.places.mu.Lock()
		shown = s.places.last
		s.places.mu.Unlock()
		if checkAgree(t, s) > before {
			lost++
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs = crashed
		cfg.FS = fs
	}
	if lost < crashes/4 {
		t.Errorf("only %d of %d crashes had anything to lose", lost, crashes)
	}
	s := mustOpen(t, cfg)
	if err := drain(s, last, nil); err != nil {
		t.Fatal(err)
	}
	checkAgree(t, s)
}
