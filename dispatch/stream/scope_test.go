package stream

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/embedded"
)

// scoped is an event with what a scope goes by; empty where it has no such id.
type scoped struct{ kind, phone, waba string }

func (e scoped) payload() string {
	parts := []string{`"n":1`}
	if e.waba != "" {
		parts = append(parts, fmt.Sprintf(`"waba_id":%q`, e.waba))
	}
	switch {
	case e.phone == "":
	case strings.HasPrefix(e.kind, event.WebhookPrefix):
		parts = append(parts, fmt.Sprintf(`"value":{"metadata":{"phone_number_id":%q}}`, e.phone))
	default:
		parts = append(parts, fmt.Sprintf(`"phone_number_id":%q`, e.phone))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// scope is what a socket may see, and asks for.
type scope struct {
	claims         Claims
	events, phones []string
}

// shows says in the plainest way whether the socket may see the event.
func (s *scope) shows(e scoped) bool {
	kindIn := func(list []string) bool {
		for _, pattern := range list {
			prefix, wild := strings.CutSuffix(pattern, ":*")
			if pattern == "*" || pattern == e.kind || wild && strings.HasPrefix(e.kind, prefix+":") {
				return true
			}
		}
		return false
	}
	idIn := func(list []string, id string) bool { return id != "" && slices.Contains(list, id) }
	return (s.claims.Events == nil || kindIn(s.claims.Events)) &&
		(s.claims.PhoneNumberIDs == nil || idIn(s.claims.PhoneNumberIDs, e.phone)) &&
		(s.claims.WABAIDs == nil || idIn(s.claims.WABAIDs, e.waba)) &&
		(s.events == nil || kindIn(s.events)) &&
		(s.phones == nil || idIn(s.phones, e.phone))
}

var (
	someKinds    = []string{event.MessageNew, event.MessageStatus, event.ContactNew, event.ContactUpdated, "webhook:calls", "webhook:flows"}
	somePatterns = slices.Concat(someKinds, []string{"message:*", "contact:*", "webhook:*", "*", "nope", "message:n*"})
	somePhones   = []string{"1", "2", "3", "12"}
	someWABAs    = []string{"a", "b", "ab"}
)

// some picks a few of a list, least or more; or nil, for no limit.
func some(random *rand.Rand, list []string, least int) []string {
	if random.IntN(2) == 0 {
		return nil
	}
	picked := []string{}
	for range least + random.IntN(3) {
		picked = append(picked, list[random.IntN(len(list))])
	}
	return picked
}

func someScope(random *rand.Rand) scope {
	return scope{
		claims: claims(func(c *Claims) {
			c.Events, c.PhoneNumberIDs, c.WABAIDs = some(random, somePatterns, 0), some(random, somePhones, 0), some(random, someWABAs, 0)
		}),
		// In a query an empty list is none.
		events: some(random, somePatterns, 1), phones: some(random, somePhones, 1),
	}
}

func someEvent(random *rand.Rand) scoped {
	e := scoped{kind: someKinds[random.IntN(len(someKinds))]}
	if random.IntN(5) > 0 {
		e.phone = somePhones[random.IntN(len(somePhones))]
	}
	if random.IntN(5) > 0 {
		e.waba = someWABAs[random.IntN(len(someWABAs))]
	}
	return e
}

// written is a feed that the scope test can add events to.
type written struct {
	Feed
	add func(partition int, e scoped) uuid.UUID
}

func memoryWritten(*testing.T) written {
	feed := newMemoryFeed(3)
	return written{feed, func(p int, e scoped) uuid.UUID { return feed.add(p, e.kind, e.payload()).UID }}
}

func embeddedWritten(t *testing.T) written {
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Partitions = t.TempDir(), 3
	s, err := embedded.Open(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return written{s, func(p int, e scoped) uuid.UUID {
		uid := uuid.New()
		_, err := s.Apply(t.Context(), &store.Batch{Mode: store.Again, Partition: p, Events: []event.Event{{
			UID: uid, Type: e.kind, Identity: uid.String(), Key: uid.String(), Received: time.Now(), Payload: []byte(e.payload()),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return uid
	}}
}

// TestScope: whatever its token and its query say, a socket gets what it may see and
// nothing else, live, caught up after it was overrun, resumed, and from the start.
func TestScope(t *testing.T) {
	for name, open := range map[string]func(*testing.T) written{"memory": memoryWritten, "embedded": embeddedWritten} {
		t.Run(name, func(t *testing.T) { checkScopes(t, open(t)) })
	}
}

func checkScopes(t *testing.T, feed written) {
	const scopes, before, after = 60, 40, 160
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newFeedRig(t, feed, func(c *Config) {
		// A small queue is overrun, so that many sockets catch up in between.
		c.Queue, c.BurstGrace, c.PositionInterval = 8, 30*time.Second, 50*time.Millisecond
	})
	r.server.Start()
	all := make(map[uuid.UUID]scoped)
	add := func(n int) map[uuid.UUID]scoped {
		added := make(map[uuid.UUID]scoped)
		for i := range n {
			e := someEvent(random)
			uid := feed.add(i%feed.Partitions(), e)
			added[uid], all[uid] = e, e
		}
		return added
	}
	add(before)
	var (
		asked [scopes]scope
		live  [scopes]*peer
		ids   [scopes]string
	)
	for i := range asked {
		asked[i] = someScope(random)
		live[i] = r.openScope(asked[i], "")
		ids[i] = live[i].position().ID
	}
	news := add(after)
	last := end(t, feed)
	for i, s := range asked {
		s.wants(t, "live", live[i].seenUntil(last), news, nil)
		s.wants(t, "resumed", r.openScope(s, ids[i]).seenUntil(last), news, all)
		s.wants(t, "from the start", r.openScope(s, "0").seenUntil(last), all, nil)
		_ = live[i].conn.Close()
	}
}

// end is the last place of all partitions.
func end(t *testing.T, feed Feed) store.Place {
	t.Helper()
	bounds, _, err := feed.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var last store.Place
	for _, b := range bounds {
		last = later(last, b.Last)
	}
	return last
}

func (r *rig) openScope(s scope, since string) *peer {
	r.t.Helper()
	token := r.token(func(c *Claims) { *c = s.claims })
	query := url.Values{"token": {token}, "since": {since}, "events": {strings.Join(s.events, ",")}, "phone_number_id": {strings.Join(s.phones, ",")}}
	return r.dial(query.Encode(), nil)
}

// seenUntil reads events up to a position that is behind the place.
func (p *peer) seenUntil(last store.Place) map[uuid.UUID]bool {
	p.t.Helper()
	got := make(map[uuid.UUID]bool)
	for {
		m := p.next()
		switch m.Type {
		case "error":
		case "stream:position":
			at, err := parseMark(m.ID)
			if err != nil {
				p.t.Fatal(err)
			}
			if at.watermark.Compare(last) >= 0 {
				return got
			}
		default:
			got[m.UID] = true
		}
	}
}

// wants checks that what came is what the scope shows of the events; of those that
// may come too it can be any.
func (s *scope) wants(t *testing.T, way string, got map[uuid.UUID]bool, events, too map[uuid.UUID]scoped) {
	t.Helper()
	for uid, e := range events {
		if s.shows(e) && !got[uid] {
			t.Errorf("%s: %+v did not show %+v", way, s, e)
		}
	}
	for uid := range got {
		e, wanted := events[uid]
		if !wanted {
			e, wanted = too[uid]
		}
		if !wanted || !s.shows(e) {
			t.Errorf("%s: %+v showed %+v", way, s, e)
		}
	}
}

// expiring gives a token that expires in that time, to the second, and when it does.
func (r *rig) expiring(in time.Duration) (token string, at time.Time) {
	r.t.Helper()
	at = time.Now().Add(in).Truncate(time.Second)
	return r.token(func(c *Claims) { c.ExpiresAt = jwt.NewNumericDate(at) }), at
}

// TestTokenExpiresDuringCatchUp: a socket that has long to read from the store ends
// when its token does.
func TestTokenExpiresDuringCatchUp(t *testing.T) {
	feed := newMemoryFeed(1)
	const events = 20_000
	for range events {
		feed.add(0, "message:new", `{"x":"`+strings.Repeat("x", 1000)+`"}`)
	}
	r := newRig(t, feed, func(c *Config) { c.SendBuffer = 4096 })
	token, at := r.expiring(2500 * time.Millisecond)
	p := r.dial("since=0&token="+token, nil)
	got := 0
	for ; time.Now().Before(at); got++ {
		p.next()
		time.Sleep(time.Millisecond)
	}
	p.wantClose(CodeToken)
	if got == 0 || got == events {
		t.Errorf("%d events came before the token expired: there was no catching up then", got)
	}
}

// TestTokenExpiresDuringWrite: a write that is stuck puts the end off, but no longer
// than a write may take.
func TestTokenExpiresDuringWrite(t *testing.T) {
	feed := newMemoryFeed(1)
	r := newRig(t, feed, func(c *Config) {
		c.SendBuffer, c.WriteTimeout, c.QueueBytes = 4096, 2*time.Second, 64<<20
	})
	token, at := r.expiring(2 * time.Second)
	r.dial("token="+token, nil).live()
	feed.add(0, "message:new", `{"x":"`+strings.Repeat("x", 32<<20)+`"}`)
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
	if late := time.Since(at); late > 2*time.Second+r.server.cfg.CloseTimeout {
		t.Errorf("it ended %s after the token", late)
	}
}
