package embedded

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

var someID = uuid.MustParse("0f3b8a54-25b7-5a27-8d8b-5a2b6c1d9e77")

// TestGoldenBytes: what is on disk stays readable.
func TestGoldenBytes(t *testing.T) {
	e := &event.Event{UID: someID, Type: "t:x", Payload: []byte(`{"a":1}`)}
	entry, stale := make([]byte, entrySize(e, "")), make([]byte, entrySize(e, staleMark))
	putEntry(entry, e, "")
	putEntry(stale, e, staleMark)
	r := &contacts.Record{
		Contact: store.Contact{WABA: "1", WaID: "2", UserID: "US.3", Name: "A", Birth: "w", Updated: time.UnixMilli(258)},
		Touched: time.UnixMilli(3), IDs: []string{"2", "US.3"},
	}
	key := makeSeenKey(20000, statusHash(&event.Status{Wamid: "wamid.1", Participant: "49"}))
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"layout":       {layoutValue(32), "020020"},
		"event key":    {eventKey(0x0102030405060700, 3, 0x0102030405060708), "45010203040506070000030102030405060708"},
		"event":        {entry, "0f3b8a5425b75a278d8b5a2b6c1d9e77" + "03743a78" + "7b2261223a317d"},
		"stale event":  {stale, "0f3b8a5425b75a278d8b5a2b6c1d9e77" + "03743a78" + "7b2261223a312c227374616c65223a747275657d"},
		"cursor key":   {cursorKey(3, store.Source{Node: "n", Lane: "bulk"}), "43000362756c6b006e"},
		"cursor":       {cursorValue(store.Cursor{Seq: 1, Hash: 2}), "00000000000000010000000000000002"},
		"owner key":    {ownerKey("1", "2"), "49310032"},
		"record":       {appendRecord(nil, r), "01000000000000010200000000000000030131013204" + "55532e33014100017702013204" + "55532e33"},
		"block key":    {blockKey(1, 3), "4200000000000000010003"},
		"block":        {blockValue(tally{count: 1, bytes: 2, last: 3}), "000000000000000100000000000000020000000000000003"},
		"trim mark":    {partitionKey(tagTrimmed, 3), "540003"},
		"seen, status": {key[:], "534e20e53debcfd9a9ca16d25eb1ec47e380ad"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	full := &contacts.Record{
		Contact: store.Contact{
			ID: someID, WABA: "1", WaID: "2", UserID: "US.3", Name: "Å\x00", Username: "u", Birth: "wamid.1",
			Updated: time.UnixMilli(1_767_225_600_123).UTC(),
		},
		Touched: time.UnixMilli(5).UTC(), IDs: []string{"2", "", "US.3"},
	}
	for _, r := range []*contacts.Record{full, {Contact: store.Contact{ID: someID}}} {
		v := appendRecord(nil, r)
		got, err := parseRecord(someID, v)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, r)
		}
		for n := range v {
			if _, err := parseRecord(someID, v[:n]); err == nil {
				t.Errorf("a record cut to %d of %d bytes was read", n, len(v))
			}
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	for _, kind := range []string{event.MessageNew, event.MessageStatus, event.ContactNew, event.ContactUpdated,
		"", event.WebhookPrefix + string(bytes.Repeat([]byte("x"), 500))} {
		e := &event.Event{UID: someID, Type: kind, Payload: []byte(`{"a":1}`)}
		v := make([]byte, entrySize(e, ""))
		putEntry(v, e, "")
		got, err := parseEntry(7<<seqBits|9, v)
		want := store.Entry{Place: store.Place{Ms: 7, Seq: 9}, UID: someID, Type: kind, Payload: e.Payload}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
		for n := range len(v) - len(e.Payload) {
			if _, err := parseEntry(1, v[:n]); err == nil {
				t.Errorf("an entry cut to %d bytes was read", n)
			}
		}
	}
}

func TestPlaceAndID(t *testing.T) {
	const top = math.MaxUint64
	for _, tt := range []struct {
		place store.Place
		id    uint64
	}{
		{store.Place{}, 0},
		{store.Place{Ms: 1, Seq: 2}, 1<<20 | 2},
		{store.Place{Ms: 1, Seq: top}, 1<<20 | seqMask},
		{store.Place{Ms: 1<<44 - 1, Seq: seqMask}, top},
		{store.Place{Ms: 1 << 44}, top},
		{store.Place{Ms: top, Seq: top}, top},
	} {
		if got := idOf(tt.place); got != tt.id {
			t.Errorf("id of %v: %#x, want %#x", tt.place, got, tt.id)
		}
		if placeOf(tt.id).Compare(tt.place) > 0 {
			t.Errorf("%v stands before the place of its id", tt.place)
		}
	}
}

func TestCursorKeyRoundTrip(t *testing.T) {
	want := store.Source{Node: "node-\x00a", Lane: "express"}
	p, got, err := parseCursorKey(cursorKey(513, want))
	if err != nil || p != 513 || got != want {
		t.Errorf("got %d %q, %v", p, got, err)
	}
}
