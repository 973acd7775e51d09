package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"spillway/dispatch"
)

// logReaders bounds the requests that go through the log at a time.
const logReaders = 4

// logDesk answers for the log on the admin listener.
type logDesk struct {
	*desk
	source logSource
}

func newLogDesk(source logSource, logger *slog.Logger) *logDesk {
	d := &logDesk{desk: newDesk(logReaders, "too many look into the log already: try again later", logStatus), source: source}
	d.failed = func(err error, path, id string) {
		logger.Error("a request to look into the log failed", "error", err, "path", path, "request_id", id)
	}
	return d
}

// register adds the paths that newAdmin lists.
func (d *logDesk) register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+logStatPath, d.with(d.stat))
	mux.HandleFunc("GET "+logRecordsPath, d.with(d.records))
	mux.HandleFunc("GET "+logDeadPath, d.with(d.dead))
	mux.HandleFunc("GET "+logDeadPath+"/{lane}/{seq}/{item}", d.with(d.letter))
	mux.HandleFunc("POST "+logDeadPath+"/{lane}/{seq}/{item}/retry", d.with(d.retry))
	mux.HandleFunc("POST "+logReplayPath, d.with(d.replay))
}

// logStatus is the status of an error that is the log's own.
func logStatus(err error) int {
	switch {
	case errors.Is(err, errNoLetter):
		return http.StatusNotFound
	case errors.Is(err, dispatch.ErrOld), errors.Is(err, dispatch.ErrUndispatched):
		return http.StatusConflict
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
