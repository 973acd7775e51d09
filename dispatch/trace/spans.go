package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	otel "go.opentelemetry.io/otel/trace"

	"spillway/dispatch"
	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/stream"
)

// The attributes that no convention has.
const (
	keyLane    = attribute.Key("spillway.lane")
	keySeq     = attribute.Key("spillway.seq")
	keyOutcome = attribute.Key("spillway.outcome")
	keyType    = attribute.Key("spillway.event.type")
	// keyPartition is the number that messaging.destination.partition.id has as text.
	keyPartition = attribute.Key("spillway.partition")
	// keyAttempt counts the calls to the store from 1.
	keyAttempt = attribute.Key("spillway.attempt")
	// keyAttempts is how many calls it took.
	keyAttempts = attribute.Key("spillway.attempts")
	// keySockets is how many live sockets of this receiver an event is for.
	keySockets = attribute.Key("spillway.sockets")
	// keyEstimated is set where the time of the ack is not known: a restart, or too
	// many webhooks since. The span then ends where the log was read.
	keyEstimated = attribute.Key("spillway.ack.estimated")
)

// outcomeCovered is that of events whose call had succeeded when its answer was
// lost: whether they were new nobody knows.
const outcomeCovered = "covered"

// Called implements dispatch.Tracer.
func (t *Tracer) Called(c dispatch.Call) {
	if differs := (*store.CursorError)(nil); errors.As(c.Err, &differs) {
		c.Err, c.Result = nil, store.Result{Stored: differs.Stored} // as Apply says it
	}
	for i := range c.Batch.Events {
		if t.sampler.takes(c.Batch.Events[i].UID) {
			t.called(&c, i)
		}
	}
}

// called makes the spans of one event of a call.
func (t *Tracer) called(c *dispatch.Call, i int) {
	e := &c.Batch.Events[i]
	// The event's place is counted from the end: what was applied meanwhile is
	// missing at the front of the next call.
	key := callKey{e.UID, c.Batch.Source.Lane, c.Seqs[i], c.Read.UnixNano(), len(c.Batch.Events) - i}
	dispatched := t.spanID(key, "dispatch")
	outcome, known := outcomeOf(c, i)
	common := []attribute.KeyValue{
		semconv.MessagingSystemKey.String("spillway"),
		keyLane.String(c.Batch.Source.Lane), keySeq.Int64(int64(c.Seqs[i])),
		keyPartition.Int(c.Batch.Partition), keyType.String(typeName(e.Type)),
	}
	if known {
		common = append(common, keyOutcome.String(outcome))
		t.received(c, e, outcome, t.spanID(key, "receive"), dispatched, common)
	}
	attributes := with(common, t.store, semconv.MessagingBatchMessageCount(len(c.Batch.Events)), keyAttempt.Int(c.Attempt+1))
	switch {
	case errors.Is(c.Err, context.Canceled): // the receiver ends, and applies it when it is back
		return
	case c.Err != nil:
		attributes = append(attributes, semconv.ErrorTypeKey.String(errorType(c.Err)))
	case !known:
		return // the store went back: it is called again
	}
	t.emit(span{
		name: "apply", kind: otel.SpanKindClient, trace: otel.TraceID(e.UID), id: randomID(), parent: dispatched,
		start: c.Began, end: c.Ended, failed: c.Err != nil, attributes: attributes,
	})
}

// received makes the spans receive and dispatch of an event whose outcome is known.
func (t *Tracer) received(c *dispatch.Call, e *event.Event, outcome string, own, dispatched otel.SpanID, common []attribute.KeyValue) {
	id, parent := rootID(e.UID), otel.SpanID{}
	if outcome == store.Outcomes[store.Duplicate] {
		id, parent = own, id
	}
	attributes := with(common, semconv.MessagingOperationName("receive"), semconv.MessagingOperationTypeReceive)
	acked, known := t.acks.get(e.Received)
	if !known {
		acked = c.Read
		attributes = append(attributes, keyEstimated.Bool(true))
	}
	t.emit(span{
		name: "receive", kind: otel.SpanKindConsumer, trace: otel.TraceID(e.UID), id: id, parent: parent,
		start: e.Received, end: acked, attributes: attributes,
	})
	t.emit(span{
		name: "dispatch", kind: otel.SpanKindConsumer, trace: otel.TraceID(e.UID), id: dispatched, parent: id,
		start: c.Read, end: c.Ended,
		attributes: with(common, semconv.MessagingOperationName("dispatch"), semconv.MessagingOperationTypeProcess,
			semconv.MessagingDestinationPartitionID(fmt.Sprintf("%02d", c.Batch.Partition)), keyAttempts.Int(c.Attempt+1)),
	})
}

// outcomeOf is what became of an event in a call; false where that did not decide.
func outcomeOf(c *dispatch.Call, i int) (outcome string, known bool) {
	switch {
	case c.Err != nil:
		return "", false
	case c.Result.Applied:
		return store.Outcomes[c.Result.Outcomes[i]], true
	}
	return outcomeCovered, c.Result.Stored.Seq >= c.Batch.To.Seq
}

// Samples implements stream.Tracer.
func (t *Tracer) Samples(uid uuid.UUID) bool { return t.sampler.takes(uid) }

// Wrote implements stream.Tracer.
func (t *Tracer) Wrote(w stream.Written) {
	parent := rootID(w.UID)
	if w.Type == event.ContactNew || w.Type == event.ContactUpdated {
		parent = otel.SpanID{} // the store made it: no webhook is it
	}
	t.emit(span{
		name: "frame", kind: otel.SpanKindProducer, trace: otel.TraceID(w.UID), id: randomID(), parent: parent,
		start: w.Read, end: w.First,
		attributes: []attribute.KeyValue{
			semconv.MessagingSystemKey.String("spillway"),
			semconv.MessagingOperationName("frame"), semconv.MessagingOperationTypeSend,
			keyPartition.Int(w.Partition), keyType.String(typeName(w.Type)), keySockets.Int(w.Sockets),
		},
	})
}

// rootID is the span id of an event's first receive, not zero by the UUID's version.
func rootID(uid uuid.UUID) otel.SpanID { return otel.SpanID(uid[:8]) }

// callKey is an event as it was read from the log once: all calls with it, those
// that failed too, are of one dispatch.
type callKey struct {
	uid  uuid.UUID
	lane string
	seq  uint64
	read int64
	last int
}

func (t *Tracer) spanID(key callKey, name string) (id otel.SpanID) {
	binary.BigEndian.PutUint64(id[:], maphash.Comparable(t.seed, struct {
		callKey
		name string
	}{key, name})|1)
	return id
}

func randomID() (id otel.SpanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1)
	return id
}

// with gives attributes and more, in a slice of its own.
func with(attributes []attribute.KeyValue, more ...attribute.KeyValue) []attribute.KeyValue {
	return append(attributes[:len(attributes):len(attributes)], more...)
}

// typeName is the type of an event. The field's name in it is the sender's: what
// is none of Meta's kind is not passed on.
func typeName(eventType string) string {
	field, isChange := strings.CutPrefix(eventType, event.WebhookPrefix)
	plain := func(r rune) bool { return r == '_' || 'a' <= r && r <= 'z' }
	if isChange && (len(field) > 64 || strings.TrimFunc(field, plain) != "") {
		return event.WebhookPrefix + "*"
	}
	return eventType
}

// errorType is the kind of an error. Its text may name keys of the store, and
// those customers.
func errorType(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	for {
		cause := errors.Unwrap(err)
		if cause == nil {
			return fmt.Sprintf("%T", err)
		}
		err = cause
	}
}
