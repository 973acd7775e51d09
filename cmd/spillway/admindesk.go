package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// logBuffer is what is written to a client in one go, logPatience how long
	// that may take.
	logBuffer, logPatience = 64 << 10, time.Minute
	// lastPatience is what a client gets once the receiver stops.
	lastPatience = time.Second
)

var errStopping = errors.New("the receiver is shutting down")

// desk answers requests of the admin listener that may take long: some at a time,
// and none for longer than the receiver runs.
type desk struct {
	slots chan struct{}
	// busy is what a request is told that finds no slot.
	busy string
	// status is that of an error.
	status func(error) int
	// failed logs an error that is the receiver's own, with the id of its answer.
	failed func(err error, path, id string)
	// stopping ends the requests under way.
	stopping context.Context
	stop     context.CancelCauseFunc
}

func newDesk(slots int, busy string, status func(error) int) *desk {
	d := &desk{slots: make(chan struct{}, slots), busy: busy}
	d.status = func(err error) int {
		var bad badRequest
		switch {
		case errors.As(err, &bad):
			return http.StatusBadRequest
		case errors.Is(err, errStopping):
			return http.StatusServiceUnavailable
		}
		return status(err)
	}
	d.stopping, d.stop = context.WithCancelCause(context.Background())
	return d
}

func (d *desk) close() { d.stop(errStopping) }

// badRequest is a mistake of who asked.
type badRequest struct{ error }

// with gives a request its turn, ends it with the receiver, and answers with
// its error.
func (d *desk) with(handle func(context.Context, *lineWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		default:
			http.Error(w, d.busy, http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		lines := newLineWriter(w)
		defer context.AfterFunc(d.stopping, func() {
			cancel(errStopping)
			lines.to.hurry()
		})()
		err := handle(ctx, lines, r)
		if errors.Is(err, context.Canceled) && d.stopping.Err() != nil {
			err = errStopping
		}
		d.end(w, r, lines, err)
	}
}

// end answers with what became of a request. Where the answer has begun there is
// no place for an id any more: it has the error itself, and the log an empty id.
func (d *desk) end(w http.ResponseWriter, r *http.Request, lines *lineWriter, err error) {
	var id string
	switch {
	case err == nil:
		err = lines.out.Flush()
	case lines.begun:
		err = errors.Join(lines.write(logLine{Error: err.Error()}), lines.out.Flush(), err)
	case d.status(err) == http.StatusInternalServerError:
		id = failed(w, err)
	default:
		http.Error(w, err.Error(), d.status(err))
	}
	if err != nil && r.Context().Err() == nil && d.status(err) == http.StatusInternalServerError {
		d.failed(err, r.URL.Path, id)
	}
}

// lineWriter writes JSON, one value a line, to a client that may be slow.
type lineWriter struct {
	out     *bufio.Writer
	to      *timedWriter
	encoder *json.Encoder
	// begun: something was written, and so the status is 200.
	begun bool
}

func newLineWriter(w http.ResponseWriter) *lineWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	l := &lineWriter{to: &timedWriter{w: w, control: http.NewResponseController(w), patience: logPatience}}
	l.out = bufio.NewWriterSize(l.to, logBuffer)
	l.encoder = json.NewEncoder(l.out)
	l.encoder.SetEscapeHTML(false)
	return l
}

func (l *lineWriter) write(value any) error {
	l.begun = true
	return l.encoder.Encode(value)
}

// end writes the line that says that the answer is whole, unless err.
func (l *lineWriter) end(err error) error {
	if err != nil {
		return err
	}
	return l.write(logLine{End: true})
}

// flush sends what was written.
func (l *lineWriter) flush() error {
	if err := l.out.Flush(); err != nil {
		return err
	}
	return l.to.control.Flush()
}

// timedWriter bounds how long a write may take: a client that does not read must
// not hold its turn for ever.
type timedWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController

	mu       sync.Mutex
	patience time.Duration // of a write
}

func (t *timedWriter) Write(p []byte) (int, error) {
	if err := t.extend(); err != nil {
		return 0, err
	}
	return t.w.Write(p)
}

func (t *timedWriter) extend() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.control.SetWriteDeadline(time.Now().Add(t.patience))
}

// hurry holds for the write under way, too.
func (t *timedWriter) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.patience = lastPatience
	_ = t.control.SetWriteDeadline(time.Now().Add(t.patience))
}
