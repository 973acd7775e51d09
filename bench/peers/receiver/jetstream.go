package receiver

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"spillway/ingest"
)

const (
	// maxMessages and maxBytes bound all streams, as those of Spillway and of the
	// Redis streams are.
	maxMessages = 1_000_000
	maxBytes    = 2 << 30
	// maxPending is above what waits at once, so that no publisher stalls.
	maxPending = 16 << 10
	readAhead  = 4096
)

func streamName(i int) string { return "WEBHOOKS-" + strconv.Itoa(i) }
func subject(i int) string    { return "webhooks." + strconv.Itoa(i) }

// jetStream publishes each webhook to one of several streams in files, in turn, and
// waits for its acknowledgement. PublishMsgAsync is a tenth faster than Publish:
// messages of many goroutines go out in one write.
type jetStream struct {
	unbounded
	conn     *nats.Conn
	stream   jetstream.JetStream
	subjects []string
	next     atomic.Uint64
}

func newJetStream(ctx context.Context, address string, streams int) (*jetStream, error) {
	conn, err := nats.Connect(address)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	j := &jetStream{conn: conn}
	if err := j.makeStreams(ctx, streams); err != nil {
		conn.Close()
		return nil, fmt.Errorf("make streams: %w", err)
	}
	return j, nil
}

func (j *jetStream) makeStreams(ctx context.Context, streams int) (err error) {
	if j.stream, err = jetstream.New(j.conn, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(addTimeout)); err != nil {
		return err
	}
	for i := range streams {
		_, err := j.stream.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: streamName(i), Subjects: []string{subject(i)}, Storage: jetstream.FileStorage,
			MaxMsgs: int64(maxMessages / streams), MaxBytes: int64(maxBytes / streams), Discard: jetstream.DiscardOld,
		})
		if err != nil {
			return err
		}
		j.subjects = append(j.subjects, subject(i))
	}
	return nil
}

// Append returns nil once the server has acknowledged the webhook.
func (j *jetStream) Append(w *ingest.Webhook) error {
	to := j.subjects[j.next.Add(1)%uint64(len(j.subjects))]
	future, err := j.stream.PublishMsgAsync(&nats.Msg{Subject: to, Data: w.Body})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	select {
	case <-future.Ok():
		return nil
	case err := <-future.Err():
		return fmt.Errorf("publish: %w", err)
	}
}

func (j *jetStream) Close() error {
	j.conn.Close()
	return nil
}

func readJetStream(ctx context.Context, address string, streams int, each func([]byte)) error {
	conn, err := nats.Connect(address)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for i := range streams {
		if err := readStream(ctx, js, streamName(i), each); err != nil {
			return fmt.Errorf("read stream %s: %w", streamName(i), err)
		}
	}
	return nil
}

func readStream(ctx context.Context, js jetstream.JetStream, name string, each func([]byte)) error {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range stream.CachedInfo().State.Msgs {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		each(message.Data())
	}
	return nil
}
