package embedded

import "time"

// adoptWindow writes the window down in a new store, and compares that of an old
// one. It decides under which day an event is remembered, see eventDay, so that
// with another one redeliveries are not recognised that were older than the
// shorter of the two. Whoever opens the store beside its receiver, which NoExpiry
// tells, goes by the receiver's.
func (s *Store) adoptWindow() error {
	kept, err := s.readNumber(windowKey())
	was := time.Duration(kept)
	switch {
	case err != nil || was == s.cfg.Window:
		return err
	case was > 0 && s.cfg.NoExpiry:
		s.cfg.Window = was
		return nil
	case was > 0:
		s.logger.Warn("dedupe.window has changed: what was older than the shorter of the two when it came is taken for new where it comes again",
			"was", was.String(), "is", s.cfg.Window.String())
	}
	return s.setDurably(windowKey(), idValue(uint64(s.cfg.Window)))
}

// Window is how long a redelivery is recognised: Config's, or with NoExpiry that
// of the receiver whose store it is.
func (s *Store) Window() time.Duration { return s.cfg.Window }
