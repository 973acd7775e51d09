package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The golden bytes are what logs on disk hold: a change of them needs a new
// version number.
const (
	goldenRecord = "01" + "03" + "04" + // version, lengths of app and signature
		"0000000000000400" + "0000000000000102" + // received, offset
		"617070" + "deadbeef" + "7b7d"
	goldenDead = "01" + "03" + "04" + "0002" + "0003" + // version, lengths
		"0000000000000400" + // received
		"617070" + "deadbeef" + "6530" + "626164" + "7b7d"
	goldenStart = "0000000000000007" + "0000000000000008" + "0000000000000009"
)

func TestRecordGolden(t *testing.T) {
	r := Record{
		Received:  time.Unix(0, 1024).UTC(),
		App:       "app",
		Signature: []byte{0xde, 0xad, 0xbe, 0xef},
		Body:      []byte("{}"),
	}
	value := make([]byte, recordSize(&r))
	putRecord(value, &r, 0x102)
	if got := hex.EncodeToString(value); got != goldenRecord {
		t.Fatalf("encoded\n%s, want\n%s", got, goldenRecord)
	}
	if got, want := hex.EncodeToString(recordKey(Bulk, 258)), "11"+"0000000000000102"; got != want {
		t.Errorf("key %s, want %s", got, want)
	}

	h, err := parseHeader(value)
	if err != nil {
		t.Fatal(err)
	}
	if h.received != 1024 || h.offset != 0x102 || h.end != 0x102+9+uint64(len(value)) {
		t.Errorf("header %+v", h)
	}
	got, err := parseRecord(value, 5, "other")
	if err != nil {
		t.Fatal(err)
	}
	r.Seq, r.Hash = 5, 0x44b810739e89a4e8
	if !reflect.DeepEqual(got, r) {
		t.Errorf("decoded %+v, want %+v", got, r)
	}
}

func TestDeadLetterGolden(t *testing.T) {
	d := DeadLetter{
		Lane: Bulk, Seq: 258, Item: WholeRecord,
		Received: time.Unix(0, 1024).UTC(), App: "app", Path: "e0", Reason: "bad",
		Signature: []byte{0xde, 0xad, 0xbe, 0xef}, Body: []byte("{}"),
	}
	key := deadKey(d.Lane, d.Seq, d.Item)
	if got, want := hex.EncodeToString(key), "21"+"0000000000000102"+"00000000"; got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	value := d.encode()
	if got := hex.EncodeToString(value); got != goldenDead {
		t.Fatalf("encoded\n%s, want\n%s", got, goldenDead)
	}
	got, err := parseDead(key, value)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, d) {
		t.Errorf("decoded %+v, want %+v", got, d)
	}
	d.Reason = strings.Repeat("r", 70000)
	if got, err := parseDead(key, d.encode()); err != nil || len(got.Reason) != 65535 || string(got.Body) != "{}" {
		t.Errorf("long reason: %d bytes, body %q, %v", len(got.Reason), got.Body, err)
	}
}

func TestStartGolden(t *testing.T) {
	s := start{first: 7, hash: 8, offset: 9}
	if got := hex.EncodeToString(s.encode()); got != goldenStart {
		t.Errorf("encoded %s, want %s", got, goldenStart)
	}
	if got, err := decodeStart(s.encode()); err != nil || got != s {
		t.Errorf("decoded %+v, %v", got, err)
	}
	if _, err := decodeStart([]byte{1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("short marker: %v", err)
	}
}

func TestCheckRecord(t *testing.T) {
	long := strings.Repeat("a", 256)
	for name, r := range map[string]Record{
		"app":       {App: long},
		"signature": {Signature: []byte(long)},
		"body":      {Body: make([]byte, MaxRecord-recordHeader+1)},
	} {
		if err := checkRecord(&r); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkRecord(&Record{App: long[:255], Signature: []byte(long[:255]), Body: []byte("x")}); err != nil {
		t.Errorf("longest names: %v", err)
	}
}

// FuzzParse feeds damaged values: they give an error or what they encode.
func FuzzParse(f *testing.F) {
	for _, golden := range []string{goldenRecord, goldenDead, goldenStart} {
		b, _ := hex.DecodeString(golden)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if r, err := parseRecord(value, 1, ""); err == nil {
			h, _ := parseHeader(value)
			again := make([]byte, recordSize(&r))
			if putRecord(again, &r, h.offset); !bytes.Equal(again, value) {
				t.Errorf("%x encodes as %x", value, again)
			}
		}
		if d, err := parseDead(deadKey(Bulk, 1, 0), value); err == nil && !bytes.Equal(d.encode(), value) {
			t.Errorf("%x encodes as %x", value, d.encode())
		}
	})
}
