package embedded

import "slices"

// blockParts is how many blocks what is retained is divided into, and
// lowWaterPart the part of it that is dropped at a time beyond what is too much:
// dropping little by little would leave the disk full of tombstones.
const (
	blockParts   = 128
	lowWaterPart = 32
)

// tally counts the entries of one partition in one block.
type tally struct {
	count, bytes int64
	last         uint64 // the last id, committed or not
}

// block is a run of ids and what is counted in it, by partition.
type block struct {
	first        uint64
	count, bytes int64
	parts        []tally
}

// blocks counts what the streams hold, by runs of ids: so that what is too much
// can be dropped from the old end of all partitions at once, and a store that is
// opened again knows what it holds without reading it.
//
// Each batch lies in one block and writes its partition's tally with it. The
// methods are called with the mutex of places held.
type blocks struct {
	retain, retainBytes int64
	partitions          int

	list         []block // ascending; the last one is filled
	count, bytes int64
	trimmed      []uint64 // by partition: the last id that was dropped
}

// add counts a batch; it starts a block where the last one is full.
func (b *blocks) add(partition int, first, last uint64, n, bytes int64) (uint64, tally) {
	if len(b.list) == 0 || b.full(&b.list[len(b.list)-1]) {
		b.list = append(b.list, block{first: first, parts: make([]tally, b.partitions)})
	}
	k := &b.list[len(b.list)-1]
	k.count, k.bytes = k.count+n, k.bytes+bytes
	b.count, b.bytes = b.count+n, b.bytes+bytes
	t := &k.parts[partition]
	t.count, t.bytes, t.last = t.count+n, t.bytes+bytes, last
	return k.first, *t
}

func (b *blocks) full(k *block) bool {
	return k.count >= max(b.retain/blockParts, 1) || k.bytes >= max(b.retainBytes/blockParts, 1)
}

// remove takes back what was counted, after a failed commit or a deletion. It
// returns the tally left, false where the block is gone.
func (b *blocks) remove(first uint64, partition int, n, bytes int64) (tally, bool) {
	i, ok := b.find(first)
	if !ok || b.list[i].first != first {
		return tally{}, false
	}
	k := &b.list[i]
	k.count, k.bytes = k.count-n, k.bytes-bytes
	b.count, b.bytes = b.count-n, b.bytes-bytes
	t := &k.parts[partition]
	t.count, t.bytes = t.count-n, t.bytes-bytes
	return *t, true
}

// find gives the block an id lies in.
func (b *blocks) find(id uint64) (int, bool) {
	i, exact := slices.BinarySearchFunc(b.list, id, func(k block, id uint64) int {
		switch {
		case k.first < id:
			return -1
		case k.first > id:
			return 1
		}
		return 0
	})
	if exact {
		return i, true
	}
	return i - 1, i > 0
}

// tooMuch reports whether there is something to drop.
func (b *blocks) tooMuch() bool {
	return len(b.list) > 1 && (b.count > b.retain || b.bytes > b.retainBytes)
}

// holding gives the blocks that may hold entries of a partition after one id and
// up to another, by their first ids.
func (b *blocks) holding(partition int, after, upTo uint64) (firsts []uint64) {
	i, ok := b.find(after)
	if !ok {
		i = 0
	}
	for ; i < len(b.list) && b.list[i].first <= upTo; i++ {
		if t := b.list[i].parts[partition]; t.count > 0 && t.last > after {
			firsts = append(firsts, b.list[i].first)
		}
	}
	return firsts
}

// cut is the last id that a partition loses.
type cut struct {
	partition int
	to        uint64
}

// cut drops the oldest blocks until there is room again, but neither the last
// one nor one that reaches beyond the horizon. trimmed is moved already. The
// blocks dropped are those from one id up to another, which is kept.
func (b *blocks) cut(horizon uint64) (cuts []cut, from, keep uint64) {
	if !b.tooMuch() {
		return nil, 0, 0
	}
	n := 0
	to := make([]uint64, b.partitions)
	for n+1 < len(b.list) && b.list[n+1].first <= horizon+1 && b.aboveLowWater() {
		k := &b.list[n]
		b.count, b.bytes = b.count-k.count, b.bytes-k.bytes
		for p, t := range k.parts {
			to[p] = max(to[p], t.last)
		}
		n++
	}
	from, keep = b.list[0].first, b.list[n].first
	b.list = slices.Delete(b.list, 0, n)
	for p, id := range to {
		if id > b.trimmed[p] {
			cuts = append(cuts, cut{partition: p, to: id})
			b.trimmed[p] = id
		}
	}
	return cuts, from, keep
}

func (b *blocks) aboveLowWater() bool {
	return b.count > b.retain-b.retain/lowWaterPart || b.bytes > b.retainBytes-b.retainBytes/lowWaterPart
}

// load adds what was read from disk; blocks come in order.
func (b *blocks) load(first uint64, partition int, t tally) {
	if len(b.list) == 0 || b.list[len(b.list)-1].first != first {
		b.list = append(b.list, block{first: first, parts: make([]tally, b.partitions)})
	}
	k := &b.list[len(b.list)-1]
	k.count, k.bytes = k.count+t.count, k.bytes+t.bytes
	b.count, b.bytes = b.count+t.count, b.bytes+t.bytes
	k.parts[partition] = t
}
