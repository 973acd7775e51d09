package redis

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// deliveryKeys are the keys of a share, an endpoint's part of a partition, with
// sample members:
//
//	…:deliver:ENDPOINT            hash  owner, until (Unix ms), token, cursor (MS-SEQ), changed
//	…:deliver:ENDPOINT:waiting    zset  m1764090000000-a7 9f86d081884c7d65 1764090000123 1764090001200 1
//	…:deliver:ENDPOINT:body       hash  m1764090000000-a7 to the event
//	…:deliver:ENDPOINT:dead       zset  m1764090000000-a7 9f86d081884c7d65 … 12 1764349200000 gave up after 72h
//	…:deliver:ENDPOINT:dead:body  hash  as body
//
// A member is a place and the facts: contact, first, due and attempts, and for a dead
// delivery when it died and why. All scores are 0, so that members stand in the order
// of their bytes: of their places. Who pages through them with ZRANGEBYLEX misses
// none, even where another server answers half-way; the cursors of HSCAN are worth
// nothing to another server.
//
// Leases are timed by the clock of the server alone, so that those of the receivers
// need not agree. After a failover a lease is as much longer or shorter as the two
// servers' clocks are apart. That harms nobody: what an older token asks for is
// refused, however long its lease.
type deliveryKeys struct {
	lease, waiting, body, dead, deadBody string
}

func (k *partitionKeys) delivery(endpoint string) *deliveryKeys {
	base := k.deliver + endpoint
	return &deliveryKeys{
		lease: base, waiting: base + ":waiting", body: base + ":body", dead: base + ":dead", deadBody: base + ":dead:body",
	}
}

// all are the keys as the scripts that change deliveries declare them.
func (k *deliveryKeys) all() []any { return []any{&k.lease, &k.waiting, &k.body, &k.dead, &k.deadBody} }

// pageDeliveries is how many are read or dropped by one command.
const pageDeliveries = 256

// shareKeys are the keys of a share, if it may exist.
func (s *Store) shareKeys(share store.Share) (*deliveryKeys, error) {
	if err := share.Validate(len(s.partitions)); err != nil {
		return nil, err
	}
	return s.partitions[share.Partition].keys.delivery(share.Endpoint), nil
}

// sortable is a place of which the bytes stand in the order of places: each of its
// two numbers has a letter before it for how many digits it has.
func sortable(p store.Place) string {
	b := appendSortable(make([]byte, 0, 24), p.Ms)
	b = append(b, '-')
	return string(appendSortable(b, p.Seq))
}

func appendSortable(b []byte, n uint64) []byte {
	at := len(b)
	b = strconv.AppendUint(append(b, 0), n, 10)
	b[at] = 'a' + byte(len(b)-at-2)
	return b
}

// parseSortable reads what sortable wrote.
func parseSortable(text string) (store.Place, error) {
	ms, seq, _ := strings.Cut(text, "-")
	if len(ms) < 2 || len(seq) < 2 {
		return store.Place{}, fmt.Errorf("%w: place %q", errReply, text)
	}
	return parsePlace(ms[1:] + "-" + seq[1:])
}

// facts are what a member says after the place of a parked delivery.
func facts(p *store.Parked) string {
	return fmt.Sprintf("%016x %d %d %d", p.Contact, unixMilli(p.First), unixMilli(p.Due), p.Attempts)
}

// deadFacts are what a member says after the place of a dead delivery.
func deadFacts(d *store.Dead) string {
	return fmt.Sprintf("%s %d %s", facts(&d.Parked), unixMilli(d.Died), d.Reason)
}

// unixMilli is 0 for the zero time.
func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// parseParked reads the member of a parked delivery.
func parseParked(member string) (store.Parked, error) {
	p, rest, err := parseMember(member)
	if err == nil && rest != "" {
		err = fmt.Errorf("%w: member %q", errReply, member)
	}
	return p, err
}

// parseDead reads the member of a dead delivery of a share.
func parseDead(share store.Share, member string) (d store.Dead, err error) {
	d.Share = share
	var rest string
	if d.Parked, rest, err = parseMember(member); err != nil {
		return d, err
	}
	died, reason, found := strings.Cut(rest, " ")
	if d.Died, err = parseMilli(died); err != nil || !found {
		return d, fmt.Errorf("%w: member %q", errReply, member)
	}
	d.Reason = reason
	return d, nil
}

// parseMember reads what parked and dead deliveries have in common.
func parseMember(member string) (p store.Parked, rest string, err error) {
	parts := strings.SplitN(member, " ", 6)
	if len(parts) < 5 {
		return p, "", fmt.Errorf("%w: member %q", errReply, member)
	}
	var errs [5]error
	p.Place, errs[0] = parseSortable(parts[0])
	p.Contact, errs[1] = strconv.ParseUint(parts[1], 16, 64)
	p.First, errs[2] = parseMilli(parts[2])
	p.Due, errs[3] = parseMilli(parts[3])
	attempts, err := strconv.ParseUint(parts[4], 10, 32)
	errs[4] = err
	if err := errors.Join(errs[:]...); err != nil {
		return p, "", fmt.Errorf("%w: member %q", errReply, member)
	}
	p.Attempts = uint32(attempts)
	if len(parts) == 6 {
		rest = parts[5]
	}
	return p, rest, nil
}

func parseMilli(text string) (time.Time, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(ms).UTC(), nil
}

// formatBody is a parked or dead event: uid, the length of the type, and the type
// with the payload right after it.
func formatBody(e *store.Entry) []byte {
	b := make([]byte, 0, 48+len(e.Type)+len(e.Payload))
	b = fmt.Appendf(b, "%s %d %s", e.UID, len(e.Type), e.Type)
	return append(b, e.Payload...)
}

func parseBody(place store.Place, body string) (store.Entry, error) {
	uid, rest, _ := strings.Cut(body, " ")
	length, rest, _ := strings.Cut(rest, " ")
	id, err := uuid.Parse(uid)
	if err != nil {
		return store.Entry{}, fmt.Errorf("%w: uid of the event at %s", errReply, formatPlace(place))
	}
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > len(rest) {
		return store.Entry{}, fmt.Errorf("%w: type of the event at %s", errReply, formatPlace(place))
	}
	return store.Entry{Place: place, UID: id, Type: rest[:n], Payload: []byte(rest[n:])}, nil
}
