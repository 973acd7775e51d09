package campaign

import (
	"net/http"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// tolerance is how late a post may begin and still be on schedule.
	tolerance = 10 * time.Millisecond
	// second is Meta's bound for 99 % of the answers, median for half of them.
	second, median = time.Second, 250 * time.Millisecond
	// Latencies are kept between these bounds, to one percent.
	minLatency, maxLatency = time.Microsecond, time.Hour
	digits                 = 2
)

// latencies are of the whole campaign, and of the second under way.
type latencies struct{ all, now *hdrhistogram.Histogram }

func newLatencies() latencies { return latencies{newHistogram(), newHistogram()} }

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatency.Microseconds(), maxLatency.Microseconds(), digits)
}

func (l latencies) record(d time.Duration) {
	us := min(max(d, minLatency), maxLatency).Microseconds()
	_ = l.all.RecordValue(us) // never out of bounds
	_ = l.now.RecordValue(us)
}

// meter counts what happens.
type meter struct {
	mu sync.Mutex
	// total is filled as it goes, at is the second under way.
	total Result
	at    Point
	acks  latencies
	// deliveries are of events.
	deliveries latencies
	inFlight   int64
	// over are acks that took more than a second, excused posts that were not
	// answered since the receiver had been killed.
	over, excused int64
	// clock is set before the first post. The receiver was last killed at killedAt,
	// and is down, or was until upAt.
	clock          clock
	down           bool
	killedAt, upAt time.Duration
	lastSeen       time.Time
}

func newMeter() *meter {
	return &meter{total: Result{Answers: map[int]int64{}}, acks: newLatencies(), deliveries: newLatencies(), lastSeen: time.Now()}
}

// posting counts a post that begins so long after it was due.
func (m *meter) posting(late time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.Sent++
	m.at.Sent++
	m.inFlight++
	behind := &m.total.BehindSchedule
	if late > tolerance {
		behind.Posts++
	}
	behind.MaxSeconds = max(behind.MaxSeconds, late.Seconds())
}

// answered counts an answer to a post that was due and sent at these times, or
// with status 0 that none came; first is whether it is the first ack of its webhook.
func (m *meter) answered(status int, due, sent, now time.Duration, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	switch {
	case status == 0:
		m.total.Unanswered++
		if m.total.Kills > 0 && now >= m.killedAt && (m.down || sent <= m.upAt) {
			m.excused++
		}
		return
	case status == http.StatusOK:
		if m.acks.record(now - due); now-due > second {
			m.over++
		}
		if first {
			m.total.Acked++
			m.at.Acked++
		}
	default:
		m.total.Rejected++
		m.at.Rejected++
	}
	m.total.Answers[status]++
}

func (m *meter) redelivering() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.Redelivered++
}

func (m *meter) retrying() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.Retried++
}

// delivered counts an event that came so long after its webhook was due.
func (m *meter) delivered(latency time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deliveries.record(latency)
	m.at.Seen++
	m.lastSeen = time.Now()
}

// quiet is how long no event has come.
func (m *meter) quiet() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.lastSeen)
}

// killing tells that the receiver is about to be killed, restarted that it runs
// again.
func (m *meter) killing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.Kills++
	m.at.Killed, m.down, m.killedAt = true, true, m.clock.now()
}

func (m *meter) restarted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down, m.upAt = false, m.clock.now()
}

// reconnected tells that events can come again: until then it was not quiet.
func (m *meter) reconnected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastSeen = time.Now()
}

// tick ends a second.
func (m *meter) tick(backlog int64, lag time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.at
	p.InFlight, p.Backlog, p.Lag = m.inFlight, backlog, lag.Seconds()
	p.AckP50, p.AckP99 = quantile(m.acks.now, 50), quantile(m.acks.now, 99)
	p.DeliveryP50, p.DeliveryP99 = quantile(m.deliveries.now, 50), quantile(m.deliveries.now, 99)
	m.acks.now.Reset()
	m.deliveries.now.Reset()
	m.total.Series = append(m.total.Series, p)
	m.at = Point{Second: p.Second + 1}
}

// Progress is how far a campaign is.
type Progress struct {
	Elapsed, Left time.Duration
	// Rate is of posts in the last whole second.
	Rate, InFlight             int64
	Sent, Acked, Seen, Backlog int64
	// Lag is how long the oldest event has been waited for that was acked.
	Lag time.Duration
}

func (m *meter) progress() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := Progress{InFlight: m.inFlight, Sent: m.total.Sent, Acked: m.total.Acked, Seen: m.deliveries.all.TotalCount()}
	if n := len(m.total.Series); n > 0 {
		p.Rate = m.total.Series[n-1].Sent
	}
	return p
}

// result gives what was counted.
func (m *meter) result() *Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.total
	r.AckSeconds, r.DeliverySeconds = quantiles(m.acks.all), quantiles(m.deliveries.all)
	r.AckDistribution, r.DeliveryDistribution = distribution(m.acks.all), distribution(m.deliveries.all)
	if r.Sent > 0 {
		r.BehindSchedule.Share = float64(r.BehindSchedule.Posts) / float64(r.Sent)
		// What is rejected fast does not make the others faster, and who is dead
		// cannot answer.
		unanswered := r.Unanswered - m.excused
		if all := r.Answers[http.StatusOK] + unanswered; all > 0 {
			r.OverSecond = float64(m.over+unanswered) / float64(all)
		}
	}
	return &r
}

func quantile(h *hdrhistogram.Histogram, percent float64) float64 {
	if h.TotalCount() == 0 {
		return 0
	}
	return float64(h.ValueAtQuantile(percent)) / 1e6
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	return Quantiles{quantile(h, 50), quantile(h, 90), quantile(h, 99), quantile(h, 99.9), quantile(h, 100)}
}

func distribution(h *hdrhistogram.Histogram) []Bucket {
	buckets := []Bucket{}
	if h.TotalCount() == 0 {
		return buckets
	}
	for _, b := range h.CumulativeDistributionWithTicks(5) {
		buckets = append(buckets, Bucket{Seconds: float64(b.ValueAt) / 1e6, Share: b.Quantile / 100})
	}
	return buckets
}
