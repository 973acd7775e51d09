package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"spillway/dispatch/meta"
	"spillway/wal"
)

// Retry decodes a dead letter's record once more. Where its item can be decoded
// now, by a newer version, the record's events are applied as a replay applies
// them and the letter is removed; what within the item still cannot be decoded
// becomes letters of its own. ErrStillDead where the item itself cannot,
// wal.ErrNotFound where there is no such letter. ErrOld as in Replay. Retries
// take turns.
func (r *Replayer) Retry(ctx context.Context, lane wal.Lane, seq uint64, item int, force bool) (ReplayProgress, error) {
	r.retrying.Lock()
	defer r.retrying.Unlock()
	p := ReplayProgress{Seq: seq, From: seq, To: seq, Records: 1}
	letter, err := r.log.DeadLetter(lane, seq, item)
	if err != nil {
		return p, err
	}
	limit := r.ageLimit(force)
	if letter.Received.Before(limit.oldest) && !force {
		return p, fmt.Errorf("%w: %s record %d was received more than %s ago; use force, which marks its events as replayed",
			ErrOld, letter.Lane, letter.Seq, r.cfg.Window)
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
		if within(letter.Path, d.Path) {
			return p, fmt.Errorf("%w: %s", ErrStillDead, d.Reason)
		}
	}
	if err := limit.refuse(lane, seq, events); err != nil {
		return p, err
	}
	if err := r.apply(ctx, limit, events, &p); err != nil {
		return p, err
	}
	letter.Signature, letter.Body = signature, body
	if err := r.succeed(letter, dead); err != nil {
		return p, err
	}
	return p, r.log.Unbury(letter)
}

// within reports whether the item at path is the one at other or a part of it.
func within(path, other string) bool {
	rest, below := strings.CutPrefix(path, other)
	return below && (rest == "" || other == "" || rest[0] == '.' || rest[0] == '[')
}

// succeed buries what of a letter's record is dead and in no letter that stays
// when this one goes. One of those that stay has the body, which is kept once a
// record.
func (r *Replayer) succeed(letter wal.DeadLetter, dead []meta.Dead) error {
	letters, free, err := lettersOf(r.log, letter)
	if err != nil {
		return err
	}
	stay := slices.DeleteFunc(letters, func(d wal.DeadLetter) bool { return d.Item == letter.Item })
	var heirs []wal.DeadLetter
	for _, d := range dead {
		if slices.ContainsFunc(stay, func(s wal.DeadLetter) bool { return s.Path == d.Path }) {
			continue
		}
		heirs = append(heirs, wal.DeadLetter{
			Lane: letter.Lane, Seq: letter.Seq, Item: free + len(heirs), Received: letter.Received,
			App: letter.App, Path: d.Path, Reason: d.Reason,
		})
	}
	if !slices.ContainsFunc(stay, func(s wal.DeadLetter) bool { return len(s.Body) > 0 }) {
		heirs = append(stay[:min(len(stay), 1)], heirs...)
		if len(heirs) > 0 {
			heirs[0].Signature, heirs[0].Body = letter.Signature, letter.Body
		}
	}
	_, err = r.log.Bury(heirs...)
	return err
}

// lettersOf gives all dead letters of a letter's record, and the first number
// that is free for another item. A letter whose record was received at another
// time is a stranger's: the log has lost its tail, and given the sequence again.
func lettersOf(log *wal.Log, letter wal.DeadLetter) (found []wal.DeadLetter, free int, err error) {
	err = log.DeadOf(letter.Lane, letter.Seq, func(d wal.DeadLetter) error {
		free = d.Item + 1
		if d.Received.Equal(letter.Received) {
			d.Signature, d.Body = bytes.Clone(d.Signature), bytes.Clone(d.Body)
			found = append(found, d)
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read dead letters: %w", err)
	}
	return found, free, nil
}

// BodyOf finds the signature and the body of a dead letter's record: one of the
// record's letters has them, and so has the log while it keeps the record. Both
// are nil where neither has.
func BodyOf(ctx context.Context, log *wal.Log, letter wal.DeadLetter) (signature, body []byte, err error) {
	letters, _, err := lettersOf(log, letter)
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
