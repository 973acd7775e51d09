package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// The answers of apply.lua.
const (
	answerDiffers  = 0
	answerApplied  = 1
	answerLaterDay = 2
	answerConflict = 3
)

// The flags of an event, as apply.lua knows them.
const (
	flagStale   = 1 << iota // a later status stands before it in the batch
	flagPlanned             // contacts were planned on what it is taken for …
	flagSeen                // … a duplicate, else a fresh one
	flagExpires             // its set needs an expiry
	flagContact             // a contact event goes before it
	flagAppends             // it is appended and not remembered
)

// maxConflicts bounds the tries of a batch whose contacts others change all the
// time: each conflict means that one of the others got through.
const maxConflicts = 100

var errConflict = errors.New("contacts were changed by others at every try")

// Apply applies the batch if the stored cursor equals From, or its mode does not
// ask, as one script, and else changes nothing. It keeps no part of the batch.
func (s *Store) Apply(ctx context.Context, b *store.Batch) (_ store.Result, err error) {
	done, err := s.begin(ctx, opApply)
	if err != nil {
		return store.Result{}, err
	}
	defer func() { done(err) }()
	if err := b.Validate(len(s.partitions)); err != nil {
		return store.Result{}, err
	}
	a := &application{store: s, partition: s.partitions[b.Partition], batch: b}
	for range maxConflicts {
		result, again, err := a.try(ctx)
		if !again || err != nil {
			return result, err
		}
	}
	return store.Result{}, fmt.Errorf("apply batch: %w", errConflict)
}

// application is one batch on its way.
type application struct {
	store     *Store
	partition *partition
	batch     *store.Batch

	// taken is what each event was found to be by the try before, nil at first,
	// when all are taken for fresh.
	taken []store.Outcome

	// What follows is of one try.
	outcomes []store.Outcome
	sent     []int // the events that are sent; the others are duplicates of these
	book     *pages
	writes   []pageWrite
	told     map[int]*event.Event // the contact event that goes before an event
	armed    []armed
	latest   int
	heads    []byte
	days     []int
}

// try runs the script once; again is true where the batch must be built anew.
func (a *application) try(ctx context.Context) (result store.Result, again bool, err error) {
	a.reset()
	if err := a.planContacts(ctx); err != nil {
		return store.Result{}, false, err
	}
	reply, err := a.store.run(ctx, a.invocation())
	if err != nil {
		return store.Result{}, false, fmt.Errorf("apply batch: %w", err)
	}
	list, err := listOf(reply, 2)
	if err != nil {
		return store.Result{}, false, fmt.Errorf("apply batch: %w", err)
	}
	answer, err := integerOf(list[0])
	if err != nil {
		return store.Result{}, false, fmt.Errorf("apply batch: %w", err)
	}
	text, err := stringOf(list[1])
	if err != nil {
		return store.Result{}, false, fmt.Errorf("apply batch: %w", err)
	}
	switch answer {
	case answerDiffers:
		stored, err := a.store.otherCursor(a.batch, text)
		return store.Result{Stored: stored}, false, err
	case answerLaterDay:
		latest, err := strconv.Atoi(text)
		a.partition.days.learn(latest)
		return store.Result{}, true, err
	case answerConflict:
		a.store.metrics.conflicts.Inc()
		a.taken, err = a.read(text)
		return store.Result{}, true, err
	case answerApplied:
		result, err := a.applied(ctx, text)
		return result, false, err
	}
	return store.Result{}, false, fmt.Errorf("apply batch: %w: answer %d", errReply, answer)
}

func (a *application) reset() {
	n := len(a.batch.Events)
	a.outcomes = make([]store.Outcome, n)
	a.sent, a.heads, a.armed = a.sent[:0], a.heads[:0], a.armed[:0]
	a.book, a.writes, a.told = nil, nil, nil
	a.latest = 0
}

// read takes the outcomes out of an answer: a digit for each event that was sent.
// The others are duplicates.
func (a *application) read(digits string) ([]store.Outcome, error) {
	if len(digits) != len(a.sent) {
		return nil, fmt.Errorf("apply batch: %w: %d outcomes for %d events", errReply, len(digits), len(a.sent))
	}
	outcomes := slices.Clone(a.outcomes)
	for i, n := range a.sent {
		outcomes[n] = store.Outcome(digits[i] - '0')
	}
	return outcomes, nil
}

// applied is the result of a batch that took effect.
func (a *application) applied(ctx context.Context, digits string) (store.Result, error) {
	outcomes, err := a.read(digits)
	if err != nil {
		return store.Result{}, err
	}
	a.partition.days.arm(slices.DeleteFunc(a.armed, func(x armed) bool { return outcomes[x.event] == store.Duplicate }))
	a.partition.days.learn(a.latest)
	if len(a.sent) > 0 {
		a.store.announce()
	}
	result := store.Result{Applied: true, Outcomes: outcomes}
	if a.batch.Mode == store.Advance {
		result.Stored = a.batch.To
	}
	for _, e := range a.told {
		if e.Type == event.ContactNew {
			result.ContactsNew++
		} else {
			result.ContactsUpdated++
		}
	}
	a.store.spread(ctx, a.writes, a.partition.index)
	return result, nil
}

