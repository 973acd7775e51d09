package stream

import (
	"context"
	"fmt"
	"slices"

	"spillway/dispatch/store"
)

// merge reads the partitions of a feed as one, in the order of their places, from
// a cursor up to a target. It holds a bounded piece of each partition.
type merge struct {
	feed    Feed
	cursor  *cursor
	target  []store.Place
	sources []source
	// limit and maxBytes bound one read of one partition.
	limit, maxBytes int
}

// source is what is read and not yet handed out of one partition.
type source struct {
	partition int
	entries   []store.Entry
	after     store.Place
	exhausted bool
}

const (
	// readEntries is the most entries of one read, minReadBytes the least that its
	// bytes are bounded to.
	readEntries  = 256
	minReadBytes = 4 << 10
)

// newMerge starts a merge. An error is errGap or errMark where the feed does not
// hold what the cursor still needs, else the feed failed. It lowers the target
// where a partition ends before it: the hub has yet to find out that it went back.
func newMerge(ctx context.Context, feed Feed, c *cursor, target []store.Place, memory int) (*merge, error) {
	bounds, limit, err := feed.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("read bounds: %w", err)
	}
	if err := c.check(bounds, limit); err != nil {
		return nil, err
	}
	m := &merge{feed: feed, cursor: c, target: target, limit: readEntries}
	for p := range target {
		after := c.after(p)
		target[p] = earlier(target[p], bounds[p].Last)
		if target[p].Compare(after) > 0 {
			m.sources = append(m.sources, source{partition: p, after: after})
		}
	}
	m.maxBytes = max(memory/max(len(m.sources), 1), minReadBytes)
	return m, nil
}

// next gives the entry that stands first; nil at the end.
func (m *merge) next(ctx context.Context) (partition int, entry *store.Entry, err error) {
	for slices.ContainsFunc(m.sources, source.isDry) {
		if err := m.refill(ctx); err != nil {
			return 0, nil, err
		}
	}
	var first *source
	for i := range m.sources {
		s := &m.sources[i]
		if len(s.entries) == 0 {
			continue
		}
		if first == nil || s.entries[0].Place.Compare(first.entries[0].Place) < 0 {
			first = s
		}
	}
	if first == nil {
		return 0, nil, nil
	}
	entry, first.entries = &first.entries[0], first.entries[1:]
	return first.partition, entry, nil
}

// isDry is true where the next entry is not known.
func (s source) isDry() bool { return !s.exhausted && len(s.entries) == 0 }

// refill reads on where a partition runs dry, and looks once whether trimming was
// faster.
func (m *merge) refill(ctx context.Context) error {
	began := make(map[int]store.Place)
	for i := range m.sources {
		s := &m.sources[i]
		if s.exhausted || len(s.entries) > m.limit/4 {
			continue
		}
		began[s.partition] = s.after
		if err := m.read(ctx, s); err != nil {
			return err
		}
	}
	bounds, _, err := m.feed.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds: %w", err)
	}
	for i := range m.sources {
		s := &m.sources[i]
		after, read := began[s.partition]
		trimmed := bounds[s.partition].Trimmed
		if !read || trimmed.Compare(after) <= 0 {
			continue
		}
		if err := m.cursor.trimmed(s.partition, after, trimmed); err != nil {
			return err
		}
		// It has not begun: it begins now after what is gone. Before that there may
		// be a gap in what was read.
		n := 0
		for n < len(s.entries) && s.entries[n].Place.Compare(trimmed) <= 0 {
			n++
		}
		s.entries, s.after = s.entries[n:], later(s.after, trimmed)
	}
	return nil
}

func (m *merge) read(ctx context.Context, s *source) error {
	entries, err := m.feed.Read(ctx, s.partition, s.after, m.limit, m.maxBytes)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	bytes := 0
	for i := range entries {
		bytes += len(entries[i].Payload)
	}
	s.exhausted = len(entries) < m.limit && bytes < m.maxBytes
	for n := len(entries); n > 0 && entries[n-1].Place.Compare(m.target[s.partition]) > 0; n = len(entries) {
		entries, s.exhausted = entries[:n-1], true
	}
	if n := len(entries); n > 0 {
		s.after = entries[n-1].Place
	}
	s.entries = append(slices.Clip(s.entries), entries...)
	return nil
}
