package redis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

// TestPlaceOf: what is in a store stays where it is looked for.
func TestPlaceOf(t *testing.T) {
	status := func(name, participant string) *event.Event {
		return &event.Event{
			Identity: event.StatusIdentity("wamid.1", name, participant),
			Status:   &event.Status{Wamid: "wamid.1", Name: name, Participant: participant},
		}
	}
	for _, tt := range []struct {
		event  *event.Event
		bucket int
		member int64
		count  int
	}{
		{&event.Event{Identity: "wamid.1"}, 117, -7434824905454957139, 1},
		{status("sent", ""), 117, -5772097774654169178, 4},
		{status("played", ""), 117, -7509156743332956398, 1},
		{status("failed", ""), 117, 770435547125228360, 1},
		{status("read", "49"), 1011, -6464580282455016580, 2},
	} {
		p := placeOf(tt.event)
		if p.bucket != tt.bucket || p.members[0] != tt.member || p.count != tt.count {
			t.Errorf("%s: {bucket %d, member %d, count %d}", tt.event.Identity, p.bucket, p.members[0], p.count)
		}
	}
	sent, read := placeOf(status("sent", "")), placeOf(status("read", ""))
	if sent.bucket != read.bucket || !slices.Contains(sent.members[1:sent.count], read.members[0]) {
		t.Errorf("sent %+v does not look for read %+v", sent, read)
	}
	if other := placeOf(status("sent", "49")); slices.Contains(other.members[:other.count], sent.members[0]) {
		t.Error("a participant's status is taken for the message's")
	}
}

func TestDaysOf(t *testing.T) {
	noon := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	s := &Store{cfg: Config{Window: 8 * day, Now: func() time.Time { return noon }}}
	today := dayOf(noon)
	status := &event.Status{Wamid: "w", Name: "sent"}
	for _, tt := range []struct {
		name   string
		event  event.Event
		latest int
		want   []int
	}{
		{"its own day", event.Event{Time: noon, Received: noon}, today, []int{today}},
		{"its own day, two days ago", event.Event{Time: noon.Add(-2 * day), Received: noon}, today, []int{today - 2}},
		{"a status", event.Event{Time: noon, Received: noon, Status: status}, today, []int{today}},
		{"a status, and a later one from tomorrow", event.Event{Time: noon, Received: noon, Status: status}, today + 1, []int{today, today + 1}},
		{"an old status", event.Event{Time: noon.Add(-2 * day), Received: noon, Status: status}, today, []int{today - 2, today - 1, today}},
		{"no time", event.Event{Received: noon}, today, []int{
			today, today - 9, today - 8, today - 7, today - 6, today - 5, today - 4, today - 3, today - 2, today - 1,
		}},
	} {
		if got := s.daysOf(nil, &tt.event, tt.latest); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if at := expiry(today, 8*day, noon); at != noon.Truncate(day).Add(10*day).Unix() {
		t.Errorf("today's sets go at %v", time.Unix(at, 0).UTC())
	}
	if at := expiry(today-3000, 8*day, noon); at != noon.Add(2*day).Unix() {
		t.Errorf("sets of long ago go at %v", time.Unix(at, 0).UTC())
	}
}

// TestSeenIsCompact counts what a day of 10 million ids takes, by what one
// partition has of it: a 32nd.
func TestSeenIsCompact(t *testing.T) {
	const perDay, partitions = 10_000_000, 32
	server := startServer(t, localredis.Options{})
	cfg := testConfig(server.Addr())
	cfg.Partitions = partitions
	s := mustOpen(t, cfg)
	now, ids := time.Now(), perDay/partitions
	var from store.Cursor
	for done := 0; done < ids; {
		b := &store.Batch{Source: store.Source{Node: "n", Lane: "bulk"}, Partition: 7, From: from, To: store.Cursor{Seq: from.Seq + 1, Hash: 1}}
		for range min(1000, ids-done) {
			wamid := fmt.Sprint("wamid.", done)
			b.Events = append(b.Events, event.Event{
				Type: event.MessageStatus, Identity: event.StatusIdentity(wamid, "sent", ""), Time: now, Received: now,
				Status: &event.Status{Wamid: wamid, Name: "sent"}, Payload: []byte("{}"),
			})
			done++
		}
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		from = b.To
	}
	client := server.Client()
	defer func() { _ = client.Close() }()
	var bytes, members int64
	for bucket := range buckets {
		key := s.partitions[7].keys.seenKey(dayOf(now), bucket)
		used, err := client.MemoryUsage(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		n, err := client.SCard(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		bytes, members = bytes+used, members+n
	}
	if members != int64(ids) {
		t.Errorf("%d ids are kept of %d", members, ids)
	}
	perID := float64(bytes) / float64(members)
	t.Logf("%.2f bytes an id at %d a day", perID, perDay)
	if perID > 12 {
		t.Errorf("%.2f bytes an id, want at most 12", perID)
	}
	ttl, err := client.TTL(t.Context(), s.partitions[7].keys.seenKey(dayOf(now), 0)).Result()
	if want := cfg.Window + grace - now.Sub(now.Truncate(day)); err != nil || ttl > want+time.Minute || ttl < want-time.Minute {
		t.Errorf("a set goes in %v, want %v (%v)", ttl, want, err)
	}
	mean, err := s.fullest(t.Context())
	if err != nil || mean <= 0 {
		t.Errorf("sampled mean %v, %v", mean, err)
	}
}

func TestCompactWarning(t *testing.T) {
	for _, tt := range []struct {
		mean  float64
		limit int
		want  string
	}{
		{305, 512, ""},
		{3052, 0, ""},
		{3052, 512, "set it to 8192"},
		{500, 512, "set it to 2048"},
		{250, 128, "set it to 1024"},
	} {
		got := compactWarning(tt.mean, tt.limit)
		if got == "" != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("mean %v, limit %d: %q, want %q", tt.mean, tt.limit, got, tt.want)
		}
	}
}

// TestHashesAreEven: no bucket and no bit is favoured.
func TestHashesAreEven(t *testing.T) {
	const n = 1 << 18
	var counts [buckets]int
	ones := 0
	for i := range n {
		h := xxh3.HashString128(fmt.Sprint("wamid.", i))
		counts[h.Hi%buckets]++
		ones += int(h.Lo & 1)
	}
	for b, c := range counts {
		if c < 150 || c > 370 {
			t.Errorf("bucket %d has %d of %d", b, c, n)
		}
	}
	if ones < n*49/100 || ones > n*51/100 {
		t.Errorf("%d of %d members are odd", ones, n)
	}
}
