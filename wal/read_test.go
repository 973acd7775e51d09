package wal

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestReader(t *testing.T) {
	l := open(t, memConfig())
	appendMany(t, l, Bulk, 10, 1000)
	one := recordSize(&Record{App: "default", Signature: make([]byte, 32), Body: make([]byte, 1000)})
	for _, c := range []struct {
		name                 string
		next                 uint64
		maxRecords, maxBytes int
		from                 uint64
		want                 int
	}{
		{"all", 1, 100, 1 << 20, 1, 10},
		{"from the start", 0, 100, 1 << 20, 1, 10},
		{"by number", 3, 4, 1 << 20, 3, 4},
		{"by bytes", 1, 100, 3 * one, 1, 3},
		{"a byte less", 1, 100, 3*one - 1, 1, 2},
		{"at least one", 1, 100, 1, 1, 1},
		{"no limit given", 9, 0, 0, 9, 1},
		{"the last", 10, 100, 1 << 20, 10, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := l.Reader(Bulk, c.next)
			defer r.Close()
			records, err := r.Next(context.Background(), c.maxRecords, c.maxBytes)
			if err != nil || len(records) != c.want || records[0].Seq != c.from {
				t.Errorf("%d records, %v, want %d", len(records), err, c.want)
			}
			if r.next != c.from+uint64(c.want) {
				t.Errorf("goes on at %d", r.next)
			}
		})
	}
}

// TestReaderWaits: readers of both lanes wait beyond the head, and each append
// wakes the right ones.
func TestReaderWaits(t *testing.T) {
	l := open(t, memConfig())
	got := make(chan uint64)
	for _, from := range []uint64{1, 3} {
		r := l.Reader(Express, from)
		go func() {
			defer r.Close()
			records, err := r.Next(context.Background(), 1, 1)
			if err != nil {
				t.Error(err)
				close(got)
				return
			}
			got <- records[0].Seq
		}()
	}
	appendMany(t, l, Bulk, 5, 10)
	appendMany(t, l, Express, 2, 10)
	if seq := <-got; seq != 1 {
		t.Errorf("woken for %d", seq)
	}
	select {
	case seq := <-got:
		t.Errorf("woken for %d, which is not written", seq)
	default:
	}
	appendMany(t, l, Express, 1, 10)
	if seq := <-got; seq != 3 {
		t.Errorf("woken for %d", seq)
	}
}

func TestReaderContext(t *testing.T) {
	l := open(t, memConfig())
	r := l.Reader(Bulk, 1)
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := r.Next(ctx, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// It goes on afterwards.
	appendMany(t, l, Bulk, 1, 1)
	if records, err := r.Next(context.Background(), 1, 1); err != nil || len(records) != 1 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// TestReaderMissing: a hole in the log is an error, never skipped.
func TestReaderMissing(t *testing.T) {
	l := open(t, memConfig())
	appendMany(t, l, Bulk, 5, 10)
	if err := l.db.Delete(recordKey(Bulk, 3), nil); err != nil {
		t.Fatal(err)
	}
	r := l.Reader(Bulk, 1)
	defer r.Close()
	if records, err := r.Next(context.Background(), 10, 1<<20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%d records, %v", len(records), err)
	}
	if _, err := l.Hash(Bulk, 3); !errors.Is(err, ErrCorrupt) {
		t.Errorf("hash: %v", err)
	}
}

func TestSince(t *testing.T) {
	l := open(t, memConfig())
	base := time.Unix(1_700_000_000, 0)
	for i := range 10 {
		appendAt(t, l, Bulk, base.Add(time.Duration(i)*time.Minute))
	}
	for _, c := range []struct {
		at   time.Duration
		want uint64
	}{{-time.Hour, 1}, {0, 1}, {1, 2}, {time.Minute, 2}, {9 * time.Minute, 10}, {time.Hour, 11}} {
		if got, err := l.Since(Bulk, base.Add(c.at)); err != nil || got != c.want {
			t.Errorf("since %s: %d, %v, want %d", c.at, got, err, c.want)
		}
	}
	if got, err := l.Since(Express, base); err != nil || got != 1 {
		t.Errorf("empty lane: %d, %v", got, err)
	}
}

func TestHashBounds(t *testing.T) {
	l := open(t, memConfig())
	appendMany(t, l, Bulk, 4, 10)
	third, err := l.Hash(Bulk, 3)
	if err != nil || third == 0 {
		t.Fatal(third, err)
	}
	if hash, err := l.Hash(Bulk, 0); hash != 0 || err != nil {
		t.Errorf("before the first ever: %x, %v", hash, err)
	}
	l.Release(Bulk, 3)
	if err := l.trimLane(Bulk, 3); err != nil {
		t.Fatal(err)
	}
	if hash, err := l.Hash(Bulk, 3); hash != third || err != nil {
		t.Errorf("the last one trimmed: %x, %v, want %x", hash, err, third)
	}
	if _, err := l.Hash(Bulk, 2); !errors.Is(err, ErrTrimmed) {
		t.Errorf("below: %v", err)
	}
	if _, err := l.Hash(Bulk, 5); !errors.Is(err, ErrBeyond) {
		t.Errorf("beyond: %v", err)
	}
	r := l.Reader(Bulk, 3)
	defer r.Close()
	if _, err := r.Next(context.Background(), 1, 1); !errors.Is(err, ErrTrimmed) {
		t.Errorf("reader below: %v", err)
	}
}
