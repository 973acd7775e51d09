package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"spillway/dispatch"
)

const (
	// logReaders bounds the requests that go through the log at a time.
	logReaders = 4
	// logBuffer is what is written to a client in one go, logPatience how long
	// that may take.
	logBuffer, logPatience = 64 << 10, time.Minute
	// lastPatience is what a client gets once the receiver stops.
	lastPatience = time.Second
)

var errStopping = errors.New("the receiver is shutting down")

// logDesk answers for the log on the admin listener.
type logDesk struct {
	source logSource
	logger *slog.Logger
	slots  chan struct{}
	// stopping ends the requests under way.
	stopping context.Context
	stop     context.CancelCauseFunc
}

func newLogDesk(source logSource, logger *slog.Logger) *logDesk {
	d := &logDesk{source: source, logger: logger, slots: make(chan struct{}, logReaders)}
	d.stopping, d.stop = context.WithCancelCause(context.Background())
	return d
}

func (d *logDesk) close() { d.stop(errStopping) }

// register adds the paths that newAdmin lists.
func (d *logDesk) register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+logStatPath, d.with(d.stat))
	mux.HandleFunc("GET "+logRecordsPath, d.with(d.records))
	mux.HandleFunc("GET "+logDeadPath, d.with(d.dead))
	mux.HandleFunc("GET "+logDeadPath+"/{lane}/{seq}/{item}", d.with(d.letter))
	mux.HandleFunc("POST "+logDeadPath+"/{lane}/{seq}/{item}/retry", d.with(d.retry))
	mux.HandleFunc("POST "+logReplayPath, d.with(d.replay))
}

// badRequest is a mistake of who asked.
type badRequest struct{ error }

// with gives a request its turn, ends it with the receiver, and answers with
// its error.
func (d *logDesk) with(handle func(context.Context, *lineWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		default:
			http.Error(w, "too many look into the log already: try again later", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		lines := newLineWriter(w)
		defer context.AfterFunc(d.stopping, func() {
			cancel(errStopping)
			lines.to.hurry()
		})()
		d.end(w, r, lines, handle(ctx, lines, r))
	}
}

// end answers with what became of a request. Where the answer has begun there is
// no place for an id any more: it has the error itself, and the log an empty id.
func (d *logDesk) end(w http.ResponseWriter, r *http.Request, lines *lineWriter, err error) {
	var id string
	switch {
	case err == nil:
		err = lines.out.Flush()
	case lines.begun:
		err = errors.Join(lines.write(logLine{Error: err.Error()}), lines.out.Flush(), err)
	case logStatus(err) == http.StatusInternalServerError:
		id = failed(w, err)
	default:
		http.Error(w, err.Error(), logStatus(err))
	}
	if err != nil && r.Context().Err() == nil && logStatus(err) == http.StatusInternalServerError {
		d.logger.Error("a request to look into the log failed", "error", err, "path", r.URL.Path, "request_id", id)
	}
}

func logStatus(err error) int {
	var bad badRequest
	switch {
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, errNoLetter):
		return http.StatusNotFound
	case errors.Is(err, dispatch.ErrOld), errors.Is(err, dispatch.ErrUndispatched):
		return http.StatusConflict
	case errors.Is(err, errStopping):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (d *logDesk) stat(ctx context.Context, w *lineWriter, _ *http.Request) error {
	stat, err := d.source.Stat(ctx)
	if err != nil {
		return err
	}
	return w.write(stat)
}

func (d *logDesk) records(ctx context.Context, w *lineWriter, r *http.Request) error {
	query, err := parseRecordQuery(r.URL.Query())
	if err != nil {
		return badRequest{err}
	}
	err = d.source.Records(ctx, query, func(e logEntry) error {
		if err := w.write(logLine{Entry: &e}); err != nil || e.Record != nil {
			return err
		}
		return w.flush()
	})
	return w.end(err)
}

func (d *logDesk) dead(ctx context.Context, w *lineWriter, _ *http.Request) error {
	return w.end(d.source.Dead(ctx, func(e deadEntry) error { return w.write(logLine{Letter: &e}) }))
}

func (d *logDesk) letter(ctx context.Context, w *lineWriter, r *http.Request) error {
	name, err := deadNameOf(r)
	if err != nil {
		return err
	}
	letter, err := d.source.DeadLetter(ctx, name)
	if err != nil {
		return err
	}
	return w.write(letter)
}

func (d *logDesk) retry(ctx context.Context, w *lineWriter, r *http.Request) error {
	name, err := deadNameOf(r)
	if err != nil {
		return err
	}
	force, err := parseForce(r.URL.Query())
	if err != nil {
		return badRequest{err}
	}
	result, err := d.source.Retry(ctx, name, force)
	if err != nil {
		return err
	}
	return w.write(result)
}

func deadNameOf(r *http.Request) (deadName, error) {
	name, err := parseDeadName(r.PathValue("lane"), r.PathValue("seq"), r.PathValue("item"))
	if err != nil {
		return name, badRequest{err}
	}
	return name, nil
}

// replay ends when the client goes away.
func (d *logDesk) replay(ctx context.Context, w *lineWriter, r *http.Request) error {
	query, err := parseReplayQuery(r.URL.Query())
	if err != nil {
		return badRequest{err}
	}
	result, err := d.source.Replay(ctx, query, func(p replayResult) {
		_ = w.write(logLine{Replay: &p})
		_ = w.flush()
	})
	if w.begun || err == nil {
		// How far it came is told where it failed, too.
		err = errors.Join(err, w.write(logLine{Replay: &result}))
	}
	return w.end(err)
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
