package embedded

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

const benchBatch = 64

// filler brings a payload to the length Meta's have: about 600 bytes.
const filler = `,"phone_number_id":"106540352242922","waba_id":"102290129340398","recipient_id":"4915112345678",` +
	`"conversation":{"id":"f1d2a3b4c5d6e7f8a9b0c1d2e3f4a5b6","origin":{"type":"marketing"}},"pricing":{"billable":true,` +
	`"pricing_model":"PMP","type":"regular","category":"marketing"},"timestamp":"2026-09-01T12:00:00Z",` +
	`"biz_opaque_callback_data":"campaign-2026-09-01-spring-sale-segment-7","id":"0f3b8a54-25b7-5a27-8d8b-5a2b6c1d9e77"}`

func benchStore(b *testing.B, fs vfs.FS) *Store {
	cfg := DefaultConfig()
	cfg.Dir, cfg.FS = b.TempDir(), fs
	return mustOpen(b, cfg)
}

// benchStatuses makes batches of statuses: each message is sent, delivered, read.
func benchStatuses(partitions int, counter *atomic.Uint64) (int, []event.Event) {
	n := counter.Add(1)
	partition := int(n) % partitions
	now := time.Now()
	events := make([]event.Event, benchBatch)
	message := n / uint64(3*partitions)
	name := [...]string{"sent", "delivered", "read"}[n/uint64(partitions)%3]
	for i := range events {
		wamid := "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjk4QzREMkY2RkY" + strconv.Itoa(partition) + "." +
			strconv.FormatUint(message, 10) + "." + strconv.Itoa(i)
		events[i] = event.Event{
			UID: uuid.UUID{byte(i)}, Type: event.MessageStatus, Identity: event.StatusIdentity(wamid, name, ""),
			Key: wamid, Time: now, Received: now, Status: &event.Status{Wamid: wamid, Name: name},
			Payload: []byte(`{"contact_id":"0f3b8a54-25b7-5a27-8d8b-5a2b6c1d9e77","wamid":"` + wamid + `","status":"` + name + `"` + filler),
		}
	}
	return partition, events
}

func benchMessages(partitions int, counter *atomic.Uint64) (int, []event.Event) {
	n := counter.Add(1)
	partition := int(n) % partitions
	now := time.Now()
	events := make([]event.Event, benchBatch)
	for i := range events {
		wamid := fmt.Sprintf("wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjk4QzREMkY2RkY%d.%d", n, i)
		c := &event.Customer{WABA: "1020", WaID: fmt.Sprint(n%4096, "-", i), Name: "Ann", Writes: true}
		c.Contact = c.Candidate()
		events[i] = event.Event{
			UID: uuid.UUID{byte(i)}, Type: event.MessageNew, Identity: wamid, Key: c.WaID,
			Time: now, Received: now, Customer: c,
			Payload: append(event.AppendContact(nil, c.Contact), `,"wamid":"`+wamid+`"`+filler...),
		}
	}
	return partition, events
}

// benchmarkApply applies batches of 64 to all partitions in turn.
func benchmarkApply(b *testing.B, fs vfs.FS, followed bool, batch func(int, *atomic.Uint64) (int, []event.Event), claim bool) {
	s := benchStore(b, fs)
	source := store.Source{Node: "node", Lane: "bulk"}
	cursors := make([]store.Cursor, s.Partitions())
	var counter atomic.Uint64
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	if followed {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Follow(ctx, make([]store.Place, s.Partitions()), func(store.Round) error { return nil })
		}()
		defer func() { cancel(); <-done }()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		partition, events := batch(s.Partitions(), &counter)
		b.StartTimer()
		if claim {
			benchClaim(b, s, events)
		}
		to := store.Cursor{Seq: cursors[partition].Seq + 1, Hash: 1}
		_, err := s.Apply(ctx, &store.Batch{
			Source: source, Partition: partition, From: cursors[partition], To: to, Events: events,
		})
		if err != nil {
			b.Fatal(err)
		}
		cursors[partition] = to
	}
	b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "events/s")
}

func benchClaim(b *testing.B, s *Store, events []event.Event) {
	claims := make([]store.Claim, len(events))
	for i := range events {
		claims[i] = store.Claim{Customer: events[i].Customer, Message: events[i].Identity}
	}
	claimed, err := s.Claim(b.Context(), claims)
	if err != nil {
		b.Fatal(err)
	}
	for i := range events {
		events[i].SetContact(claimed[i].Contact)
		events[i].Customer.Born = claimed[i].Birth == events[i].Identity
	}
}

func BenchmarkApply(b *testing.B) {
	for _, disk := range []string{"memory", "disk"} {
		fs := vfs.Default
		if disk == "memory" {
			fs = vfs.NewMem()
		}
		b.Run("statuses/"+disk, func(b *testing.B) { benchmarkApply(b, fs, false, benchStatuses, false) })
		b.Run("statuses-followed/"+disk, func(b *testing.B) { benchmarkApply(b, fs, true, benchStatuses, false) })
		b.Run("messages/"+disk, func(b *testing.B) { benchmarkApply(b, fs, false, benchMessages, true) })
	}
}
