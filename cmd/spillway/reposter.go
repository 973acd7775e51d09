package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"spillway/dispatch/backoff"
	"spillway/dispatch/meta"
)

// repostRetry is how long to wait before a webhook is tried again.
var repostRetry = backoff.Policy{First: 100 * time.Millisecond, Most: 5 * time.Second}

// postResult is what posting a lane's records came to.
type postResult struct {
	Lane string `json:"lane"`
	// Posted were answered, 2xx or not; Refused not with 2xx.
	Posted  int `json:"posted"`
	Refused int `json:"refused"`
	// Answers counts by status.
	Answers map[string]int `json:"answers"`
	// Next is the first record that was not answered: where to go on.
	Next uint64 `json:"next"`
}

// reposter posts records of a lane, several at a time, in their order: one begins
// once there is room for it behind the oldest one under way, so that all before
// that are known to be answered, and once those before it that speak of the same
// customer or the same message are. It belongs to one goroutine.
type reposter struct {
	target   *url.URL
	client   *http.Client
	limit    int
	patience time.Duration
	// under are the records under way, the oldest first; last is the youngest of
	// them by what it speaks of.
	under  []*repost
	last   map[string]*repost
	result postResult
}

// repost is a record under way. status and err are set before done is closed.
type repost struct {
	seq    uint64
	keys   []string
	before []*repost // which it has to wait for
	cancel context.CancelFunc
	done   chan struct{}
	status int
	err    error
}

func newReposter(target *url.URL, limit int, patience time.Duration) *reposter {
	return &reposter{
		target: target,
		client: &http.Client{
			Timeout:       clientTimeout,
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: limit},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		limit:    limit,
		patience: patience,
		last:     map[string]*repost{},
		result:   postResult{Answers: map[string]int{}},
	}
}

// take begins to post the entry's record, once there is room. Its error is that
// of the oldest record under way, which was given up.
func (p *reposter) take(ctx context.Context, e *logEntry) error {
	if e.Record == nil {
		return nil
	}
	if p.result.Next == 0 {
		p.result.Next = e.Seq
	}
	if len(p.under) == p.limit {
		if err := p.waitOldest(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &repost{seq: e.Seq, keys: keysOf(e.Record), cancel: cancel, done: make(chan struct{})}
	for _, key := range r.keys {
		if before := p.last[key]; before != nil {
			r.before = append(r.before, before)
		}
		p.last[key] = r
	}
	signature, body := "sha256="+hex.EncodeToString(e.Record.Signature), bytes.Clone(e.Record.Body)
	go func() {
		defer close(r.done)
		if r.err = r.wait(ctx); r.err == nil {
			r.status, r.err = p.post(ctx, signature, body)
		}
	}()
	p.under = append(p.under, r)
	return nil
}

// keysOf are what a record speaks of: its customers and its messages. One that
// cannot be decoded needs no order.
func keysOf(record *logRecord) []string {
	var keys []string
	events, _ := meta.Decode(record.Received, record.Body)
	for i := range events {
		if key := events[i].Key; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// wait returns once those before are answered; they are older, so none waits
// for a younger one.
func (r *repost) wait(ctx context.Context) error {
	for _, before := range r.before {
		select {
		case <-before.done:
			if before.err != nil {
				return fmt.Errorf("record %d was not answered: %w", before.seq, before.err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// waitOldest waits for the oldest record under way, and counts its answer. One
// that was given up stays the oldest.
func (p *reposter) waitOldest() error {
	oldest := p.under[0]
	<-oldest.done
	if oldest.err != nil {
		return oldest.err
	}
	oldest.cancel()
	oldest.before = nil
	for _, key := range oldest.keys {
		if p.last[key] == oldest {
			delete(p.last, key)
		}
	}
	p.under = p.under[1:]
	p.result.Posted++
	p.result.Answers[strconv.Itoa(oldest.status)]++
	if oldest.status/100 != 2 {
		p.result.Refused++
	}
	p.result.Next = oldest.seq + 1
	return nil
}

// finish waits for all under way, or ends them where reading or posting failed,
// and gives the result.
func (p *reposter) finish(lane string, err error) (postResult, error) {
	for err == nil && len(p.under) > 0 {
		err = p.waitOldest()
	}
	for _, r := range p.under {
		r.cancel()
	}
	for _, r := range p.under {
		<-r.done
	}
	p.client.CloseIdleConnections()
	p.result.Lane = lane
	return p.result, err
}

// post posts a webhook until it is answered other than with "later", ctx ends,
// or it was tried for long enough.
func (p *reposter) post(ctx context.Context, signature string, body []byte) (status int, err error) {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		status, err := p.try(ctx, signature, body)
		switch {
		case err == nil && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed):
			return 0, fmt.Errorf("%s answers %d at %s: no receiver takes webhooks there", p.target.Host, status, p.target.Path)
		case err == nil:
			return status, nil
		}
		wait := repostRetry.Wait(attempt, rand.Float64())
		if time.Since(began)+wait > p.patience {
			return 0, fmt.Errorf("%s: %w (tried for %s)", p.target.Host, err, time.Since(began).Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// try posts once. An answer that may be another one later is an error.
func (p *reposter) try(ctx context.Context, signature string, body []byte) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.target.String(), bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", withoutURL(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Hub-Signature-256", signature)
	response, err := p.client.Do(request)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, readBody))
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		return 0, fmt.Errorf("answered %d", response.StatusCode)
	}
	return response.StatusCode, nil
}
