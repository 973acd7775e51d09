package ack

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"spillway/ingest"
)

const (
	streamKey = "webhooks"
	// maxEntries and maxStreamBytes bound what the stream holds, as serve's
	// defaults of stream.retain and stream.retain_bytes do.
	maxEntries     = 1_000_000
	maxStreamBytes = 2 << 30
	// addTimeout bounds one group; the generator waits no longer either.
	addTimeout = 10 * time.Second
	bufferSize = 64 << 10 // bytes
)

// Adder is what is often used in place of a log: each webhook's body is added, by a
// command of its own over the client's pool of connections, to a stream of a Redis
// that syncs before it answers, and whatever processes it reads it from there.
type Adder struct {
	NoLog
	client *goredis.Client
}

// NewAdder adds to a stream of the Redis at the address, host:port, whose
// appendfsync should be always, over a number of connections; 0 for the client's
// default.
func NewAdder(address string, connections int) *Adder {
	return &Adder{client: goredis.NewClient(&goredis.Options{
		Addr: address, MaxRetries: -1, PoolSize: connections,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
}

// Append returns nil once the webhook is in the stream.
func (a *Adder) Append(w *ingest.Webhook) error {
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	if err := a.client.Do(ctx, addCommand(w)...).Err(); err != nil {
		return fmt.Errorf("add to stream: %w", err)
	}
	return nil
}

// Close ends its connections.
func (a *Adder) Close() error { return a.client.Close() }

func addCommand(w *ingest.Webhook) []any {
	return []any{"xadd", streamKey, "maxlen", "~", mostEntries(len(w.Body)), "*", "body", w.Body}
}

// readEntries is how many entries are read of a stream at a time.
const readEntries = 1000

// ReadStream gives the body of each webhook that an Adder or a Stream has added, in
// their order; it is valid during the call.
func ReadStream(ctx context.Context, client *goredis.Client, each func(body []byte)) error {
	for from := "-"; ; {
		entries, err := client.XRangeN(ctx, streamKey, from, "+", readEntries).Result()
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
		for _, e := range entries {
			body, ok := e.Values["body"].(string)
			if !ok || len(e.Values) != 1 {
				return fmt.Errorf("read stream: entry %s is no webhook", e.ID)
			}
			each([]byte(body))
		}
		if len(entries) < readEntries {
			return nil
		}
		from = "(" + entries[len(entries)-1].ID
	}
}

// Stream is the same in its best form: all that wait go as one pipeline within
// MULTI and EXEC. A plain pipeline costs several syncs, one for each 16 to 32 KiB
// that Redis reads of a connection at a time; a transaction is executed at its
// end, and synced once.
type Stream struct {
	*groups
	client *goredis.Client
}

// NewStream adds to a stream of the Redis at the address, host:port, whose
// appendfsync should be always.
func NewStream(address string, reg prometheus.Registerer) (*Stream, error) {
	s := &Stream{client: goredis.NewClient(&goredis.Options{
		Addr: address, PoolSize: 1,
		// What may have been added is not added again.
		MaxRetries: -1, DialerRetries: 1,
		ReadTimeout: addTimeout, WriteTimeout: addTimeout,
		ReadBufferSize: bufferSize, WriteBufferSize: bufferSize,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
	var err error
	if s.groups, err = newGroups(s.write, reg); err != nil {
		_ = s.client.Close() // it has no connection yet
		return nil, err
	}
	return s, nil
}

func (s *Stream) write(group []pending) error {
	ctx := context.Background()
	pipe := s.client.TxPipeline()
	for _, w := range group {
		pipe.Do(ctx, addCommand(w.webhook)...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("add to stream: %w", err)
	}
	return nil
}

// mostEntries is how many entries with bodies of size bytes keep the bounds.
func mostEntries(size int) int {
	return max(1, min(maxEntries, maxStreamBytes/max(1, size)))
}

// Close waits for what is being added.
func (s *Stream) Close() error {
	s.close()
	return s.client.Close()
}
