package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"spillway/dispatch"
	"spillway/wal"
)

// localLog is a log that this process has open.
type localLog struct {
	log    *wal.Log
	folder string
	// behind tells how far dispatching is behind; nil where nothing dispatches.
	behind func() [len(wal.Lanes)]uint64
	// replayer is nil where the log was opened for reading alone.
	replayer *dispatch.Replayer
	close    func() error
}

var errReadOnly = errors.New("the log is open for reading alone")

func (l *localLog) Close() error {
	if l.close == nil {
		return nil
	}
	return l.close()
}

func (l *localLog) Stat(context.Context) (logStat, error) {
	stats, err := l.log.Stats()
	if err != nil {
		return logStat{}, fmt.Errorf("measure log: %w", err)
	}
	stat := logStat{
		Folder: l.folder, Node: stats.Node, Running: l.behind != nil,
		DeadLetters: stats.DeadLetters, DeadBytes: stats.DeadBytes,
		MaxBytes: stats.MaxBytes, MinFree: stats.MinFree, DiskBytes: stats.DiskBytes, FreeBytes: stats.FreeBytes,
		AppendedBytes: stats.Appended, WrittenBytes: stats.Written, WriteAmplification: stats.WriteAmplification(),
	}
	var behind [len(wal.Lanes)]uint64
	if l.behind != nil {
		behind = l.behind()
	}
	for _, lane := range wal.Lanes {
		s := stats.Lanes[lane]
		if l.behind == nil {
			behind[lane] = s.Head - s.Released
		}
		stat.Lanes = append(stat.Lanes, laneStat{
			Lane: lane.String(), First: s.First, Head: s.Head, Released: s.Released, Records: s.Head + 1 - s.First,
			Behind: behind[lane], Bytes: s.Bytes, UnreleasedBytes: s.UnreleasedBytes,
			Oldest: s.Oldest, Newest: s.Newest, LastMinute: s.LastMinute,
		})
	}
	return stat, nil
}

func (l *localLog) Records(ctx context.Context, query recordQuery, emit func(logEntry) error) error {
	for _, lane := range query.Lanes {
		if err := scanLane(ctx, l.log, lane, &query, emit); err != nil {
			return err
		}
	}
	return nil
}

// deadPage and deadPageBytes bound the dead letters that are read at a time.
const deadPage, deadPageBytes = 8192, 1 << 20

var errPageFull = errors.New("page full")

// Dead reads in pages, so that the log is not held while emit is slow.
func (l *localLog) Dead(ctx context.Context, emit func(deadEntry) error) error {
	var after *deadName
	for ctx.Err() == nil {
		page, more, err := l.deadAfter(after)
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		for i := range page {
			if err := emit(deadEntryOf(&page[i])); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		after = &deadName{Lane: page[len(page)-1].Lane, Seq: page[len(page)-1].Seq, Item: page[len(page)-1].Item}
	}
	return context.Cause(ctx)
}

// deadAfter gives the dead letters that stand after one, without their bodies,
// and whether there are more.
func (l *localLog) deadAfter(after *deadName) (page []wal.DeadLetter, more bool, err error) {
	size := 0
	walk := l.log.Dead
	if after != nil {
		walk = func(fn func(wal.DeadLetter) error) error {
			return l.log.DeadAfter(after.Lane, after.Seq, after.Item, fn)
		}
	}
	err = walk(func(letter wal.DeadLetter) error {
		if len(page) == deadPage || size > deadPageBytes {
			return errPageFull
		}
		letter.Signature, letter.Body = nil, nil
		size += len(letter.Path) + len(letter.Reason)
		page = append(page, letter)
		return nil
	})
	if errors.Is(err, errPageFull) {
		return page, true, nil
	}
	return page, false, err
}

func deadEntryOf(letter *wal.DeadLetter) deadEntry {
	return deadEntry{
		Lane: letter.Lane.String(), Seq: letter.Seq, Item: deadItem(letter.Item), Received: letter.Received,
		App: letter.App, Path: letter.Path, Reason: letter.Reason, Signature: letter.Signature, Body: letter.Body,
	}
}

func (l *localLog) DeadLetter(ctx context.Context, name deadName) (deadEntry, error) {
	letter, err := l.log.DeadLetter(name.Lane, name.Seq, name.Item)
	switch {
	case errors.Is(err, wal.ErrNotFound):
		return deadEntry{}, errNoLetter
	case err != nil:
		return deadEntry{}, fmt.Errorf("read dead letter: %w", err)
	}
	if len(letter.Body) == 0 {
		if letter.Signature, letter.Body, err = dispatch.BodyOf(ctx, l.log, letter); err != nil {
			return deadEntry{}, err
		}
	}
	return deadEntryOf(&letter), nil
}

func (l *localLog) Retry(ctx context.Context, name deadName, force bool) (retryResult, error) {
	result := retryResult{Lane: name.Lane.String(), Seq: name.Seq, Item: deadItem(name.Item), Result: retryApplied}
	if l.replayer == nil {
		return result, errReadOnly
	}
	done, err := l.replayer.Retry(ctx, name.Lane, name.Seq, name.Item, force)
	switch {
	case errors.Is(err, wal.ErrNotFound):
		return result, errNoLetter
	case errors.Is(err, dispatch.ErrStillDead):
		result.Result, result.Reason = retryStillDead, err.Error()
	case errors.Is(err, dispatch.ErrOld):
		result.Result, result.Reason = retryTooOld, err.Error()
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case err != nil:
		result.Result, result.Reason = retryFailed, err.Error()
	}
	result.Fresh, result.Duplicate, result.Stale, result.Replayed = done.Fresh, done.Duplicate, done.Stale, done.Replayed
	return result, nil
}

func (l *localLog) Replay(ctx context.Context, query replayQuery, progress func(replayResult)) (replayResult, error) {
	if l.replayer == nil {
		return replayResult{}, errReadOnly
	}
	from, to, err := extent(l.log, query.Lane, query.From, query.To, query.Since)
	if err != nil {
		return replayResult{}, err
	}
	if from > to {
		return replayResult{Lane: query.Lane.String(), From: from, To: to}, nil
	}
	request := dispatch.ReplayRequest{Lane: query.Lane, From: from, Force: query.Force}
	if query.To > 0 {
		request.To = to
	}
	var told time.Time
	done, err := l.replayer.Replay(ctx, request, func(p dispatch.ReplayProgress) {
		if time.Since(told) >= positionEvery {
			told = time.Now()
			progress(replayResultOf(query.Lane, p))
		}
	})
	return replayResultOf(query.Lane, done), err
}

func replayResultOf(lane wal.Lane, p dispatch.ReplayProgress) replayResult {
	return replayResult{
		Lane: lane.String(), From: p.From, To: p.To, Seq: p.Seq, Undispatched: p.Undispatched, Records: p.Records,
		Fresh: p.Fresh, Duplicate: p.Duplicate, Stale: p.Stale, Replayed: p.Replayed, Dead: p.Dead,
	}
}
