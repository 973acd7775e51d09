package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

// TestGroupLag: a consumer group that reads is level; one that does not is behind,
// and in the end has lost what was trimmed.
func TestGroupLag(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	cfg := testConfig(server.Addr())
	cfg.Retain = 800 // 100 a partition
	s := mustOpen(t, cfg)
	stream := s.partitions[2].keys.events
	from := store.Cursor{}
	fill := func(n int) {
		b := &store.Batch{Source: store.Source{Node: "n", Lane: "bulk"}, Partition: 2, From: from, To: store.Cursor{Seq: from.Seq + 1, Hash: 1}}
		for i := range n {
			b.Events = append(b.Events, event.Event{Type: "webhook:x", Identity: fmt.Sprint(from.Seq, i), Received: time.Now(), Payload: []byte("{}")})
		}
		if r, err := s.Apply(t.Context(), b); err != nil || !r.Applied {
			t.Fatal(r, err)
		}
		from = b.To
	}
	read := func(group string, n int) {
		got, err := client.XReadGroup(t.Context(), &goredis.XReadGroupArgs{
			Group: group, Consumer: "c", Streams: []string{stream, ">"}, Count: int64(n), NoAck: true,
		}).Result()
		if err != nil || len(got[0].Messages) != n {
			t.Fatalf("group %s read %v, %v", group, got, err)
		}
	}
	want := func(group string, behind bool, lost float64) {
		t.Helper()
		if err := s.measureGroups(t.Context()); err != nil {
			t.Fatal(err)
		}
		lag := testutil.ToFloat64(s.metrics.groupLag.WithLabelValues(group))
		if lag > 0 != behind || lag > 60 || testutil.ToFloat64(s.metrics.groupLost.WithLabelValues(group)) != lost {
			t.Errorf("group %s: lag %v, want behind %v, %v partitions lost", group, lag, behind, lost)
		}
	}
	fill(10)
	for _, group := range []string{"level", "behind"} {
		if err := client.XGroupCreate(t.Context(), stream, group, "0").Err(); err != nil {
			t.Fatal(err)
		}
		read(group, 1)
	}
	read("level", 9)
	time.Sleep(2 * time.Millisecond) // a lag has a millisecond at least
	want("level", false, 0)
	want("behind", true, 0)
	for range 20 {
		fill(10)
		read("level", 10)
	}
	want("level", false, 0)
	want("behind", true, 1)
}
