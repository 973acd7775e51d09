package embedded

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"
)

const (
	reserveEvery  = 10 * time.Second
	expireEvery   = time.Hour
	contactsEvery = 24 * time.Hour
	// expireBatch is how many contacts are looked at under one lock.
	expireBatch = 256
)

// upkeep is the store's one goroutine: it reserves ids ahead of need, trims the
// streams, and expires what was seen and who was not.
func (s *Store) upkeep() {
	defer close(s.upkept)
	reserve := time.NewTicker(reserveEvery)
	defer reserve.Stop()
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	contacts := time.NewTicker(contactsEvery)
	defer contacts.Stop()
	s.report("expire seen", s.expireSeen())
	s.report("expire contacts", s.expireContacts())
	s.report("trim streams", s.trim())
	for {
		select {
		case <-s.closing:
			return
		case <-s.fatal:
			return
		case <-s.kick:
			s.report("trim streams", s.trim())
		case <-reserve.C:
			s.report("reserve ids", s.places.extendEarly())
		case <-expire.C:
			s.report("expire seen", s.expireSeen())
		case <-contacts.C:
			s.report("expire contacts", s.expireContacts())
		}
	}
}

func (s *Store) kickUpkeep() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// report tells of upkeep that failed; it is tried again at the next turn.
func (s *Store) report(what string, err error) {
	if err != nil {
		s.metrics.Failed(opUpkeep)
		s.logger.Error("upkeep of the store failed, the next turn tries again", "task", what, "error", err)
	}
}

// trim drops the oldest events of all partitions where the streams hold too
// much. What is said to be gone goes first, what is gone follows: Bounds never
// claim an event that is not there.
func (s *Store) trim() error {
	if s.cfg.NoExpiry {
		return nil
	}
	s.trimming.Lock()
	defer s.trimming.Unlock()
	cuts, from, keep := s.places.cut()
	if len(cuts) == 0 && from == keep {
		return nil
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for _, c := range cuts {
		if err := batch.Set(partitionKey(tagTrimmed, c.partition), idValue(c.to), nil); err != nil {
			return fmt.Errorf("write trim mark: %w", err)
		}
	}
	if err := batch.DeleteRange(eventKey(from, 0, 0), eventKey(keep, 0, 0), nil); err != nil {
		return fmt.Errorf("trim events: %w", err)
	}
	if err := batch.DeleteRange(blockKey(from, 0), blockKey(keep, 0), nil); err != nil {
		return fmt.Errorf("trim block counts: %w", err)
	}
	return s.commitBatch(batch)
}

// expireSeen forgets the days that no redelivery can fall on any more.
func (s *Store) expireSeen() error {
	if s.cfg.NoExpiry {
		return nil
	}
	first := firstKeptDay(s.cfg.Now(), s.cfg.Window)
	days, err := loadDays(s.db)
	if err != nil || len(days) == 0 || days[0] >= first {
		return err
	}
	for _, p := range s.partitions {
		p.mu.Lock()
		p.seen.expire(first)
		p.mu.Unlock()
	}
	if err := s.db.DeleteRange(seenDayKey(days[0]), seenDayKey(first), pebble.NoSync); err != nil {
		return fmt.Errorf("delete seen: %w", err)
	}
	return nil
}

// expireContacts removes the contacts that no message spoke of for ContactTTL.
func (s *Store) expireContacts() error {
	if s.cfg.NoExpiry || s.cfg.ContactTTL == 0 {
		return nil
	}
	before := s.cfg.Now().Add(-s.cfg.ContactTTL)
	var old []uuid.UUID
	err := s.scan(tagRecord, func(k, v []byte) error {
		if len(k) != 17 {
			return fmt.Errorf("read contacts: %w", errMalformed)
		}
		r, err := parseRecord(uuid.UUID(k[1:]), v)
		if err != nil || !r.Touched.Before(before) {
			return err
		}
		if old = append(old, r.ID); len(old) < expireBatch {
			return nil
		}
		err = s.removeContacts(old, before)
		old = old[:0]
		return err
	})
	if err != nil {
		return err
	}
	return s.removeContacts(old, before)
}

// removeContacts removes those that still were not touched.
func (s *Store) removeContacts(ids []uuid.UUID, before time.Time) error {
	s.contacts.Lock()
	defer s.contacts.Unlock()
	b := newBook(s.db, s.cfg.Now)
	for _, id := range ids {
		r, err := b.Record(id)
		if err != nil {
			return err
		}
		if r != nil && r.Touched.Before(before) {
			if err := b.Remove(r); err != nil {
				return err
			}
		}
	}
	return s.commitBook(b)
}
