package embedded

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"spillway/dispatch/store"
)

const (
	// seqBits is how much of an id is the Seq of its Place; the rest is the Ms.
	seqBits = 20
	seqMask = 1<<seqBits - 1

	// reserveAhead is how far beyond the clock ids are reserved, and reserveLow
	// how much of that is left when the next are reserved ahead of need.
	reserveAhead = 60 * time.Second
	reserveLow   = 30 * time.Second
)

func placeOf(id uint64) store.Place {
	return store.Place{Ms: id >> seqBits, Seq: id & seqMask}
}

// idOf is the last id that does not stand after the place, so that a place
// between two ids, or beyond all, is compared rightly.
func idOf(p store.Place) uint64 {
	if p.Ms >= 1<<(64-seqBits) {
		return 1<<64 - 1
	}
	return p.Ms<<seqBits | min(p.Seq, seqMask)
}

// places gives out the ids of all partitions from one counter, so that they are
// in order across partitions, and knows up to which of them all is committed.
//
//	    committed        horizon  in flight        last      reserved
//	├────────────────────────┤├──────────────────────┤··········┤
//
// No id is given out beyond reserved, which is on disk, synced, before. A store
// that starts goes on above it: an id that was shown and lost never returns.
type places struct {
	// reserve puts the highest reserved id on disk, synced.
	reserve func(id uint64) error
	now     func() time.Time

	// extending serialises extensions; taken before mu.
	extending sync.Mutex

	mu       sync.Mutex
	last     uint64 // given out
	reserved uint64
	inFlight []uint64 // first id of each grant not yet settled, ascending
	held     []uint64 // by partition: the last id committed
	wake     chan struct{}
	blocks   blocks
}

// grant is a run of ids given to one batch of one partition.
type grant struct {
	partition   int
	first, last uint64
	// block and tally are the counts to be written with the batch.
	block uint64
	tally tally

	count, bytes int64
}

// take gives out n consecutive ids, n at least 1, for entries of bytes in all.
// Each grant must be settled, committed or not.
func (p *places) take(partition int, n, bytes int64) (grant, error) {
	for {
		p.mu.Lock()
		first := max(p.last+1, p.clock())
		last := first + uint64(n) - 1
		if last <= p.reserved {
			p.last = last
			p.inFlight = append(p.inFlight, first)
			g := grant{partition: partition, first: first, last: last, count: n, bytes: bytes}
			g.block, g.tally = p.blocks.add(partition, first, last, n, bytes)
			p.mu.Unlock()
			return g, nil
		}
		p.mu.Unlock()
		if err := p.extend(last); err != nil {
			return grant{}, err
		}
	}
}

// settle ends a grant. Its entries are readable now, or, where the batch was not
// committed, its ids stay unused for good. It reports whether to trim.
func (p *places) settle(g grant, committed bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.inFlight, g.first)
	p.inFlight = slices.Delete(p.inFlight, i, i+1)
	if committed {
		p.held[g.partition] = g.last
	} else {
		p.blocks.remove(g.block, g.partition, g.count, g.bytes)
	}
	if p.wake != nil {
		close(p.wake)
		p.wake = nil
	}
	return p.blocks.tooMuch()
}

// view copies the last committed id of each partition into held. Entries up to
// horizon are all committed; wake is closed when there is news after this call.
func (p *places) view(held []uint64) (horizon uint64, wake <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	copy(held, p.held)
	if p.wake == nil {
		p.wake = make(chan struct{})
	}
	return p.horizonLocked(), p.wake
}

func (p *places) horizonLocked() uint64 {
	if len(p.inFlight) > 0 {
		return p.inFlight[0] - 1
	}
	return p.last
}

// extend reserves more ids, at least up to need.
func (p *places) extend(need uint64) error {
	p.extending.Lock()
	defer p.extending.Unlock()
	p.mu.Lock()
	enough := need <= p.reserved
	target := p.target(need)
	p.mu.Unlock()
	if enough {
		return nil
	}
	if err := p.reserve(target); err != nil {
		return fmt.Errorf("reserve ids: %w", err)
	}
	p.mu.Lock()
	p.reserved = max(p.reserved, target)
	p.mu.Unlock()
	return nil
}

// extendEarly reserves more ids where little is left of those reserved.
func (p *places) extendEarly() error {
	p.mu.Lock()
	low := max(p.last, p.clock()) + uint64(reserveLow.Milliseconds())<<seqBits
	ahead := p.last > p.clock()
	p.mu.Unlock()
	if ahead {
		return nil // a clock that is behind: one second holds ids for hours
	}
	return p.extend(low)
}

// target is where to reserve to: a minute beyond the clock, or, where the ids
// are ahead of it, a second beyond them, so that restarts add up to little.
func (p *places) target(need uint64) uint64 {
	ahead := uint64(reserveAhead.Milliseconds()) << seqBits
	return max(p.clock()+ahead, need+1000<<seqBits)
}

// clock is the lowest id of the present millisecond.
func (p *places) clock() uint64 {
	return uint64(max(p.now().UnixMilli(), 0)) << seqBits
}

// size is how many entries the streams hold, and their bytes.
func (p *places) size() (count, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocks.count, p.blocks.bytes
}

// lastHeld is the last id committed in a partition.
func (p *places) lastHeld(partition int) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[partition]
}

// holding is blocks.holding.
func (p *places) holding(partition int, after, upTo uint64) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocks.holding(partition, after, upTo)
}

// cut drops from the counts what is too much. What is to be deleted then are the
// cuts, and the block counts from one block up to the one that is kept.
func (p *places) cut() (cuts []cut, from, keep uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocks.cut(p.horizonLocked())
}

// uncount takes deleted entries of a partition off the counts, and returns the
// tallies that changed, by block.
func (p *places) uncount(partition int, gone []doomed) map[uint64]tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := make(map[uint64]tally)
	for _, d := range gone {
		i, ok := p.blocks.find(d.id)
		if !ok {
			continue
		}
		first := p.blocks.list[i].first
		if t, ok := p.blocks.remove(first, partition, 1, d.bytes); ok {
			changed[first] = t
		}
	}
	return changed
}
