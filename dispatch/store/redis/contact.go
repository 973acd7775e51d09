package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

// A contact is kept under each of its ids, for in a Cluster these stand on
// different nodes: every id has a copy of its own, as JSON. The copy under the id
// that a message is partitioned by changes in the same script as the message's
// other effects; the others follow when something in them but the time changed.
// So whoever needs the contact as it is reads all copies, which name each other,
// and takes the newest.
type contactCopy struct {
	ID       uuid.UUID `json:"id"`
	Birth    string    `json:"birth"`
	WABA     string    `json:"waba_id"`
	WaID     string    `json:"wa_id,omitempty"`
	UserID   string    `json:"user_id,omitempty"`
	Name     string    `json:"name,omitempty"`
	Username string    `json:"username,omitempty"`
	// Updated is in Unix milliseconds, 0 before the first message took effect.
	Updated int64    `json:"updated"`
	IDs     []string `json:"ids"`
}

func copyOf(r *contacts.Record) contactCopy {
	c := contactCopy{
		ID: r.ID, Birth: r.Birth, WABA: r.WABA, WaID: r.WaID, UserID: r.UserID, Name: r.Name, Username: r.Username, IDs: r.IDs,
	}
	if !r.Updated.IsZero() {
		c.Updated = r.Updated.UnixMilli()
	}
	return c
}

func (c *contactCopy) record() *contacts.Record {
	r := &contacts.Record{
		Contact: store.Contact{
			ID: c.ID, WABA: c.WABA, WaID: c.WaID, UserID: c.UserID, Name: c.Name, Username: c.Username, Birth: c.Birth,
		},
		IDs: slices.Clone(c.IDs),
	}
	if c.Updated != 0 {
		r.Updated = time.UnixMilli(c.Updated).UTC()
	}
	return r
}

// samePerson reports that two copies differ in their times at most.
func (c contactCopy) samePerson(d contactCopy) bool {
	return c.ID == d.ID && c.Birth == d.Birth && c.WaID == d.WaID && c.UserID == d.UserID &&
		c.Name == d.Name && c.Username == d.Username && slices.Equal(c.IDs, d.IDs)
}

// page is what is kept under one id.
type page struct {
	waba, id  string
	key       string
	partition int
	// raw is empty where nothing is kept; copy is nil then.
	raw  string
	copy *contactCopy
	err  error
}

// pageID names a page.
type pageID struct{ waba, id string }

// pages are those that were read, and the contacts.Source made of them.
type pages struct {
	store *Store
	byID  map[pageID]*page
	// naming has by id the newest copy that names it, and copies by contact all
	// copies of it.
	naming map[pageID]*contactCopy
	copies map[uuid.UUID][]*contactCopy
}

func (s *Store) newPages() *pages {
	return &pages{
		store: s, byID: make(map[pageID]*page),
		naming: make(map[pageID]*contactCopy), copies: make(map[uuid.UUID][]*contactCopy),
	}
}

// note takes what was read under one id into account.
func (p *pages) note(c *contactCopy) {
	p.copies[c.ID] = append(p.copies[c.ID], c)
	for _, id := range c.IDs {
		k := pageID{c.WABA, id}
		if other := p.naming[k]; other == nil || other.Updated < c.Updated {
			p.naming[k] = c
		}
	}
}

// want notes the pages of ids to be loaded; empty ones are none.
func (p *pages) want(waba string, ids ...string) {
	for _, id := range ids {
		if id == "" {
			continue
		}
		if k := (pageID{waba, id}); p.byID[k] == nil {
			key, partition := p.store.contactKey(waba, id)
			p.byID[k] = &page{waba: waba, id: id, key: key, partition: partition, err: errNotLoaded}
		}
	}
}

var errNotLoaded = errors.New("contact not loaded")

// maxLinks bounds how many rounds of ids that name further ids are read. A
// customer has one or two; more come of changed numbers.
const maxLinks = 16

