package dispatch

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"spillway/dispatch/store"
)

// recorder is a Tracer that keeps what it is told.
type recorder struct {
	mu    sync.Mutex
	calls []Call
}

func (r *recorder) Called(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := *c.Batch // which is the worker's
	c.Batch = &batch
	r.calls = append(r.calls, c)
}

// TestTracer: each call with events is told, those that failed and one whose answer
// is lost too.
func TestTracer(t *testing.T) {
	var tracer recorder
	r := newRig(t)
	r.tracer = &tracer
	var calls atomic.Int32
	r.store.hooks(func(b *store.Batch) error {
		if len(b.Events) > 0 && calls.Add(1) <= 2 {
			return errInjected
		}
		return nil
	}, func(b *store.Batch) error {
		if len(b.Events) > 0 && calls.Load() == 3 {
			return errInjected // it took effect
		}
		return nil
	})
	r.start()
	r.status("wamid.1", "sent")
	r.eventually("four calls", func() bool { return calls.Load() == 4 })
	r.stop()

	tracer.mu.Lock()
	defer tracer.mu.Unlock()
	if len(tracer.calls) != 4 {
		t.Fatalf("told of %d calls: %+v", len(tracer.calls), tracer.calls)
	}
	for i, c := range tracer.calls {
		if c.Attempt != i || len(c.Batch.Events) != 1 || len(c.Seqs) != 1 || c.Seqs[0] != 1 {
			t.Errorf("call %d: %+v", i, c)
		}
		if failed := i < 3; errors.Is(c.Err, errInjected) != failed || c.Result.Applied {
			t.Errorf("call %d: %+v", i, c)
		}
		if e := c.Batch.Events[0]; c.Read.Before(e.Received) || c.Began.Before(c.Read) || c.Ended.Before(c.Began) || !c.Read.Equal(tracer.calls[0].Read) {
			t.Errorf("call %d: received %s, read %s, began %s, ended %s", i, e.Received, c.Read, c.Began, c.Ended)
		}
	}
	if last := tracer.calls[3]; last.Result.Stored != last.Batch.To {
		t.Errorf("the store has %s after a lost answer, want %s", last.Result.Stored, last.Batch.To)
	}
}
