package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"spillway/wal"
)

// remoteLog is the log of a running receiver, by way of its admin listener.
type remoteLog struct{ *remoteAdmin }

func newRemoteLog(address string) (*remoteLog, error) {
	admin, err := newRemoteAdmin(address)
	if err != nil {
		return nil, err
	}
	return &remoteLog{admin}, nil
}

func (r *remoteLog) Stat(ctx context.Context) (stat logStat, err error) {
	err = r.one(ctx, http.MethodGet, logStatPath, nil, &stat)
	return stat, err
}

func (r *remoteLog) Records(ctx context.Context, query recordQuery, emit func(logEntry) error) error {
	for _, lane := range query.Lanes {
		one := query
		one.Lanes = []wal.Lane{lane}
		if err := (&pager{remote: r, emit: emit}).run(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

func (r *remoteLog) Dead(ctx context.Context, emit func(deadEntry) error) error {
	return r.stream(ctx, http.MethodGet, logDeadPath, nil, func(line *logLine) error {
		if line.Letter == nil {
			return nil
		}
		return emit(*line.Letter)
	})
}

func (n deadName) path() string {
	return logDeadPath + "/" + n.Lane.String() + "/" + strconv.FormatUint(n.Seq, 10) + "/" + deadItem(n.Item).String()
}

func (r *remoteLog) DeadLetter(ctx context.Context, name deadName) (letter deadEntry, err error) {
	err = r.one(ctx, http.MethodGet, name.path(), nil, &letter)
	return letter, err
}

func (r *remoteLog) Retry(ctx context.Context, name deadName, force bool) (result retryResult, err error) {
	query := url.Values{queryForce: {strconv.FormatBool(force)}}
	err = r.one(ctx, http.MethodPost, name.path()+"/retry", query, &result)
	return result, err
}

func (r *remoteLog) Replay(ctx context.Context, query replayQuery, progress func(replayResult)) (result replayResult, err error) {
	result.Lane = query.Lane.String()
	err = r.stream(ctx, http.MethodPost, logReplayPath, query.values(), func(line *logLine) error {
		if line.Replay != nil {
			result = *line.Replay
			progress(result)
		}
		return nil
	})
	return result, err
}
