package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"spillway/cmd/spillway/logger"
)

// progressEvery is how often the progress of a job is shown at most.
const progressEvery = 200 * time.Millisecond

// job is a command that may take long. It writes notes to standard error, and,
// where that is a terminal, a line that tells how far it is; a disk that fails
// ends it.
type job struct {
	broken chan error
	lines  *logger.Handler

	mu       sync.Mutex
	out      io.Writer
	terminal bool
	shown    time.Time // when progress was last shown
	dirty    bool      // progress stands on the line
}

func newJob(stderr io.Writer) *job {
	j := &job{out: stderr, terminal: isTerminal(stderr), broken: make(chan error, 1)}
	j.lines = logger.NewHandler(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return j
}

func isTerminal(w io.Writer) bool {
	file, is := w.(*os.File)
	return is && term.IsTerminal(int(file.Fd()))
}

// run runs f. It does not wait for it once the disk has failed: a call under
// way may never return then.
func (j *job) run(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	defer j.clear()
	defer j.lines.Flush()
	select {
	case err := <-done:
		return err
	case err := <-j.broken:
		return fmt.Errorf("%w: %w", errDisk, err)
	}
}

// diskFailed ends run.
func (j *job) diskFailed(err error) {
	select {
	case j.broken <- err:
	default:
	}
}

// progress shows how far the job is, in the place of what it showed before.
func (j *job) progress(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := time.Now(); j.terminal && now.Sub(j.shown) >= progressEvery {
		j.shown, j.dirty = now, true
		fmt.Fprintf(j.out, eraseLine+format, args...)
	}
}

// eraseLine goes to the start of the line and takes off what is on it.
const eraseLine = "\r\x1b[K"

// clear takes the progress off the line.
func (j *job) clear() { _, _ = j.Write(nil) }

// note writes a line that stays.
func (j *job) note(format string, args ...any) {
	fmt.Fprintf(j, "spillway: "+format+"\n", args...)
}

// Write writes lines that stay.
func (j *job) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dirty {
		j.dirty = false
		fmt.Fprint(j.out, eraseLine)
	}
	if len(p) == 0 {
		return 0, nil
	}
	return j.out.Write(p)
}

// logger is for what a log and a store have to say: warnings and worse.
func (j *job) logger() *slog.Logger { return slog.New(j.lines) }
