// Package logger keeps repeats out of the log's lines, and counts lines.
//
//	slog.Logger ─▶ Handler ─▶ slog's text or JSON handler
//	                  └─ the newest of what was held back, every Interval
//
// Lines repeat where their level and message are the same. The message says what
// happened and is a constant of the source; the attributes, errors with ports and
// sequences in them, say to what. Of the repeats that come within an Interval the
// first Burst are written as they come. Of the others only the newest is, when
// the Interval is over, with its own time and with `suppressed`, how many were
// left out before it. So a failure that lasts costs a line in each Interval, its
// end is seen, and no line that comes alone is ever lost.
//
// Debug lines are never held back: who turns them on wants them all.
package logger

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// Interval is how long repeats are counted together.
	Interval = 10 * time.Second
	// Burst is how many repeats are written as they come.
	Burst = 5
	// SuppressedKey is the attribute that says how many lines were left out.
	SuppressedKey = "suppressed"
	// maxMessages bounds the messages that are followed at a time; others are
	// written as they come. The source has fewer.
	maxMessages = 256
)

// Handler passes lines on to another handler, as the package says. It is a
// prometheus.Collector of what it wrote and left out.
type Handler struct {
	next     slog.Handler
	repeats  *repeats
	*metrics // of all that were derived from the same one
}

// NewHandler passes lines on to next.
func NewHandler(next slog.Handler) *Handler {
	m := newMetrics()
	return &Handler{next: next, metrics: m, repeats: &repeats{metrics: m, windows: make(map[message]*window)}}
}

// Enabled is next's.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs counts repeats together with those of h.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), repeats: h.repeats, metrics: h.metrics}
}

// WithGroup counts repeats together with those of h.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), repeats: h.repeats, metrics: h.metrics}
}

// Handle writes the line or holds it back.
func (h *Handler) Handle(ctx context.Context, line slog.Record) error {
	if line.Level >= slog.LevelInfo && h.repeats.hold(h.next, line) {
		return nil
	}
	h.wrote(line.Level)
	return h.next.Handle(ctx, line)
}

// Flush writes what is held back: call it before the process ends.
func (h *Handler) Flush() { h.repeats.flush() }

// message is what lines that repeat have in common.
type message struct {
	level slog.Level
	text  string
}

// repeats are the lines of the last Interval, by message.
type repeats struct {
	metrics *metrics

	mu      sync.Mutex
	windows map[message]*window
}

// window is an Interval of one message.
type window struct {
	// timer ends it.
	timer *time.Timer
	// allowed are written as they come: Burst, but none in a window that follows
	// one with more than that.
	seen, allowed int
	held          held
}

// held is the newest line that was held back, next is nil where there is none.
type held struct {
	next slog.Handler
	line slog.Record
	// suppressed were held back before it.
	suppressed int
}

// hold reports whether the line was held back.
func (r *repeats) hold(next slog.Handler, line slog.Record) bool {
	key := message{line.Level, line.Message}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.windows[key]
	if w == nil {
		if len(r.windows) == maxMessages {
			return false
		}
		w = &window{allowed: Burst}
		w.timer = time.AfterFunc(Interval, func() { r.end(key, w) })
		r.windows[key] = w
	}
	if w.seen++; w.seen <= w.allowed {
		return false
	}
	if w.held.next != nil {
		w.held.suppressed++
		r.metrics.suppressed.Inc()
	}
	w.held.next, w.held.line = next, line.Clone()
	return true
}

// end writes what w held back. Another window follows while there are more than
// Burst lines in each.
func (r *repeats) end(key message, w *window) {
	r.mu.Lock()
	if r.windows[key] != w {
		r.mu.Unlock()
		return // flushed meanwhile
	}
	last := w.held
	if w.seen > Burst {
		w.seen, w.allowed, w.held = 0, 0, held{}
		w.timer.Reset(Interval)
	} else {
		delete(r.windows, key)
	}
	r.mu.Unlock()
	r.write(last)
}

func (r *repeats) flush() {
	r.mu.Lock()
	ended := r.windows
	r.windows = make(map[message]*window)
	r.mu.Unlock()
	for _, w := range ended {
		w.timer.Stop()
		r.write(w.held)
	}
}

// write writes outside of the lock: a reader of the log may be slow.
func (r *repeats) write(h held) {
	if h.next == nil {
		return
	}
	if h.suppressed > 0 {
		h.line.AddAttrs(slog.Int(SuppressedKey, h.suppressed))
	}
	r.metrics.wrote(h.line.Level)
	_ = h.next.Handle(context.Background(), h.line)
}
