package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"spillway/dispatch/meta"
	"spillway/wal"
)

// Retry decodes a dead letter's record once more. Where its item can be decoded
// now, by a newer version, the record's events are applied as a replay applies
// them and the letter is removed; ErrStillDead where it cannot, wal.ErrNotFound
// where there is no such letter. ErrOld as in Replay. Retries take turns.
func (r *Replayer) Retry(ctx context.Context, lane wal.Lane, seq uint64, item int, force bool) (ReplayProgress, error) {
	r.retrying.Lock()
	defer r.retrying.Unlock()
	p := ReplayProgress{Seq: seq, From: seq, To: seq, Records: 1}
	letter, err := r.log.DeadLetter(lane, seq, item)
	if err != nil {
		return p, err
	}
	if r.old(letter.Received) && !force {
		return p, fmt.Errorf("%w: %s record %d was received more than %s ago; use force, which marks its events as replayed",
			ErrOld, letter.Lane, letter.Seq, r.cfg.Window)
	}
	siblings, err := r.siblings(letter)
	if err != nil {
		return p, err
	}
	signature, body, err := BodyOf(ctx, r.log, letter)
	if err != nil {
		return p, err
	}
	if len(body) == 0 {
		return p, fmt.Errorf("%s record %d: neither the log nor a dead letter has its body any more", letter.Lane, letter.Seq)
	}
	events, dead := meta.Decode(letter.Received, body)
	p.Dead = int64(len(dead))
	for _, d := range dead {
		if d.Path == letter.Path || d.Path == "" {
			return p, fmt.Errorf("%w: %s", ErrStillDead, d.Reason)
		}
	}
	if err := r.apply(ctx, r.mode(letter.Received), events, &p); err != nil {
		return p, err
	}
	// The body is kept once a record: the letters that stay must not lose it.
	if len(letter.Body) > 0 && len(siblings) > 0 {
		heir := siblings[0]
		heir.Signature, heir.Body = signature, body
		if _, err := r.log.Bury(heir); err != nil {
			return p, err
		}
	}
	return p, r.log.Unbury(letter)
}

// siblings are the other dead letters of the letter's record.
func (r *Replayer) siblings(letter wal.DeadLetter) ([]wal.DeadLetter, error) {
	letters, err := lettersOf(r.log, letter)
	return slices.DeleteFunc(letters, func(d wal.DeadLetter) bool { return d.Item == letter.Item }), err
}

// lettersOf gives all dead letters of a letter's record. A letter whose record
// was received at another time is a stranger's: the log has lost its tail, and
// given the sequence again.
func lettersOf(log *wal.Log, letter wal.DeadLetter) (found []wal.DeadLetter, err error) {
	err = log.DeadOf(letter.Lane, letter.Seq, func(d wal.DeadLetter) error {
		if d.Received.Equal(letter.Received) {
			d.Signature, d.Body = bytes.Clone(d.Signature), bytes.Clone(d.Body)
			found = append(found, d)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return found, nil
}

// BodyOf finds the signature and the body of a dead letter's record: one of the
// record's letters has them, and so has the log while it keeps the record. Both
// are nil where neither has.
func BodyOf(ctx context.Context, log *wal.Log, letter wal.DeadLetter) (signature, body []byte, err error) {
	letters, err := lettersOf(log, letter)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range letters {
		if len(d.Body) > 0 {
			return d.Signature, d.Body, nil
		}
	}
	if letter.Seq > log.Head(letter.Lane) { // the log has lost its tail
		return nil, nil, nil
	}
	reader := log.Reader(letter.Lane, letter.Seq)
	defer reader.Close()
	records, err := reader.Next(ctx, 1, 1)
	switch {
	case errors.Is(err, wal.ErrTrimmed):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read the dead letter's record: %w", err)
	case !records[0].Received.Equal(letter.Received):
		return nil, nil, nil
	}
	return records[0].Signature, records[0].Body, nil
}
