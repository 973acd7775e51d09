package subscribers

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept between these bounds, to one percent.
const (
	minLatency = time.Microsecond
	maxLatency = 10 * time.Minute
	digits     = 2
)

// Parse adds to numbers those of the events in a message, which may be none: an
// event of another round has no number. It is called from several goroutines, and
// must not keep the message.
type Parse func(message []byte, numbers []int) []int

// Round is a number of events that are to come at every socket, numbered from 0.
type Round struct {
	parse Parse
	// sent are when they were sent, in nanoseconds since began; 0 for not yet.
	began time.Time
	sent  []atomic.Int64
	// expected has a bit for each event that must come.
	expected []atomic.Uint64
	count    atomic.Int64
}

// NewRound makes a round of at most so many events.
func NewRound(events int, parse Parse) *Round {
	return &Round{
		parse: parse, began: time.Now().Add(-time.Nanosecond),
		sent: make([]atomic.Int64, events), expected: make([]atomic.Uint64, words(events)),
	}
}

func words(events int) int { return (events + 63) / 64 }

// Sent notes that an event is sent now. A number beyond the round is none of it.
func (r *Round) Sent(number int) {
	if number >= 0 && number < len(r.sent) {
		r.sent[number].Store(int64(time.Since(r.began)))
	}
}

// Expect notes that an event must come, since it was acked.
func (r *Round) Expect(number int) {
	if number >= 0 && number < len(r.sent) && r.expected[number/64].Or(1<<(number%64))>>(number%64)&1 == 0 {
		r.count.Add(1)
	}
}

// Expected is how many events must come at each socket.
func (r *Round) Expected() int64 { return r.count.Load() }

// missing counts what must have come and is not in seen.
func (r *Round) missing(seen []uint64) int64 {
	n := 0
	for i := range r.expected {
		n += bits.OnesCount64(r.expected[i].Load() &^ seen[i])
	}
	return int64(n)
}

// Count is what came at all sockets in a round.
type Count struct {
	// Messages and Bytes are all that was read, Events those of the round, each
	// once a socket, and Doubled how often one came again.
	Messages, Bytes, Events, Doubled int64
	// Lost is what should have come and did not, over all sockets that were there
	// when the round began, and Short at how many of them.
	Lost, Short int64
	// Latency is from sent to read, of events, in microseconds.
	Latency *hdrhistogram.Histogram
	// Last is when an event came last.
	Last time.Time
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatency.Microseconds(), maxLatency.Microseconds(), digits)
}

// add adds what another loop counted.
func (c *Count) add(o *Count) {
	c.Messages += o.Messages
	c.Bytes += o.Bytes
	c.Events += o.Events
	c.Doubled += o.Doubled
	c.Latency.Merge(o.Latency)
	if o.Last.After(c.Last) {
		c.Last = o.Last
	}
}
