// Package peer is the receivers that are compared, Spillway among them: what each
// is made of, what its acknowledgement is worth, and how it is started, killed,
// started again and read back.
//
//	generator ──▶ receiver ──▶ server    each a process of its own
package peer

import (
	"slices"

	"spillway/bench/ack"
	"spillway/bench/peers/receiver"
	"spillway/bench/peers/server"
	"spillway/dispatch/store/redis/localredis"
)

// Peer is one of them.
type Peer struct {
	Name string
	// What it is, in a sentence.
	What string
	// Durable is whether an ack survives a loss of power, Survives what it
	// survives, in the words of its documentation.
	Durable  bool
	Survives string
	// Rare is one that is stronger than what people run.
	Rare bool

	// spillway is the kind of Spillway's own target, receiver that of the others.
	spillway, receiver string
	server             kind
	streams            int // of NATS
}

// kind is what keeps the webhooks of a receiver.
type kind string

const (
	none          kind = ""
	natsAlways    kind = "nats-always"
	natsDefault   kind = "nats-default"
	redisAlways   kind = "redis-always"
	redisEverySec kind = "redis-everysec"
	postgres      kind = "postgres"
)

// The names that reports speak of.
const (
	Ceiling  = "ceiling"
	Paused   = "spillway-paused"
	Spillway = "spillway"
)

const (
	power    = "power loss, kill -9"
	killOnly = "kill -9; not power loss: "
)

// All are all peers, in the order of the report.
var All = []Peer{
	{Name: Ceiling, spillway: ack.Ceiling, Survives: "nothing: it keeps nothing",
		What: "Spillway's listener with its check of signatures, and nothing behind it: what the generator and the listener leave room for"},
	{Name: Paused, spillway: ack.Paused, Durable: true, Survives: power,
		What: "Spillway without dispatching: it keeps webhooks, as the peers below do"},
	{Name: Spillway, spillway: ack.Serve, Durable: true, Survives: power,
		What: "all of Spillway: it also decodes, deduplicates, orders and streams every event, on the same cores"},
	{Name: "nats-always", receiver: receiver.NATS, server: natsAlways, streams: 8, Durable: true, Survives: power,
		What: "NATS JetStream, `sync_interval: always`; PublishMsgAsync with its acknowledgement awaited, to 8 streams in turn, since it syncs each message of a stream by itself and so takes more with several"},
	{Name: "nats-default", receiver: receiver.NATS, server: natsDefault, streams: 1, Survives: killOnly + "up to 2 minutes of acks",
		What: "the same with the default `sync_interval` of 2 minutes, and one stream, since it gains nothing with several"},
	{Name: "xadd-always", receiver: receiver.XADD, server: redisAlways, Durable: true, Survives: power,
		What: "one Redis XADD a webhook, `appendfsync always`, over 128 connections"},
	{Name: "xadd-grouped-always", receiver: receiver.GroupedXADD, server: redisAlways, Durable: true, Survives: power, Rare: true,
		What: "the same with all webhooks that wait in one transaction: the strongest form, which hardly anybody runs"},
	{Name: "xadd-everysec", receiver: receiver.XADD, server: redisEverySec, Survives: killOnly + "a second of acks, sometimes two",
		What: "one Redis XADD a webhook, `appendfsync everysec`, over 128 connections"},
	{Name: "postgres", receiver: receiver.Postgres, server: postgres, Durable: true, Survives: power,
		What: "one INSERT a webhook into PostgreSQL, `synchronous_commit=on`, prepared, over a pool of 64 connections on a Unix socket; `shared_buffers=256MB`, `max_wal_size=4GB`"},
	{Name: "nethttp-fsync", receiver: receiver.NetHTTP, Durable: true, Survives: power,
		What: "net/http, a file, and one fsync a request, of which many run at once"},
	{Name: "memory", receiver: receiver.Memory, Survives: "nothing: what waits in memory is lost",
		What: "a queue in memory of up to a million webhooks that are acked at once; a goroutine decodes them and appends each event to a file, which is not synced"},
}

// Names are those of All.
func Names() []string {
	var names []string
	for _, p := range All {
		names = append(names, p.Name)
	}
	return names
}

// ByName finds one of All.
func ByName(name string) (Peer, bool) {
	i := slices.IndexFunc(All, func(p Peer) bool { return p.Name == name })
	if i < 0 {
		return Peer{}, false
	}
	return All[i], true
}

// Missing says what must be installed for it, nil for nothing.
func (p Peer) Missing() (err error) {
	switch p.server {
	case redisAlways, redisEverySec:
		_, err = localredis.Find()
	case postgres:
		_, err = server.FindPostgres()
	}
	return err
}

// Keeps is whether it keeps webhooks at all.
func (p Peer) Keeps() bool { return p.Name != Ceiling }

// dispatches is whether it processes what it acked, and tells how far it is.
func (p Peer) dispatches() bool { return p.spillway == ack.Serve || p.receiver == receiver.Memory }
