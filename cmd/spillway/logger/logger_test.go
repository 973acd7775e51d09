package logger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// output is JSON lines, written by any goroutine.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// lines takes what was written since the last call.
func (o *output) lines(t *testing.T) []map[string]any {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []map[string]any
	for decoder := json.NewDecoder(&o.text); ; {
		var line map[string]any
		err := decoder.Decode(&line)
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func newTestLogger() (*slog.Logger, *Handler, *output) {
	out := &output{}
	h := NewHandler(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return slog.New(h), h, out
}

func TestHandler(t *testing.T) {
	var out *output
	slogtest.Run(t, func(*testing.T) slog.Handler {
		var h slog.Handler
		_, h, out = newTestLogger()
		return h
	}, func(t *testing.T) map[string]any { return out.lines(t)[0] })
}

// burst logs n lines of a message, numbered, with no time in between.
func burst(to *slog.Logger, message string, n int) {
	for i := range n {
		to.Warn(message, "n", i)
	}
}

// numbers are the lines' as burst gave them.
func numbers(lines []map[string]any) string {
	text := ""
	for _, line := range lines {
		text += fmt.Sprint(line["n"])
		if left, ok := line[SuppressedKey]; ok {
			text += fmt.Sprintf("(%v)", left)
		}
		text += " "
	}
	return text
}

// TestRepeats logs steps of so many lines, each step an Interval long, and wants
// the lines that are written in it, the report at its end included.
func TestRepeats(t *testing.T) {
	type step struct {
		logged int
		want   string
	}
	for name, steps := range map[string][]step{
		"a burst":              {{5, "0 1 2 3 4 "}, {0, ""}, {5, "0 1 2 3 4 "}},
		"one more":             {{6, "0 1 2 3 4 5 "}, {0, ""}, {5, "0 1 2 3 4 "}},
		"two more":             {{7, "0 1 2 3 4 6(1) "}, {0, ""}},
		"a storm":              {{100, "0 1 2 3 4 99(94) "}, {100, "99(99) "}, {100, "99(99) "}, {0, ""}, {1, "0 "}},
		"a storm that weakens": {{100, "0 1 2 3 4 99(94) "}, {5, "4(4) "}, {5, "0 1 2 3 4 "}},
		"one line after it":    {{100, "0 1 2 3 4 99(94) "}, {1, "0 "}, {1, "0 "}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to, h, out := newTestLogger()
				defer h.Flush()
				for i, s := range steps {
					burst(to, "disk full", s.logged)
					time.Sleep(Interval)
					synctest.Wait()
					if got := numbers(out.lines(t)); got != s.want {
						t.Errorf("step %d: wrote %q, want %q", i, got, s.want)
					}
				}
			})
		})
	}
}

// TestHeldLine wants the line that is written late to be the newest as it was.
func TestHeldLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to, _, out := newTestLogger()
		burst(to, "disk full", Burst)
		time.Sleep(time.Second)
		at := time.Now()
		to.With("lane", "bulk").Warn("disk full", "n", "late")
		out.lines(t)
		time.Sleep(Interval)
		synctest.Wait()
		lines := out.lines(t)
		if len(lines) != 1 || lines[0]["n"] != "late" || lines[0]["lane"] != "bulk" {
			t.Fatalf("wrote %v, want the late line with its attributes", lines)
		}
		if got := lines[0]["time"]; got != at.Format(time.RFC3339Nano) {
			t.Errorf("time %v, want that of the line: %v", got, at)
		}
	})
}

// TestSeparate wants messages and levels not to hold back one another, and debug
// lines never.
func TestSeparate(t *testing.T) {
	to, h, out := newTestLogger()
	defer h.Flush()
	for range Burst {
		to.Warn("a")
		to.Warn("b")
		to.Error("a")
	}
	for range 10 * Burst {
		to.Debug("a")
	}
	if got := len(out.lines(t)); got != 13*Burst {
		t.Errorf("%d lines, want %d", got, 13*Burst)
	}
}

// TestManyMessages bounds what is remembered, at the price of repeats.
func TestManyMessages(t *testing.T) {
	to, h, out := newTestLogger()
	defer h.Flush()
	for i := range 2 * maxMessages {
		burst(to, fmt.Sprint("message ", i), Burst+1)
	}
	if got, want := len(out.lines(t)), maxMessages*(2*Burst+1); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	if got := len(h.repeats.windows); got != maxMessages {
		t.Errorf("%d messages are followed, want %d", got, maxMessages)
	}
}

// TestForgets wants nothing left of a message that is no longer logged.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to, h, _ := newTestLogger()
		burst(to, "disk full", 100)
		time.Sleep(3 * Interval)
		synctest.Wait()
		if got := len(h.repeats.windows); got != 0 {
			t.Errorf("%d messages are followed, want none", got)
		}
	})
}

// TestConcurrent logs from many goroutines while others flush: every line is
// written or counted.
func TestConcurrent(t *testing.T) {
	const goroutines, each = 16, 500
	to, h, out := newTestLogger()
	var group sync.WaitGroup
	for i := range goroutines {
		group.Go(func() {
			mine := to.With("goroutine", i)
			for n := range each {
				mine.Error("disk full", "n", n)
				if n%100 == 0 {
					h.Flush()
				}
			}
		})
	}
	group.Wait()
	h.Flush()
	lines := out.lines(t)
	suppressed := 0.0
	for _, line := range lines {
		left, _ := line[SuppressedKey].(float64)
		suppressed += left
	}
	if got := len(lines) + int(suppressed); got != goroutines*each {
		t.Errorf("%d lines and %v left out make %d, want %d", len(lines), suppressed, got, goroutines*each)
	}
	if got := testutil.ToFloat64(h.suppressed); got != suppressed {
		t.Errorf("counted %v lines left out, the lines say %v", got, suppressed)
	}
	if got := testutil.ToFloat64(h.fail); got != float64(len(lines)) {
		t.Errorf("counted %v lines, wrote %d", got, len(lines))
	}
}

// TestLinesByLevel wants every level there from the start, and counted.
func TestLinesByLevel(t *testing.T) {
	to, h, _ := newTestLogger()
	defer h.Flush()
	registry := prometheus.NewRegistry()
	registry.MustRegister(h)
	if n, err := testutil.GatherAndCount(registry, "spillway_logger_lines_total"); n != 4 || err != nil {
		t.Errorf("%d levels from the start, want 4 (%v)", n, err)
	}
	to.Debug("a")
	to.With("k", "v").Info("b")
	to.WithGroup("g").Warn("c")
	to.Error("d")
	to.Log(context.Background(), slog.LevelError+4, "e")
	for counter, want := range map[prometheus.Counter]float64{h.debug: 1, h.info: 1, h.warn: 1, h.fail: 2} {
		if got := testutil.ToFloat64(counter); got != want {
			t.Errorf("counted %v, want %v", got, want)
		}
	}
}

// BenchmarkHandler is what a line costs: alone, and one that is held back.
func BenchmarkHandler(b *testing.B) {
	next := slog.NewJSONHandler(io.Discard, nil)
	for name, to := range map[string]*slog.Logger{"plain": slog.New(next), "held": slog.New(NewHandler(next))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					to.Error("webhooks are refused", "error", io.ErrUnexpectedEOF, "request_id", "an id")
				}
			})
		})
	}
}
