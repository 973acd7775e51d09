package deliver

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"spillway/dispatch/store"
)

// parked is what of a share waits to be tried again, without the events: some 120
// bytes a delivery. The events are in the store.
//
// Where order is kept, the deliveries of a contact are a chain, of which the first
// alone is tried.
type parked struct {
	ordered bool
	items   []parkedItem // by index; those that are free are in free
	free    []int32
	count   int
	// due are the items that may be tried, a heap by their times.
	due []int32
	// chains are the contacts of which anything waits.
	chains map[uint64]chain
	// byAge are all items as they came, with some that are gone.
	byAge []birth
}

// parkedItem is a store.Parked in less memory: times in Unix milliseconds.
type parkedItem struct {
	place      store.Place
	contact    uint64
	first, due int64
	attempts   uint32
	// next is the next one in the chain, none at its end.
	next int32
	// at is where it is in due, none where it is not.
	at int32
	// births tells an item from an earlier one at its index; it is odd while alive.
	births uint32
}

type chain struct{ first, last int32 }

type birth struct {
	index  int32
	births uint32
}

const none = int32(-1)

func newParked(ordered bool) *parked {
	return &parked{ordered: ordered, chains: make(map[uint64]chain)}
}

// get gives what is known of an item.
func (p *parked) get(index int32) store.Parked {
	item := &p.items[index]
	return store.Parked{
		Place: item.place, Contact: item.contact, First: time.UnixMilli(item.first), Due: time.UnixMilli(item.due), Attempts: item.attempts,
	}
}

// holds reports whether anything of the contact waits that has to go before.
func (p *parked) holds(contact uint64) bool {
	if !p.ordered || contact == 0 {
		return false
	}
	_, found := p.chains[contact]
	return found
}

// add adds one that came later than those of its contact that are there.
func (p *parked) add(from store.Parked) {
	index := int32(len(p.items))
	if n := len(p.free); n > 0 {
		index, p.free = p.free[n-1], p.free[:n-1]
	} else {
		p.items = append(p.items, parkedItem{})
	}
	births := p.items[index].births + 1
	p.items[index] = parkedItem{
		place: from.Place, contact: from.Contact, first: from.First.UnixMilli(), due: from.Due.UnixMilli(), attempts: from.Attempts,
		next: none, at: none, births: births,
	}
	p.byAge = append(p.byAge, birth{index, births})
	p.count++
	p.forgetGone()
	if !p.ordered || from.Contact == 0 {
		heap.Push(p, index)
		return
	}
	c, found := p.chains[from.Contact]
	if found {
		p.items[c.last].next = index
		p.chains[from.Contact] = chain{c.first, index}
		return
	}
	p.chains[from.Contact] = chain{index, index}
	heap.Push(p, index)
}

// forgetGone keeps byAge from growing with what is gone.
func (p *parked) forgetGone() {
	if len(p.byAge) < 2*p.count+1024 {
		return
	}
	kept := p.byAge[:0]
	for _, b := range p.byAge {
		if p.items[b.index].births == b.births {
			kept = append(kept, b)
		}
	}
	p.byAge = kept
}

// takeDue takes one that is due; it is to be put back by retry, or to be removed.
func (p *parked) takeDue(now time.Time) (index int32, ok bool) {
	if len(p.due) == 0 || p.items[p.due[0]].due > now.UnixMilli() {
		return none, false
	}
	return heap.Pop(p).(int32), true
}

// nextDue is when the next one is due; false where none is.
func (p *parked) nextDue() (time.Time, bool) {
	if len(p.due) == 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(p.items[p.due[0]].due), true
}

// retry puts back one that was taken.
func (p *parked) retry(index int32, due time.Time, attempts uint32) {
	p.items[index].due, p.items[index].attempts = due.UnixMilli(), attempts
	heap.Push(p, index)
}

// remove removes one that was taken; the next of its contact may be tried then.
func (p *parked) remove(index int32) {
	item := &p.items[index]
	item.births++
	p.count--
	p.free = append(p.free, index)
	if !p.ordered || item.contact == 0 {
		return
	}
	if item.next == none {
		delete(p.chains, item.contact)
		return
	}
	p.chains[item.contact] = chain{item.next, p.chains[item.contact].last}
	heap.Push(p, item.next)
}

// takeOldest takes the oldest that is neither under way nor behind another of its
// contact; it is to be removed.
func (p *parked) takeOldest() (index int32, ok bool) {
	return p.takeFirst(func(*parkedItem) bool { return true })
}

// takeTried takes one that was tried, and first before a time; it is to be removed.
func (p *parked) takeTried(before time.Time) (index int32, ok bool) {
	return p.takeFirst(func(i *parkedItem) bool { return i.attempts > 0 && i.first < before.UnixMilli() })
}

// searched is how many of the oldest are looked at: those in front may be under way.
const searched = 1024

// takeFirst takes the oldest that can be taken and passes.
func (p *parked) takeFirst(passes func(*parkedItem) bool) (index int32, ok bool) {
	p.forgetOldest()
	for _, b := range p.byAge[:min(searched, len(p.byAge))] {
		item := &p.items[b.index]
		if item.births == b.births && item.at != none && passes(item) {
			heap.Remove(p, int(item.at))
			return b.index, true
		}
	}
	return none, false
}

// sortByAge is for those that came in another order than they were first tried in:
// what was dead and is tried again has an old place.
func (p *parked) sortByAge() {
	slices.SortStableFunc(p.byAge, func(a, b birth) int {
		return cmp.Compare(p.items[a.index].first, p.items[b.index].first)
	})
}

// forgetOldest forgets the oldest that are gone.
func (p *parked) forgetOldest() {
	for len(p.byAge) > 0 && p.items[p.byAge[0].index].births != p.byAge[0].births {
		p.byAge = p.byAge[1:]
	}
}

// Len implements heap.Interface.
func (p *parked) Len() int { return len(p.due) }

// Less implements heap.Interface.
func (p *parked) Less(i, j int) bool {
	a, b := &p.items[p.due[i]], &p.items[p.due[j]]
	if a.due == b.due {
		return a.place.Compare(b.place) < 0
	}
	return a.due < b.due
}

// Swap implements heap.Interface.
func (p *parked) Swap(i, j int) {
	p.due[i], p.due[j] = p.due[j], p.due[i]
	p.items[p.due[i]].at, p.items[p.due[j]].at = int32(i), int32(j)
}

// Push implements heap.Interface.
func (p *parked) Push(index any) {
	p.items[index.(int32)].at = int32(len(p.due))
	p.due = append(p.due, index.(int32))
}

// Pop implements heap.Interface.
func (p *parked) Pop() any {
	n := len(p.due) - 1
	index := p.due[n]
	p.due = p.due[:n]
	p.items[index].at = none
	return index
}

// oldest is when the first that waits was first tried, in Unix milliseconds; false
// where none waits.
func (p *parked) oldest() (int64, bool) {
	p.forgetOldest()
	if len(p.byAge) == 0 {
		return 0, false
	}
	return p.items[p.byAge[0].index].first, true
}
