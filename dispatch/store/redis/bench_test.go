package redis

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

const benchBatch = 64

// filler brings a payload to the length Meta's have: about 600 bytes.
const filler = `,"phone_number_id":"106540352242922","waba_id":"102290129340398","recipient_id":"4915112345678",` +
	`"conversation":{"id":"f1d2a3b4c5d6e7f8a9b0c1d2e3f4a5b6","origin":{"type":"marketing"}},"pricing":{"billable":true,` +
	`"pricing_model":"PMP","type":"regular","category":"marketing"},"timestamp":"2026-09-01T12:00:00Z",` +
	`"biz_opaque_callback_data":"campaign-2026-09-01-spring-sale-segment-7","id":"0f3b8a54-25b7-5a27-8d8b-5a2b6c1d9e77"}`

// benchStatuses makes a batch of a partition: each message is sent, delivered, read.
func benchStatuses(partition, turn int) []event.Event {
	now := time.Now()
	events := make([]event.Event, benchBatch)
	name := [...]string{"sent", "delivered", "read"}[turn%3]
	for i := range events {
		wamid := "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjk4QzREMkY2RkY" + strconv.Itoa(partition) + "." +
			strconv.Itoa(turn/3) + "." + strconv.Itoa(i)
		c := &event.Customer{WABA: "1020", WaID: fmt.Sprint("49", partition, turn/3, i)}
		c.Contact = c.Candidate()
		events[i] = event.Event{
			UID: uuid.UUID{byte(i)}, Type: event.MessageStatus, Identity: event.StatusIdentity(wamid, name, ""),
			Key: wamid, Time: now, Received: now, Status: &event.Status{Wamid: wamid, Name: name}, Customer: c,
			Payload: append(event.AppendContact(nil, c.Contact), `,"wamid":"`+wamid+`","status":"`+name+`"`+filler...),
		}
	}
	return events
}

func benchMessages(partition, turn int) []event.Event {
	now := time.Now()
	events := make([]event.Event, benchBatch)
	for i := range events {
		wamid := fmt.Sprintf("wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjk4QzREMkY2RkY%d.%d.%d", partition, turn, i)
		c := &event.Customer{WABA: "1020", WaID: fmt.Sprint(partition, "-", turn%128, "-", i), Name: "Ann", Writes: true}
		c.Contact = c.Candidate()
		events[i] = event.Event{
			UID: uuid.UUID{byte(i)}, Type: event.MessageNew, Identity: wamid, Key: c.WaID,
			Time: now, Received: now, Customer: c,
			Payload: append(event.AppendContact(nil, c.Contact), `,"wamid":"`+wamid+`"`+filler...),
		}
	}
	return events
}

// BenchmarkApply claims and applies batches of 64, all partitions at once, with a
// real server beside it.
func BenchmarkApply(b *testing.B) {
	for name, batch := range map[string]func(partition, turn int) []event.Event{"statuses": benchStatuses, "messages": benchMessages} {
		b.Run(name, func(b *testing.B) { benchmarkApply(b, batch) })
	}
}

func benchmarkApply(b *testing.B, batch func(partition, turn int) []event.Event) {
	server := startServer(b, localredis.Options{AppendOnly: true, Fsync: "everysec"})
	cfg := DefaultConfig()
	cfg.Addrs = []string{server.Addr()}
	s := mustOpen(b, cfg)
	source := store.Source{Node: "node", Lane: "bulk"}
	made := make([][]event.Event, b.N)
	for i := range made {
		made[i] = batch(i%cfg.Partitions, i/cfg.Partitions)
	}
	client := server.Client()
	defer func() { _ = client.Close() }()
	before := serverTime(b, client)
	b.ReportAllocs()
	b.ResetTimer()
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for p := range cfg.Partitions {
		workers.Go(func() {
			var from store.Cursor
			for i := p; i < len(made) && failed.Load() == nil; i += cfg.Partitions {
				to := store.Cursor{Seq: from.Seq + 1, Hash: 1}
				if err := benchApply(b, s, &store.Batch{Source: source, Partition: p, From: from, To: to, Events: made[i]}); err != nil {
					failed.Store(&err)
				}
				from = to
			}
		})
	}
	workers.Wait()
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((serverTime(b, client)-before)*1e6/float64(b.N)/benchBatch, "server-µs/event")
}

// serverTime is the processor time that the server's main thread has used, in
// seconds: without rewrites of its file, and on a busy machine the steadier figure.
func serverTime(b *testing.B, client *goredis.Client) (sum float64) {
	info, err := client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(infoField(info, name), 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += seconds
	}
	return sum
}

func benchApply(b *testing.B, s *Store, batch *store.Batch) error {
	claims := make([]store.Claim, len(batch.Events))
	for i := range batch.Events {
		c := batch.Events[i].Customer
		claims[i] = store.Claim{Customer: c}
		if c.Writes {
			claims[i].Message = batch.Events[i].Identity
		}
	}
	claimed, err := s.Claim(b.Context(), claims)
	if err != nil {
		return err
	}
	for i := range batch.Events {
		e := &batch.Events[i]
		e.SetContact(claimed[i].Contact)
		e.Customer.Born = e.Customer.Writes && claimed[i].Birth == e.Identity
	}
	_, err = s.Apply(b.Context(), batch)
	return err
}
