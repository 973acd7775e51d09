package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store"
)

// fieldOf is the field of a source in a partition's cursors.
func fieldOf(s store.Source) string { return s.Node + ":" + s.Lane }

// parseCursor reads what Cursor.String wrote; empty for none.
func parseCursor(text string) (store.Cursor, error) {
	if text == "" {
		return store.Cursor{}, nil
	}
	seq, hash, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return store.Cursor{}, fmt.Errorf("read cursor: %q is none", text)
	}
	h, err := strconv.ParseUint(hash, 16, 64)
	if err != nil {
		return store.Cursor{}, fmt.Errorf("read cursor: %q is none", text)
	}
	return store.Cursor{Seq: n, Hash: h}, nil
}

// textOf is a cursor as it is stored, empty for none.
func textOf(c store.Cursor) string {
	if c.IsZero() {
		return ""
	}
	return c.String()
}

// otherCursor reads the cursor that is stored in place of the batch's From. Where
// it is lower the store lost something, and maybe the expiries of sets.
func (s *Store) otherCursor(b *store.Batch, text string) (store.Cursor, error) {
	stored, err := parseCursor(text)
	if err == nil && stored.Seq < b.From.Seq {
		s.partitions[b.Partition].days.disarm()
	}
	return stored, err
}

// Cursors gives the cursors of a source by partition. Where the nodes of some
// partitions do not answer it returns the others with a *store.PartitionsError.
func (s *Store) Cursors(ctx context.Context, source store.Source) (_ []store.Cursor, err error) {
	done, err := s.begin(ctx, opCursors)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	field := fieldOf(source)
	cmds, all := make([]*goredis.StringCmd, len(s.partitions)), make([]keyed, len(s.partitions))
	for i, p := range s.partitions {
		cmds[i] = goredis.NewStringCmd(ctx, "hget", &p.keys.cursor, field)
		all[i] = keyed{p.keys.cursor, cmds[i]}
	}
	s.process(ctx, all)
	cursors := make([]store.Cursor, len(cmds))
	missing := make(map[int]error)
	for i, cmd := range cmds {
		text, err := cmd.Result()
		switch {
		case errors.Is(err, goredis.Nil):
		case err != nil:
			missing[i] = err
		default:
			if cursors[i], err = parseCursor(text); err != nil {
				return nil, err
			}
		}
	}
	if len(missing) == 0 && !slices.ContainsFunc(cursors, func(c store.Cursor) bool { return !c.IsZero() }) {
		s.verified.Store(false) // it may have been emptied, and the layout with it
	}
	return cursors, store.MissingPartitions(missing, len(cursors))
}