// invocation builds the call of the script.
func (a *application) invocation() *invocation {
	s, b, keys := a.store, a.batch, &a.partition.keys
	known := a.partition.days.known()
	items := a.items(known)
	own := a.ownWrites()

	field, from, to := "", "", ""
	if b.Mode == store.Advance {
		field, from, to = fieldOf(b.Source), textOf(b.From), b.To.String()
	}
	c := newInvocation(applyScript, 0, 16+12*len(items)+3*len(own))
	c.add(&keys.cursor, &keys.state, &keys.events, &keys.marks)
	for i := range own {
		c.add(&own[i].key)
	}
	for i := range items {
		for _, key := range items[i].keys {
			c.add(key)
		}
	}
	c.args[2] = len(c.args) - 3
	share := int64(len(s.partitions))
	c.add(field, from, to, known, a.latest, len(own), s.cfg.ContactTTL.Milliseconds(),
		max(s.cfg.Retain/share, 1), max(s.cfg.RetainBytes/share, 1), a.heads)
	for i := range own {
		c.add(&own[i].old, &own[i].new)
	}
	for i := range items {
		c.addItem(&items[i])
	}
	return c
}

// item is an event as it is sent.
type item struct {
	keys    []*string
	members []int64
	expiry  int64 // 0 for none
	told    *event.Event
	event   *event.Event
	payload []byte
}

func (c *invocation) addItem(it *item) {
	for i := range it.members {
		c.add(&it.members[i])
	}
	if it.expiry != 0 {
		c.add(&it.expiry)
	}
	if it.told != nil {
		c.addEvent(it.told, it.told.Payload)
	}
	c.addEvent(it.event, it.payload)
}

func (c *invocation) addEvent(e *event.Event, payload []byte) {
	c.add(event.AppendUUID(make([]byte, 0, 36), e.UID), &e.Type, payload)
}

// seenID is an identity as the sets know it.
type seenID struct {
	bucket int
	member int64
}

// items builds what is sent of the events. Of what stands twice in the batch the
// first is sent, and those after it are duplicates.
func (a *application) items(known int) []item {
	events := a.batch.Events
	items := make([]item, 0, len(events))
	if a.batch.Mode == store.Forced {
		for i := range events {
			a.sent = append(a.sent, i)
			a.heads = append(a.heads, 0, 1, flagAppends)
			items = append(items, item{members: []int64{0}, event: &events[i], payload: replayed(&events[i])})
		}
		return items
	}
	before := make(map[seenID]struct{}, len(events))
	members := make([]int64, 0, 4*len(events))
	sets := make([]*string, 0, 2*len(events))
	for i := range events {
		e := &events[i]
		p := placeOf(e)
		id := seenID{p.bucket, p.members[0]}
		if _, seen := before[id]; seen {
			a.outcomes[i] = store.Duplicate
			continue
		}
		flags := byte(0)
		for _, higher := range p.members[1:p.count] {
			if _, seen := before[seenID{p.bucket, higher}]; seen {
				flags |= flagStale
			}
		}
		before[id] = struct{}{}
		it := item{event: e, payload: e.Payload, told: a.told[i]}
		members = append(members, p.members[:p.count]...)
		it.members = members[len(members)-p.count:]
		flags |= a.place(&it, i, p.bucket, known, &sets)
		flags |= a.flagsOf(i)
		a.sent = append(a.sent, i)
		a.heads = append(a.heads, byte(len(it.keys)), byte(p.count), flags)
		items = append(items, it)
	}
	return items
}

// place finds the sets of an event, its own first, and gives that its expiry where
// it may have none.
func (a *application) place(it *item, i, bucket, known int, sets *[]*string) (flags byte) {
	s, days := a.store, a.partition.days
	now := s.cfg.Now()
	a.days = s.daysOf(a.days[:0], it.event, known)
	start := len(*sets)
	for n, d := range a.days {
		key, isArmed := days.key(d, bucket, now)
		*sets = append(*sets, key)
		if n == 0 && !isArmed {
			it.expiry = expiry(d, s.cfg.Window, now)
			a.armed = append(a.armed, armed{d, bucket, i})
			flags = flagExpires
		}
	}
	it.keys = (*sets)[start:len(*sets):len(*sets)]
	a.latest = max(a.latest, a.days[0])
	return flags
}

// flagsOf says what contacts were planned on.
func (a *application) flagsOf(i int) (flags byte) {
	if !a.batch.Events[i].IsWriter() {
		return 0
	}
	flags = flagPlanned
	if a.isTakenForSeen(i) {
		flags |= flagSeen
	}
	if a.told[i] != nil {
		flags |= flagContact
	}
	return flags
}

func (a *application) isTakenForSeen(i int) bool {
	return a.taken != nil && a.taken[i] == store.Duplicate
}

// replayed is the payload of an event that is appended by force.
func replayed(e *event.Event) []byte {
	const mark = `,"replayed":true}`
	return append(slices.Clip(e.Payload[:len(e.Payload)-1]), mark...)
}
