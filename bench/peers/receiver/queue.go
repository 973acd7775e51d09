package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/bench/ack"
	"spillway/ingest"
)

// queueSize is how many webhooks may wait; beyond it the next one's ack waits too.
const queueSize = 1_000_000

// queue is what most receivers do: the ack comes from memory, and a goroutine
// processes what it has acked. Here it decodes the webhook and appends each event
// to a file, which is the least that can be called processing.
type queue struct {
	unbounded
	waiting chan []byte
	file    *os.File
	done    chan struct{}
	// err is set before done is closed.
	err error
}

func newQueue(path string, reg prometheus.Registerer) (*queue, error) {
	file, err := openRecords(path)
	if err != nil {
		return nil, err
	}
	q := &queue{waiting: make(chan []byte, queueSize), file: file, done: make(chan struct{})}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: ack.UnreleasedRecords, Help: "Webhooks that are acked and not processed.",
	}, func() float64 { return float64(len(q.waiting)) })
	if err := reg.Register(waiting); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	go q.run()
	return q, nil
}

// Append returns nil once the webhook waits to be processed.
func (q *queue) Append(w *ingest.Webhook) error {
	q.waiting <- bytes.Clone(w.Body)
	return nil
}

func (q *queue) run() {
	defer close(q.done)
	var buffer []byte
	for body := range q.waiting {
		var err error
		if buffer, err = q.process(buffer[:0], body); err != nil {
			q.err = errors.Join(q.err, err)
		}
	}
}

// change is what the worker takes of a webhook: the events of its changes.
type change struct {
	Entry []struct {
		Changes []struct {
			Value struct {
				Messages, Statuses []json.RawMessage
			}
		}
	}
}

// process appends the events of one webhook to the file, all with one write.
func (q *queue) process(buffer, body []byte) ([]byte, error) {
	var webhook change
	if err := json.Unmarshal(body, &webhook); err != nil {
		return buffer, fmt.Errorf("decode webhook: %w", err)
	}
	for _, entry := range webhook.Entry {
		for _, change := range entry.Changes {
			for _, event := range change.Value.Messages {
				buffer = appendRecord(buffer, event)
			}
			for _, event := range change.Value.Statuses {
				buffer = appendRecord(buffer, event)
			}
		}
	}
	_, err := q.file.Write(buffer)
	return buffer, err
}

// Close waits until all is processed. There must be no Append under way.
func (q *queue) Close() error {
	close(q.waiting)
	<-q.done
	return errors.Join(q.err, q.file.Close())
}