// load reads the pages wanted, and with links also those that they name. It fails
// where any of them cannot be read.
func (p *pages) load(ctx context.Context, links bool) error {
	for range maxLinks {
		read := p.loadOnce(ctx)
		if len(read) == 0 {
			break
		}
		for _, each := range read {
			if each.err != nil {
				return fmt.Errorf("read contacts: %w", each.err)
			}
			if links && each.copy != nil {
				p.want(each.waba, each.copy.IDs...)
			}
		}
	}
	return nil
}

// loadOnce reads the pages that are not read yet, and returns them; each has its
// own error.
func (p *pages) loadOnce(ctx context.Context) []*page {
	var todo []*page
	for _, each := range p.byID {
		if each.err != nil {
			todo = append(todo, each)
		}
	}
	if len(todo) > 0 {
		p.store.read(ctx, todo)
	}
	for _, each := range todo {
		if each.copy != nil {
			p.note(each.copy)
		}
	}
	return todo
}

// read reads pages. In a Cluster those of each partition are asked for apart.
func (s *Store) read(parent context.Context, pages []*page) {
	ctx, groups := parent, map[int][]*page{0: pages}
	if s.cfg.isCluster() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, lookUpTimeout)
		defer cancel()
		groups = s.present(pages)
	}
	cmds := make(map[int]*goredis.SliceCmd, len(groups))
	var all []keyed
	for n, group := range groups {
		args := make([]any, 0, 1+len(group))
		args = append(args, "mget")
		for _, each := range group {
			args = append(args, &each.key)
		}
		cmds[n] = goredis.NewSliceCmd(ctx, args...)
		all = append(all, keyed{group[0].key, cmds[n]})
	}
	s.process(ctx, all)
	for n, group := range groups {
		values, err := cmds[n].Result()
		s.noteAnswer(parent, n, err)
		for i, each := range group {
			each.raw, each.copy, each.err = "", nil, err
			if err == nil {
				each.set(values[i])
			}
		}
	}
}

// present groups pages by their partitions, but for those that are away.
func (s *Store) present(all []*page) map[int][]*page {
	groups, asks := make(map[int][]*page), make(map[int]bool)
	now := time.Now()
	for _, each := range all {
		if _, known := asks[each.partition]; !known {
			asks[each.partition] = s.partitions[each.partition].away.asks(now)
		}
		if !asks[each.partition] {
			each.err = errAway
			continue
		}
		groups[each.partition] = append(groups[each.partition], each)
	}
	return groups
}

func (p *page) set(value any) {
	if value == nil {
		return
	}
	raw, err := stringOf(value)
	if err == nil {
		p.copy = new(contactCopy)
		err = json.Unmarshal([]byte(raw), p.copy)
	}
	if err != nil {
		p.copy, p.err = nil, errors.New("a contact is not what this program wrote")
		return
	}
	p.raw = raw
}

// Owner gives the contact an id belongs to. A copy that was not told of a merge
// is overruled by a newer one that has its id.
func (p *pages) Owner(waba, id string) (*contacts.Owner, error) {
	each := p.byID[pageID{waba, id}]
	if each == nil {
		return nil, errNotLoaded
	}
	c := each.copy
	if c == nil {
		return nil, nil
	}
	if d := p.naming[pageID{waba, id}]; d != nil && d.ID != c.ID && d.Updated > c.Updated {
		c = d
	}
	return &contacts.Owner{Contact: c.ID, Birth: c.Birth}, nil
}

// Record gives a contact by its newest copy, with the ids of all.
func (p *pages) Record(id uuid.UUID) (*contacts.Record, error) {
	var newest *contactCopy
	ids := make(map[string]struct{})
	for _, c := range p.copies[id] {
		for _, other := range c.IDs {
			ids[other] = struct{}{}
		}
		if newest == nil || c.Updated > newest.Updated {
			newest = c
		}
	}
	if newest == nil {
		return nil, nil
	}
	r := newest.record()
	r.IDs = slices.Sorted(maps.Keys(ids))
	return r, nil
}

// pageWrite is a page that is to change, if it is still what was read.
type pageWrite struct {
	key       string
	partition int
	old, new  string // empty for none
	// telling is true where more than a time has changed.
	telling bool
}

