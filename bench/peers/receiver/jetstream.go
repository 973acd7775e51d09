package receiver

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"spillway/ingest"
)

const (
	streamName = "WEBHOOKS"
	subject    = "webhooks"
	// maxMessages and maxBytes bound the stream, as those of Spillway and of the
	// Redis streams are.
	maxMessages = 1_000_000
	maxBytes    = 2 << 30
	// maxPending is above what waits at once, so that no publisher stalls.
	maxPending = 16 << 10
	readAhead  = 4096
)

// jetStream publishes each webhook to a stream in files, and waits for its
// acknowledgement. PublishMsgAsync is the faster way, by a tenth or so: messages of
// many goroutines go out in one write, and no subscription is made for each.
type jetStream struct {
	unbounded
	conn   *nats.Conn
	stream jetstream.JetStream
}

func newJetStream(ctx context.Context, address string) (*jetStream, error) {
	conn, err := nats.Connect(address)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	j := &jetStream{conn: conn}
	if j.stream, err = jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(maxPending)); err == nil {
		_, err = j.stream.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: streamName, Subjects: []string{subject}, Storage: jetstream.FileStorage,
			MaxMsgs: maxMessages, MaxBytes: maxBytes, Discard: jetstream.DiscardOld,
		})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("make stream: %w", err)
	}
	return j, nil
}

// Append returns nil once the server has acknowledged the webhook.
func (j *jetStream) Append(w *ingest.Webhook) error {
	future, err := j.stream.PublishMsgAsync(&nats.Msg{Subject: subject, Data: w.Body})
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

func readJetStream(ctx context.Context, address string, each func([]byte)) error {
	conn, err := nats.Connect(address)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, streamName)
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	state := stream.CachedInfo().State
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	defer messages.Stop()
	for range state.Msgs {
		message, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
		each(message.Data())
	}
	return nil
}
