package wal

import (
	"errors"
	"fmt"
)

// fail makes the log refuse everything from now on. It never blocks.
func (l *Log) fail(cause error) {
	l.failOnce.Do(func() {
		l.failure = fmt.Errorf("%w: %w", ErrFailed, cause)
		close(l.failed)
		l.queue.fail(l.failure)
		l.logger.Error("the log failed: look at its disk, then start again", "error", cause)
		if l.config.OnFatal != nil && l.serving.Load() {
			go l.config.OnFatal(l.failure)
		}
	})
}

func (l *Log) hasFailed() bool {
	select {
	case <-l.failed:
		return true
	default:
		return false
	}
}

// enter admits a read of db; leave must follow. ErrClosed once Close began.
func (l *Log) enter() error {
	l.access.Lock()
	defer l.access.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.busy.Add(1)
	return nil
}

func (l *Log) leave() { l.busy.Done() }

// Close refuses new requests, commits those that wait, ends all readers and
// closes the log; it waits for all of it and may be called twice. A log that
// failed cannot be closed cleanly, for Pebble may hold its locks for ever:
// Close then returns the failure, and the folder stays locked until the
// process ends.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	close(l.closing)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l.janitor != nil {
			l.janitor.stop()
		}
		l.queue.close()
		if l.committer != nil {
			<-l.committer.done
		}
		l.refuseReads()
		l.busy.Wait()
	}()
	select {
	case <-done:
	case <-l.failed:
		l.queue.close()
		l.refuseReads()
	}
	l.metrics.unregister()
	if l.hasFailed() {
		return l.failure
	}
	var err error
	if l.committer != nil {
		err = l.committer.batch.Close()
	}
	if err := errors.Join(err, l.closePebble(), l.unlock()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

func (l *Log) refuseReads() {
	l.access.Lock()
	l.closed = true
	l.access.Unlock()
}