// writes are the pages that a book has changed.
func (p *pages) writes(b *contacts.Book) ([]pageWrite, error) {
	changed := make(map[pageID]struct{})
	err := b.Changes(func(waba, id string, _ *contacts.Owner) error {
		changed[pageID{waba, id}] = struct{}{}
		return nil
	}, func(_ uuid.UUID, r *contacts.Record) error {
		if r != nil {
			for _, id := range r.IDs {
				changed[pageID{r.WABA, id}] = struct{}{}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	writes := make([]pageWrite, 0, len(changed))
	for k := range changed {
		w, err := p.write(b, k)
		if err != nil {
			return nil, err
		}
		if w.old != w.new {
			writes = append(writes, w)
		}
	}
	return writes, nil
}

func (p *pages) write(b *contacts.Book, k pageID) (pageWrite, error) {
	each := p.byID[k]
	if each == nil {
		return pageWrite{}, errNotLoaded
	}
	w := pageWrite{key: each.key, partition: each.partition, old: each.raw, telling: true}
	r, err := b.Of(k.waba, k.id)
	if err != nil || r == nil {
		return w, err
	}
	c := copyOf(r)
	text, err := json.Marshal(c)
	if err != nil {
		return w, fmt.Errorf("write contact: %w", err)
	}
	w.new = string(text)
	w.telling = each.copy == nil || !each.copy.samePerson(c)
	return w, nil
}

// casCalls are the calls that write pages.
func (s *Store) casCalls(writes []pageWrite) []*invocation {
	calls := make([]*invocation, len(writes))
	for i := range writes {
		w := &writes[i]
		calls[i] = newInvocation(casScript, 1, 3)
		calls[i].add(&w.key, &w.old, &w.new, s.cfg.ContactTTL.Milliseconds())
	}
	return calls
}

// spread brings the other copies up to date, once the one in the partition of the
// batch was. What fails or was changed by others meanwhile is made good by who
// reads them next.
func (s *Store) spread(ctx context.Context, writes []pageWrite, partition int) {
	writes = slices.DeleteFunc(slices.Clone(writes), func(w pageWrite) bool {
		return w.partition == partition || !w.telling && s.cfg.ContactTTL == 0
	})
	if len(writes) > 0 {
		_, _ = s.runAll(ctx, s.casCalls(writes))
	}
}

func (p *pages) wantCustomer(c *event.Customer) { p.want(c.WABA, c.WaID, c.UserID, c.NewWaID) }

// planContacts decides what becomes of the contacts of the batch, on the ground
// of what its messages are taken for.
func (a *application) planContacts(ctx context.Context) error {
	if a.batch.Mode == store.Forced {
		return nil
	}
	events := a.batch.Events
	for i := range events {
		if events[i].IsWriter() {
			if a.book == nil {
				a.book = a.store.newPages()
			}
			a.book.wantCustomer(events[i].Customer)
		}
	}
	if a.book == nil {
		return nil
	}
	if err := a.book.load(ctx, true); err != nil {
		return err
	}
	book := contacts.NewBook(a.book, a.store.cfg.Now)
	a.told = make(map[int]*event.Event)
	before := make(map[string]struct{})
	for i := range events {
		e := &events[i]
		if !e.IsWriter() {
			continue
		}
		if _, seen := before[e.Identity]; seen {
			continue
		}
		before[e.Identity] = struct{}{}
		if a.isTakenForSeen(i) {
			if err := book.Unclaim(e); err != nil {
				return err
			}
			continue
		}
		told, err := book.Profile(e)
		if err != nil {
			return err
		}
		if told != nil {
			a.told[i] = told
		}
	}
	var err error
	a.writes, err = a.book.writes(book)
	return err
}

// ownWrites are the contacts that change in the script itself.
func (a *application) ownWrites() []pageWrite {
	own, _ := split(a.writes, a.partition.index)
	return own
}

// split parts the pages of a partition from the others.
func split(writes []pageWrite, partition int) (own, others []pageWrite) {
	for _, w := range writes {
		if w.partition == partition {
			own = append(own, w)
		} else {
			others = append(others, w)
		}
	}
	return own, others
}
