package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

var (
	crm   = store.Share{Endpoint: "crm", Partition: 3}
	began = time.UnixMilli(1764090000123).UTC()
)

func mustAcquire(t testing.TB, s *Store, share store.Share, owner string) store.Lease {
	t.Helper()
	lease, err := s.Acquire(t.Context(), share, owner, time.Minute, store.Place{})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// parked are n deliveries, at the places after one.
func parked(after uint64, n int) []store.ParkedEntry {
	all := make([]store.ParkedEntry, n)
	for i := range all {
		place := store.Place{Ms: 1764090000000, Seq: after + uint64(i) + 1}
		all[i] = store.ParkedEntry{
			Parked: store.Parked{Place: place, Contact: 7, First: began, Due: began.Add(time.Second), Attempts: 1},
			Entry:  store.Entry{Place: place, UID: event.UID("x", fmt.Sprint(place)), Type: "webhook:x", Payload: []byte(`{"n":1}`)},
		}
	}
	return all
}

// park parks n deliveries, and moves the lease to the last.
func park(t testing.TB, s *Store, lease *store.Lease, n int) []store.ParkedEntry {
	t.Helper()
	all := parked(lease.Cursor.Seq, n)
	to := all[n-1].Place
	if err := s.Settle(t.Context(), store.Settlement{Share: lease.Share, Token: lease.Token, From: lease.Cursor, To: to, Park: all}); err != nil {
		t.Fatal(err)
	}
	lease.Cursor = to
	return all
}

// whatWaits gives all that is parked, in the order in which it is told.
func whatWaits(t testing.TB, s *Store, lease store.Lease) (all []store.Parked) {
	t.Helper()
	if err := s.Waiting(t.Context(), lease, func(some []store.Parked) error { all = append(all, some...); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSortable(t *testing.T) {
	const end = ^uint64(0)
	places := []store.Place{
		{}, {Seq: 1}, {Seq: 9}, {Seq: 10}, {Seq: end}, {Ms: 1}, {Ms: 9, Seq: 99}, {Ms: 10}, {Ms: 99}, {Ms: 100, Seq: 5},
		{Ms: 1764090000000}, {Ms: 1764090000000, Seq: 2}, {Ms: 1764090000000, Seq: 10}, {Ms: 1764090000001}, {Ms: end, Seq: end},
	}
	for i, place := range places {
		text := sortable(place)
		if back, err := parseSortable(text); err != nil || back != place {
			t.Errorf("%v is written %s and read %v, %v", place, text, back, err)
		}
		if i > 0 && sortable(places[i-1]) >= text {
			t.Errorf("%s does not stand before %s", sortable(places[i-1]), text)
		}
	}
	for _, bad := range []string{"", "-", "a1", "a-a", "1-2", "mx-a1", "m1764090000000-"} {
		if place, err := parseSortable(bad); !errors.Is(err, errReply) {
			t.Errorf("%q is read as %v, %v", bad, place, err)
		}
	}
}

// TestDeliveryFormat: what an earlier version parked stays readable.
func TestDeliveryFormat(t *testing.T) {
	p := store.Parked{Place: store.Place{Ms: 1764090000000, Seq: 12}, Contact: 0xfe, First: began, Due: began.Add(time.Hour), Attempts: 3}
	d := store.Dead{Share: crm, Parked: p, Reason: "gave up after 72h", Died: began.Add(72 * time.Hour)}
	const place, known = "m1764090000000-b12", "00000000000000fe 1764090000123 1764093600123 3"
	if got := sortable(p.Place) + " " + facts(&p); got != place+" "+known {
		t.Errorf("parked: %s", got)
	}
	if got, err := parseParked(place + " " + known); err != nil || got != p {
		t.Errorf("parked: %+v, %v", got, err)
	}
	const more = " 1764349200123 gave up after 72h"
	if got := deadFacts(&d); got != known+more {
		t.Errorf("dead: %s", got)
	}
	got, err := parseDead(crm, place+" "+known+more)
	if err != nil || got.Parked != d.Parked || got.Reason != d.Reason || got.Died != d.Died || got.Share != crm {
		t.Errorf("dead: %+v, %v", got, err)
	}
	silent := store.Dead{Parked: store.Parked{Place: p.Place}}
	if got, err := parseDead(store.Share{}, place+" "+deadFacts(&silent)); err != nil || got.Parked != silent.Parked || !got.Died.IsZero() {
		t.Errorf("dead, without times and a reason: %+v, %v", got, err)
	}
	e := store.Entry{Place: p.Place, UID: uuid.MustParse("9b2f1c3e-0000-5000-8000-000000000001"), Type: "webhook:a b", Payload: []byte(`{"a": 1}`)}
	const body = `9b2f1c3e-0000-5000-8000-000000000001 11 webhook:a b{"a": 1}`
	if got := string(formatBody(&e)); got != body {
		t.Errorf("event: %s", got)
	}
	if got, err := parseBody(p.Place, body); err != nil || got.Type != e.Type || string(got.Payload) != string(e.Payload) || got.UID != e.UID {
		t.Errorf("event: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", body[:40], strings.Replace(body, " 11 ", " 99 ", 1), strings.Replace(body, " 11 ", " -1 ", 1)} {
		if got, err := parseBody(p.Place, bad); !errors.Is(err, errReply) {
			t.Errorf("%q is read as %+v, %v", bad, got, err)
		}
	}
	for _, bad := range []string{"", place, place + " " + known + " more", strings.Replace(place+" "+known, "fe", "fg", 1)} {
		if got, err := parseParked(bad); !errors.Is(err, errReply) {
			t.Errorf("%q is read as %+v, %v", bad, got, err)
		}
	}
}

// TestDeliveryScriptsAreForgotten: a server is told the scripts anew.
func TestDeliveryScriptsAreForgotten(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	s := mustOpen(t, testConfig(server.Addr()))
	lease := mustAcquire(t, s, crm, "a")
	all := park(t, s, &lease, 2)
	dead := store.Dead{Share: crm, Parked: all[0].Parked, Entry: all[0].Entry, Died: began}
	settle := func() error {
		return s.Settle(t.Context(), store.Settlement{Share: crm, Token: lease.Token, From: lease.Cursor, To: lease.Cursor, Dead: []store.Dead{dead}})
	}
	for _, call := range []func() error{
		func() (err error) {
			lease, err = s.Acquire(t.Context(), crm, "a", time.Minute, store.Place{})
			return err
		},
		func() error { _, err := s.Members(t.Context(), "a", time.Minute); return err },
		func() error { _, err := s.Renew(t.Context(), []store.Lease{lease, lease}, time.Minute); return err },
		settle,
		func() error { return s.Waiting(t.Context(), lease, func([]store.Parked) error { return nil }) },
		func() error { _, err := s.DeadRetry(t.Context(), "crm", []store.Dead{dead}); return err },
		settle,
		func() error { _, err := s.DeadForget(t.Context(), "crm", time.Now()); return err },
		func() error { return s.Release(t.Context(), lease) },
	} {
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := call(); err != nil {
			t.Error(err)
		}
	}
}

// TestDeliveriesOfWrongType: where any key is not what it should be, a script changes
// none of the others.
func TestDeliveriesOfWrongType(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	s := mustOpen(t, testConfig(server.Addr()))
	for i := range 5 {
		share := store.Share{Endpoint: fmt.Sprint("e", i), Partition: 3}
		lease := mustAcquire(t, s, share, "a")
		all := park(t, s, &lease, 3)
		dead := store.Dead{Share: share, Parked: all[0].Parked, Entry: all[0].Entry, Died: began}
		change := store.Settlement{Share: share, Token: lease.Token, From: lease.Cursor, To: lease.Cursor, Dead: []store.Dead{dead}}
		if err := s.Settle(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		k := s.partitions[3].keys.delivery(share.Endpoint)
		keys := []string{k.lease, k.waiting, k.body, k.dead, k.deadBody}
		if err := client.Del(t.Context(), keys[i]).Err(); err != nil {
			t.Fatal(err)
		}
		if err := client.Set(t.Context(), keys[i], "not ours", 0).Err(); err != nil {
			t.Fatal(err)
		}
		before := dump(t, client, keys)
		more := parked(lease.Cursor.Seq, 2)
		change.Park, change.To = more, more[1].Place
		change.Retry, change.Done = []store.Parked{all[1].Parked}, []store.Place{all[2].Place}
		err := s.Settle(t.Context(), change)
		if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("settle with a wrong %s: %v", keys[i], err)
		}
		if _, err := s.DeadRetry(t.Context(), share.Endpoint, []store.Dead{dead}); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("retry with a wrong %s: %v", keys[i], err)
		}
		if !slices.Equal(dump(t, client, keys), before) {
			t.Errorf("with a wrong %s others were changed", keys[i])
		}
	}
}

func dump(t testing.TB, client *goredis.Client, keys []string) []string {
	t.Helper()
	var dumps []string
	for _, key := range keys {
		text, err := client.Dump(t.Context(), key).Result()
		if err != nil && !errors.Is(err, goredis.Nil) {
			t.Fatal(err)
		}
		dumps = append(dumps, text)
	}
	return dumps
}

// TestDeliveriesWithoutMemory: a server that may take nothing more lets what waits go,
// and changes nothing by what it refuses.
func TestDeliveriesWithoutMemory(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	s := mustOpen(t, testConfig(server.Addr()))
	lease := mustAcquire(t, s, crm, "a")
	all := park(t, s, &lease, 3)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	more := parked(lease.Cursor.Seq, 1)
	err := s.Settle(t.Context(), store.Settlement{
		Share: crm, Token: lease.Token, From: lease.Cursor, To: more[0].Place, Park: more, Done: []store.Place{all[0].Place},
	})
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("parked without memory: %v", err)
	}
	if got := len(whatWaits(t, s, lease)); got != 3 {
		t.Errorf("%d wait after what was refused, want 3", got)
	}
	done := store.Settlement{Share: crm, Token: lease.Token, From: lease.Cursor, To: lease.Cursor, Done: []store.Place{all[0].Place}}
	if err := s.Settle(t.Context(), done); err != nil {
		t.Errorf("done without memory: %v", err)
	}
	if got := len(whatWaits(t, s, lease)); got != 2 {
		t.Errorf("%d wait after one was done, want 2", got)
	}
}

// TestTokenAfterLoss: a server that lost the newest lease does not give its token to
// another, nor a change that was told before.
func TestTokenAfterLoss(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	s := mustOpen(t, testConfig(server.Addr()))
	if err := s.Release(t.Context(), mustAcquire(t, s, crm, "a")); err != nil {
		t.Fatal(err)
	}
	saved, err := client.Dump(t.Context(), s.partitions[3].keys.delivery("crm").lease).Result()
	if err != nil {
		t.Fatal(err)
	}
	lost := mustAcquire(t, s, crm, "a")
	if err := client.RestoreReplace(t.Context(), s.partitions[3].keys.delivery("crm").lease, 0, saved).Err(); err != nil {
		t.Fatal(err)
	}
	lease := mustAcquire(t, s, crm, "b")
	if lease.Token <= lost.Token {
		t.Errorf("token %d after the lost %d", lease.Token, lost.Token)
	}
	err = s.Settle(t.Context(), store.Settlement{Share: crm, Token: lost.Token, From: lost.Cursor, To: store.Place{Ms: 1}})
	if !errors.Is(err, store.ErrFenced) {
		t.Errorf("settle by the lost lease: %v", err)
	}
}

// TestWaitingInOrder: pages follow one another by place, and what is bigger than any
// page or chunk comes whole. Places of which the facts change are told once.
func TestWaitingInOrder(t *testing.T) {
	server := startServer(t, localredis.Options{})
	s := mustOpen(t, testConfig(server.Addr()))
	lease := mustAcquire(t, s, crm, "a")
	const n = 12_000 // more than Lua unpacks at once
	all := park(t, s, &lease, n)
	var got []store.Parked
	err := s.Waiting(t.Context(), lease, func(some []store.Parked) error {
		got = append(got, some...)
		retry := some[len(some)-1]
		retry.Attempts, retry.Contact = 9, ^uint64(0) // its member is another, and stands later
		return s.Settle(t.Context(), store.Settlement{Share: crm, Token: lease.Token, From: lease.Cursor, To: lease.Cursor, Retry: []store.Parked{retry}})
	})
	if err != nil || len(got) != n {
		t.Fatalf("%d wait, %v; want %d", len(got), err, n)
	}
	places := make([]store.Place, n)
	for i := range got {
		if got[i] != all[i].Parked {
			t.Fatalf("%d is %+v, want %+v", i, got[i], all[i].Parked)
		}
		places[i] = got[i].Place
	}
	entries, err := s.Entries(t.Context(), crm, places)
	if err != nil || len(entries) != n {
		t.Fatalf("%d events, %v", len(entries), err)
	}
	for i := range entries {
		if entries[i].UID != all[i].Entry.UID {
			t.Fatalf("event %d is another", i)
		}
	}
	if err := s.Settle(t.Context(), store.Settlement{Share: crm, Token: lease.Token, From: lease.Cursor, To: lease.Cursor, Done: places}); err != nil {
		t.Fatal(err)
	}
	if left := whatWaits(t, s, lease); len(left) != 0 {
		t.Errorf("%d wait after all were done", len(left))
	}
}

// TestForgetDeliveries: somebody's events go from what waits and what is dead, also
// where the stream has trimmed them.
func TestForgetDeliveries(t *testing.T) {
	server := startServer(t, localredis.Options{})
	s := mustOpen(t, testConfig(server.Addr()))
	lease := mustAcquire(t, s, crm, "a")
	all := parked(0, 600)
	theirs, other := event.ContactID("1", "49"), event.ContactID("1", "50")
	for i := range all {
		e := &all[i].Entry
		switch i % 4 {
		case 0:
			e.Type, e.Payload = event.MessageNew, append(event.ContactPrefix(event.MessageNew, theirs), '}')
		case 1:
			e.Type, e.Payload = event.ContactNew, append(event.ContactPrefix(event.ContactNew, theirs), '}')
		case 2:
			e.Type, e.Payload = event.MessageNew, append(event.ContactPrefix(event.MessageNew, other), '}')
		case 3: // it is about another contact, whatever its own id
			e.Type, e.Payload = event.MessageNew, append(event.ContactPrefix(event.ContactNew, theirs), '}')
		}
	}
	change := store.Settlement{Share: crm, Token: lease.Token, From: lease.Cursor, To: all[599].Place, Park: all[:400]}
	for i := range all[400:] {
		d := &all[400+i]
		change.Dead = append(change.Dead, store.Dead{Parked: d.Parked, Entry: d.Entry, Died: began, Reason: "status 400"})
	}
	if err := s.Settle(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Forget(t.Context(), "1", "49"); err != nil || n != 300 {
		t.Fatalf("forgot %d, %v; want 300", n, err)
	}
	left := whatWaits(t, s, lease)
	if len(left) != 200 {
		t.Errorf("%d wait, want 200", len(left))
	}
	for _, p := range left {
		if i := p.Place.Seq - 1; i%4 < 2 {
			t.Errorf("%d still waits", i)
		}
	}
	entries, err := s.Entries(t.Context(), crm, []store.Place{all[0].Place, all[1].Place, all[2].Place, all[3].Place})
	if err != nil || entries[0].UID != uuid.Nil || entries[1].UID != uuid.Nil || entries[2].UID == uuid.Nil || entries[3].UID == uuid.Nil {
		t.Errorf("events %+v, %v", entries, err)
	}
	dead, err := s.DeadList(t.Context(), "crm", nil, 1000)
	if err != nil || len(dead) != 100 {
		t.Errorf("%d are dead, %v; want 100", len(dead), err)
	}
	if _, err := s.Forget(t.Context(), "1", "49"); !errors.Is(err, store.ErrNoContact) {
		t.Errorf("forget again: %v", err)
	}
}
