package embedded

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, err := Open(testConfig(vfs.NewMem()), slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx := t.Context()
	b := plainBatch(2, 0, 1, 3)
	if _, err := s.Apply(ctx, b); err != nil {
		t.Fatal(err)
	}
	_, _ = s.Apply(ctx, &store.Batch{Partition: -1})
	_, _ = s.Contact(ctx, "1", "unknown")
	if _, err := s.Cursors(ctx, crashSource); err != nil {
		t.Fatal(err)
	}
	size := 0
	for i := range b.Events {
		size += entrySize(&b.Events[i], "") + eventKeyLength
	}
	want := fmt.Sprintf(`# HELP spillway_store_errors_total Operations of the store that failed.
# TYPE spillway_store_errors_total counter
spillway_store_errors_total{op="apply"} 1
spillway_store_errors_total{op="claim"} 0
spillway_store_errors_total{op="contact"} 0
spillway_store_errors_total{op="cursors"} 0
spillway_store_errors_total{op="deliver"} 0
spillway_store_errors_total{op="read"} 0
spillway_store_errors_total{op="settle"} 0
spillway_store_errors_total{op="upkeep"} 0
# HELP spillway_stream_bytes Bytes of the events the streams hold, before compression.
# TYPE spillway_stream_bytes gauge
spillway_stream_bytes %d
# HELP spillway_stream_entries Events the streams hold.
# TYPE spillway_stream_entries gauge
spillway_stream_entries 3
`, size)
	names := []string{"spillway_store_errors_total", "spillway_stream_bytes", "spillway_stream_entries"}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	got := make(map[string]uint64)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "spillway_store_seconds" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetHistogram().GetSampleCount()
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(map[string]uint64{"apply": 2, "claim": 0, "cursors": 1, "settle": 0}) {
		t.Errorf("timed %v", got)
	}
}

// TestApplyAllocates holds a batch of new statuses to a number of allocations.
func TestApplyAllocates(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.MemtableBytes = 64 << 20 // no flush, which would allocate meanwhile
	s := mustOpen(t, cfg)
	at := time.Now()
	var batches []*store.Batch
	for seq := range uint64(50) {
		b := plainBatch(1, seq, seq+1, 0)
		for i := range 64 {
			wamid := fmt.Sprint("wamid.", seq, ".", i)
			b.Events = append(b.Events, event.Event{
				Type: event.MessageStatus, Identity: wamid + ":sent", Time: at, Received: at,
				Status: &event.Status{Wamid: wamid, Name: "sent"}, Payload: []byte(`{"a":1}`),
			})
		}
		batches = append(batches, b)
	}

	allocs := testing.AllocsPerRun(len(batches)-1, func() {
		if _, err := s.Apply(t.Context(), batches[0]); err != nil {
			t.Error(err)
		}
		batches = batches[1:]
	})
	if allocs > applyAllocations {
		t.Errorf("%v allocations for a batch of 64 new statuses, want %d at most", allocs, applyAllocations)
	}
}
