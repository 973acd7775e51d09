package campaign

import (
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"spillway/dispatch/event"
)

// entry is one event that a webhook shall cause. Times are since the campaign
// began; 0 is not yet.
type entry struct {
	// due is when its webhook was first due, sent when it was first posted, acked
	// when it was first answered 200, seen when the event came first.
	due, sent, acked, seen time.Duration
	// uid is of the event, in short; session the connection it last came over;
	// recounted is whether it came when all was read once more; doubled whether it
	// was counted as such.
	uid       uint64
	session   int32
	recounted bool
	doubled   bool
	kind      kind
	bulk      bool
	// message is which of the recipient's messages it is of.
	message uint8
}

// ledger knows of each event whether it was acked and seen, and how. It takes
// some 300 bytes a recipient.
type ledger struct {
	run uint64
	mu  sync.Mutex
	// entries are by recipient: those of n are from first[n] to first[n+1].
	entries []entry
	first   []int32
	// uids tell which entry has one: no two events may share it.
	uids map[uint64]int32
	// unseen are the entries in the order of their acks, but for those from its
	// start that were seen.
	unseen []int32
	// session counts connections of the subscription, and readings.
	session int32
	// recounting is while all is read once more.
	recounting bool

	expected, seen, duplicated, outOfOrder int64
	// missing is how many were acked and not seen.
	missing int64
}

func newLedger(run uint64, recipients int) *ledger {
	return &ledger{run: run, first: make([]int32, 1, recipients+1), uids: make(map[uint64]int32)}
}

// add enters a recipient, whose number follows that of the last one.
func (l *ledger) add(life *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	replies := uint8(0)
	for _, u := range life.updates {
		if u.kind == reply {
			replies++
		}
		l.entries = append(l.entries, entry{kind: u.kind, message: replies})
	}
	if replies > 0 {
		l.entries = append(l.entries, entry{kind: birth})
	}
	l.first = append(l.first, int32(len(l.entries)))
}

// each calls f with the entries of a webhook's updates, and of the contacts that
// they may give birth to.
func (l *ledger) each(w *webhook, f func(int32, *entry)) {
	for _, it := range w.items {
		from, to := l.first[it.recipient], l.first[it.recipient+1]
		f(from+int32(it.update), &l.entries[from+int32(it.update)])
		if it.kind == reply {
			f(to-1, &l.entries[to-1])
		}
	}
}

// posting tells that a webhook is about to be posted.
func (l *ledger) posting(w *webhook, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each(w, func(_ int32, e *entry) {
		if e.sent == 0 {
			e.due, e.sent, e.bulk = w.due, now, w.bulk
		}
	})
}

// ack tells that a webhook was answered 200.
func (l *ledger) ack(w *webhook, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each(w, func(i int32, e *entry) {
		if e.acked != 0 {
			return
		}
		e.acked = now
		l.expected++
		if e.seen == 0 {
			l.missing++
			l.unseen = append(l.unseen, i)
		}
	})
}

// connected tells that the subscription has another connection.
func (l *ledger) connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session++
}

// reconnected is whether it had more than one.
func (l *ledger) reconnected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session > 1
}

// recount tells that all events are read once more, over one connection.
func (l *ledger) recount() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session++
	l.recounting = true
}

// gone is how many of the events that came did not when all was read once more.
func (l *ledger) gone() (events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.entries {
		if e := &l.entries[i]; e.seen != 0 && !e.recounted {
			events++
		}
	}
	return events
}

// Event is what a subscription gives.
type Event struct {
	UID     uuid.UUID
	Type    string
	Payload []byte
}

// see enters an event. It gives how long after its webhook was due it came; own
// is false for an event that is not of this campaign, or came before.
func (l *ledger) see(e Event, now time.Duration) (latency time.Duration, own bool) {
	var p struct {
		Wamid  string `json:"wamid"`
		Status string `json:"status"`
		WaID   string `json:"wa_id"`
		UserID string `json:"user_id"`
	}
	if json.Unmarshal(e.Payload, &p) != nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Type {
	case event.MessageStatus:
		number, _, ok := parseWamid(l.run, p.Wamid)
		k := slices.Index(statuses[:], p.Status)
		return l.seeEntry(number, ok && k >= 0, kind(k), 0, e.UID, now)
	case event.MessageNew:
		number, message, ok := parseWamid(l.run, p.Wamid)
		return l.seeEntry(number, ok, reply, uint8(message), e.UID, now)
	case event.ContactNew:
		number, ok := customerOf(l.run, p.WaID, p.UserID)
		return l.seeEntry(number, ok, birth, 0, e.UID, now)
	}
	return 0, false
}

func (l *ledger) seeEntry(number int, ok bool, k kind, message uint8, uid uuid.UUID, now time.Duration) (time.Duration, bool) {
	if !ok || number+1 >= len(l.first) {
		return 0, false
	}
	from, to := l.first[number], l.first[number+1]
	for i := from; i < to; i++ {
		e := &l.entries[i]
		if e.kind != k || k == reply && e.message != message {
			continue
		}
		if e.seen != 0 {
			l.again(e, uid)
			return 0, false
		}
		if l.recounting { // it is kept, and yet the subscriber did not get it
			return 0, false
		}
		l.fresh(i, l.entries[from:to], uid, now)
		return now - e.due, true
	}
	return 0, false
}

// again counts what came before. It may come again over another connection, for a
// reader resumes a little before its place, but not twice over one. What came twice
// over two is told from that when all is read once more.
func (l *ledger) again(e *entry, uid uuid.UUID) {
	once := e.session != l.session
	if l.recounting {
		once = !e.recounted
		e.recounted = true
	}
	if (short(uid) != e.uid || !once) && !e.doubled {
		e.doubled = true
		l.duplicated++
	}
	e.session = l.session
}

func (l *ledger) fresh(i int32, siblings []entry, uid uuid.UUID, now time.Duration) {
	e := &l.entries[i]
	e.seen, e.session, e.uid = max(now, 1), l.session, short(uid)
	l.seen++
	if e.acked != 0 {
		l.missing--
	}
	// Whoever tells events by their uid drops the second of two that share one.
	if other, taken := l.uids[e.uid]; taken && other != i {
		l.duplicated++
	}
	l.uids[e.uid] = i
	for j := range siblings {
		if other := &siblings[j]; after(other, e) && other.seen != 0 {
			l.outOfOrder++
		}
	}
}

// after is whether a must be seen after b: both are of one message's statuses or
// one customer's messages, in one lane, and a was first sent when b was acked.
func after(a, b *entry) bool {
	return a != b && a.kind != birth && b.kind != birth && a.kind.isStatus() == b.kind.isStatus() &&
		a.bulk == b.bulk && b.acked != 0 && a.sent > b.acked
}

func short(uid uuid.UUID) uint64 {
	var n uint64
	for _, b := range uid[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}

// backlog is how many events were acked and not seen, and since when the oldest
// of them.
func (l *ledger) backlog(now time.Duration) (events int64, lag time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.unseen) && l.entries[l.unseen[n]].seen != 0 {
		n++
	}
	if l.unseen = l.unseen[n:]; len(l.unseen) > 0 {
		lag = max(0, now-l.entries[l.unseen[0]].acked)
	}
	return l.missing, lag
}

// tally gives what was expected and what came of it.
func (l *ledger) tally(r *Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.EventsExpected, r.EventsSeen = l.expected, l.seen
	r.Lost, r.Duplicated, r.OutOfOrder = l.missing, l.duplicated, l.outOfOrder
}
