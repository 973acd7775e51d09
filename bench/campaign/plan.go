package campaign

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"
)

// batchWindow is how long an update waits at most for others to share its
// webhook.
const batchWindow = 200 * time.Millisecond

// Shares of webhooks. A mixed one holds statuses beside messages.
const (
	aloneShare = 0.5
	mixedShare = 0.1
)

// item is an update of a recipient.
type item struct {
	due       time.Duration
	recipient int32
	update    uint8
	kind      kind
}

// webhook is one body. It is due once its last update has been reported.
type webhook struct {
	number int
	due    time.Duration
	items  []item
	// bulk is whether it holds statuses alone.
	bulk bool
}

// plan gives the webhooks of a campaign in the order in which they are due. It is
// a pure function of the Config and holds only the updates that are under way.
type plan struct {
	cfg   *Config
	run   uint64
	draws *rand.Rand
	// next is the next recipient that is sent to; waiting are updates that were
	// drawn, by their due time.
	next    int
	waiting itemHeap
	// open are the webhooks that still take updates, of statuses and of messages.
	open [2]batch
	// webhooks is how many were given.
	webhooks int
	life     life
	// begun is told of each recipient that is sent to.
	begun func(*life)
}

// batch is a webhook that is being filled.
type batch struct {
	items  []item
	target int
	mixed  bool
}

func newPlan(cfg *Config, run uint64) *plan {
	// Recipients have the streams up to MaxRecipients.
	return &plan{cfg: cfg, run: run, draws: rand.New(rand.NewPCG(cfg.Seed, math.MaxUint64))}
}

// take gives the next webhook, nil after the last.
func (p *plan) take() *webhook {
	for {
		due, more := p.nextDue()
		for i := range p.open {
			if b := &p.open[i]; len(b.items) > 0 && (!more || b.items[0].due+batchWindow <= due) && p.isFirst(i) {
				return p.close(i, min(b.items[0].due+batchWindow, p.lastDue(i, more)))
			}
		}
		if !more {
			return nil
		}
		it := heap.Pop(&p.waiting).(item)
		if i := p.put(it); i >= 0 {
			return p.close(i, it.due)
		}
	}
}

// isFirst is whether no other open webhook has to go before.
func (p *plan) isFirst(i int) bool {
	other := &p.open[1-i]
	return len(other.items) == 0 || p.open[i].items[0].due <= other.items[0].due
}

// lastDue is when a webhook goes for which no more updates come.
func (p *plan) lastDue(i int, more bool) time.Duration {
	if more {
		return math.MaxInt64
	}
	last := time.Duration(0)
	for _, b := range p.open {
		if n := len(b.items); n > 0 {
			last = max(last, b.items[n-1].due)
		}
	}
	return last
}

// nextDue draws the recipients that are sent to before the next update is due,
// and says when that is.
func (p *plan) nextDue() (due time.Duration, more bool) {
	for p.next < p.cfg.Recipients {
		at := p.cfg.Shape.at(p.next)
		if len(p.waiting) > 0 && p.waiting[0].due <= at {
			break
		}
		p.life.draw(p.cfg, p.run, p.next)
		p.begun(&p.life)
		for i, u := range p.life.updates {
			heap.Push(&p.waiting, item{due: at + u.due, recipient: int32(p.next), update: uint8(i), kind: u.kind})
		}
		p.next++
	}
	if len(p.waiting) == 0 {
		return 0, false
	}
	return p.waiting[0].due, true
}

// put adds an update to the open webhook for its like, and gives that where it is
// full, else -1.
func (p *plan) put(it item) int {
	i := 0
	if !it.kind.isStatus() {
		i = 1
	}
	b := &p.open[i]
	if len(b.items) == 0 {
		b.target, b.mixed = p.drawSize(), i == 1 && p.cfg.Batch > 1 && p.draws.Float64() < mixedShare
	}
	if b.items = append(b.items, it); len(b.items) < b.target {
		return -1
	}
	return i
}

// drawSize is how many updates a webhook shall hold: one as often as not, else
// any order of magnitude alike.
func (p *plan) drawSize() int {
	if p.cfg.Batch == 1 || p.draws.Float64() < aloneShare {
		return 1
	}
	most := math.Log(float64(p.cfg.Batch))
	return min(p.cfg.Batch, 1+int(math.Exp(p.draws.Float64()*most)))
}

func (p *plan) close(i int, due time.Duration) *webhook {
	b := &p.open[i]
	w := &webhook{number: p.webhooks, due: due, items: b.items, bulk: i == 0}
	b.items = nil
	if statuses := &p.open[0]; b.mixed && len(w.items)+len(statuses.items) <= p.cfg.Batch {
		w.items = append(w.items, statuses.items...)
		statuses.items = nil
	}
	p.webhooks++
	return w
}

// redelivery is whether and when a webhook that was acked is sent once more.
func (c *Config) redelivery(number int) (after time.Duration, again bool) {
	r := rand.New(rand.NewPCG(c.Seed, math.MaxUint64-1-uint64(number)))
	if r.Float64() >= c.Redeliver {
		return 0, false
	}
	return seconds((1 + 4*r.Float64()) * c.Delays), true
}

// retryDelay is how long after attempt n, from 0, the same body is sent again:
// a second, twice as long each time up to a minute, and by chance half of that less
// or more.
func (c *Config) retryDelay(number, attempt int) time.Duration {
	r := rand.New(rand.NewPCG(c.Seed, math.MaxUint64-1-uint64(number)-uint64(attempt+1)<<32))
	base := min(math.Ldexp(1, attempt), 60)
	return seconds(base * (0.5 + r.Float64()))
}

// itemHeap has the item that is due first at the top.
type itemHeap []item

func (h itemHeap) Len() int { return len(h) }

// Less breaks ties, so that a seed gives one order.
func (h itemHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.due != b.due {
		return a.due < b.due
	}
	if a.recipient != b.recipient {
		return a.recipient < b.recipient
	}
	return a.update < b.update
}
func (h itemHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *itemHeap) Push(x any)   { *h = append(*h, x.(item)) }
func (h *itemHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
