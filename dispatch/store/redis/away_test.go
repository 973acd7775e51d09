package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

func TestAbsence(t *testing.T) {
	var a absence
	now := time.Now()
	if !a.asks(now) || a.long(now) {
		t.Error("away before anything was asked")
	}
	a.note(now, errAway)
	a.note(now.Add(time.Second), errAway)
	for _, tt := range []struct {
		after      time.Duration
		asks, long bool
	}{
		{probeInterval / 2, false, false},
		{probeInterval, true, false},
		{probeInterval, false, false}, // one try an interval
		{2 * probeInterval, true, false},
		{patience + 1, true, true},
	} {
		at := now.Add(tt.after)
		if got := a.asks(at); got != tt.asks {
			t.Errorf("after %v: asks %v", tt.after, got)
		}
		if got := a.long(at); got != tt.long {
			t.Errorf("after %v: away for long %v", tt.after, got)
		}
	}
	if a.note(now.Add(time.Minute), nil); !a.asks(now) || a.long(now.Add(time.Hour)) {
		t.Error("away after it answered")
	}
}

// TestShardHangs stops one shard of a Cluster, as a network does that says nothing:
// who follows gets the events of the others, and in the end those of all.
func TestShardHangs(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, localredis.Options{Extra: []string{"cluster-require-full-coverage no"}})
	s := mustOpen(t, testConfig(cluster.Addrs()...))
	primaryOf := func(partition int) *localredis.Server {
		client := cluster.Servers[0].Client()
		defer func() { _ = client.Close() }()
		slot, err := client.ClusterKeySlot(t.Context(), s.partitions[partition].keys.events).Result()
		if err != nil {
			t.Fatal(err)
		}
		primary, err := cluster.PrimaryOfSlot(t.Context(), int(slot))
		if err != nil {
			t.Fatal(err)
		}
		return primary
	}
	const hanging = 0
	gone, other := primaryOf(hanging), 1
	for other < len(s.partitions) && primaryOf(other) == gone {
		other++
	}
	from := make([]store.Cursor, len(s.partitions))
	apply := func(partition int) {
		to := store.Cursor{Seq: from[partition].Seq + 1, Hash: 1}
		e := event.Event{Type: "webhook:x", Identity: to.String() + string(rune('a'+partition)), Received: time.Now(), Payload: []byte("{}")}
		b := &store.Batch{Source: store.Source{Node: "n", Lane: "bulk"}, Partition: partition, From: from[partition], To: to, Events: []event.Event{e}}
		eventually(t, "a batch is applied", func() bool { r, err := s.Apply(t.Context(), b); return err == nil && r.Stored == to })
		from[partition] = to
	}
	got := make(chan int, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Follow(ctx, make([]store.Place, len(s.partitions)), func(r store.Round) error {
			for partition, entries := range r.Entries {
				for range entries {
					got <- partition
				}
			}
			return nil
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	}()
	want := func(partition int) {
		t.Helper()
		select {
		case p := <-got:
			if p != partition {
				t.Errorf("an event of partition %d, want one of %d", p, partition)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no event of partition %d", partition)
		}
	}
	apply(hanging)
	want(hanging)
	replicas, err := cluster.Replicas(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range append(replicas, gone) {
		if err := server.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		apply(other)
		want(other)
	}
	for _, server := range append(replicas, gone) {
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	apply(hanging)
	want(hanging)
}
