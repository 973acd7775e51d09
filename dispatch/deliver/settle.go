package deliver

import (
	"slices"
	"time"

	"github.com/goccy/go-json"
	"github.com/zeebo/xxh3"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// settle tells the store what is over, where that is much, or has waited for
// settleEvery, or force is set.
func (s *share) settle(now time.Time, force bool) error {
	if len(s.dead) < settleItems {
		s.expire(now)
	}
	n := s.window.settled()
	updates := len(s.retried) + len(s.finished) + len(s.dead)
	if n+updates == 0 {
		s.unsettled = time.Time{}
		return nil
	}
	if !force && n+updates < settleItems && now.Sub(s.unsettled) < settleEvery {
		return nil
	}
	settlement := s.settlement(n, now)
	s.settlings.Add(1)
	defer s.settlings.Add(1)
	if err := s.d.store.Settle(s.ctx, settlement); err != nil {
		return s.failed(now, err)
	}
	s.failures = 0
	s.settled(n, &settlement)
	return nil
}

// settlement is what became of the first n events of the window and of parked ones.
func (s *share) settlement(n int, now time.Time) store.Settlement {
	out := store.Settlement{
		Share: s.lease.Share, Token: s.lease.Token, From: s.cursor, To: s.cursor,
		Retry: s.retried, Done: s.finished, Dead: slices.Clone(s.dead),
	}
	for _, i := range s.window.items[:n] {
		out.To = i.entry.Place
		if i.first.IsZero() {
			i.first = now
		}
		if i.due.IsZero() {
			i.due = now
		}
		p := store.Parked{Place: i.entry.Place, Contact: i.contact, First: i.first, Due: i.due, Attempts: i.attempts}
		switch i.state {
		case toPark:
			out.Park = append(out.Park, store.ParkedEntry{Parked: p, Entry: i.entry})
		case toBury:
			out.Dead = append(out.Dead, store.Dead{Share: s.lease.Share, Parked: p, Entry: i.entry, Reason: i.reason, Died: now})
		}
	}
	return out
}

// settled takes over what the store was told.
func (s *share) settled(n int, done *store.Settlement) {
	s.cursor = done.To
	s.stored.Store(&done.To)
	s.window.drop(n)
	for i := range done.Park {
		s.parked.add(done.Park[i].Parked)
	}
	s.retried, s.finished, s.dead = nil, nil, nil
	s.unsettled = time.Time{}
	s.endpoint.metrics.dead.Add(float64(len(done.Dead)))
	s.endpoint.metrics.parked.Add(float64(len(done.Park)))
	s.gauge()
}

// expire buries what waits beyond the share's part of Endpoint.MaxWaiting, and what
// was tried for RetryFor, also where the endpoint is let alone: but not what was never
// tried, which waits for its end.
func (s *share) expire(now time.Time) {
	most := max(1, s.endpoint.cfg.MaxWaiting/s.d.store.Partitions())
	if over := s.parked.count - most; over > 0 {
		s.buryEach(now, "more than max_waiting deliveries wait", over, s.parked.takeOldest)
	}
	if oldest, ok := s.parked.oldest(); ok && now.Sub(time.UnixMilli(oldest)) >= s.endpoint.cfg.RetryFor {
		s.buryEach(now, "not delivered within retry_for", settleItems, func() (int32, bool) {
			return s.parked.takeTried(now.Add(-s.endpoint.cfg.RetryFor))
		})
	}
}

// buryEach buries what take gives, some at most.
func (s *share) buryEach(now time.Time, reason string, most int, take func() (int32, bool)) {
	var taken []int32
	var places []store.Place
	for len(taken) < min(most, settleItems) {
		index, ok := take()
		if !ok {
			break
		}
		taken, places = append(taken, index), append(places, s.parked.get(index).Place)
	}
	if len(taken) == 0 {
		return
	}
	entries, err := s.d.store.Entries(s.ctx, s.lease.Share, places)
	for i, index := range taken {
		switch {
		case err != nil:
			p := s.parked.get(index)
			s.parked.retry(index, p.Due, p.Attempts)
		case entries[i].Place == (store.Place{}):
			s.finished = append(s.finished, places[i])
			s.parked.remove(index)
		default:
			s.bury(index, entries[i], reason, now)
		}
	}
	if err != nil {
		_ = s.failed(now, err)
	}
	s.touch()
}

// contactOf is a hash of the contact that an event is about, 0 for none.
func contactOf(entry *store.Entry) uint64 {
	var about struct {
		ID        string `json:"id"`
		ContactID string `json:"contact_id"`
	}
	if json.Unmarshal(entry.Payload, &about) != nil {
		return 0
	}
	id := about.ContactID
	if entry.Type == event.ContactNew || entry.Type == event.ContactUpdated {
		id = about.ID
	}
	if id == "" {
		return 0
	}
	return max(1, xxh3.HashString(id))
}
