package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"spillway/dispatch/store"
)

func TestFrameGolden(t *testing.T) {
	m := mark{partition: 3, place: store.Place{Ms: 36, Seq: 1}, watermark: store.Place{Ms: 35}}
	entry := store.Entry{UID: uuid.MustParse("6f0c4b9e-6a53-5d0c-9a3e-3a1f5b7c2d10"), Type: "message:new", Payload: []byte(`{"a":1}`)}
	want := "\x81\x69" + `{"id":"1-3-10-1-z-0","uid":"6f0c4b9e-6a53-5d0c-9a3e-3a1f5b7c2d10","type":"message:new","payload":{"a":1}}`
	if got := string(appendEvent(nil, m, &entry)); got != want {
		t.Errorf("event\n%q\nwant\n%q", got, want)
	}
	want = "\x81\x2e" + `{"type":"stream:position","id":"1-3-10-1-z-0"}`
	if got := string(appendPosition(nil, m)); got != want {
		t.Errorf("position\n%q\nwant\n%q", got, want)
	}
	want = "\x81\x34" + `{"type":"error","payload":{"message":"a \"quote\""}}`
	if got := string(appendError(nil, `a "quote"`)); got != want {
		t.Errorf("error\n%q\nwant\n%q", got, want)
	}
}

func TestFrameLengths(t *testing.T) {
	for _, size := range []int{0, 10, 100, 65_300, 65_400, 65_500, 70_000, 3 << 20} {
		payload := `{"x":"` + strings.Repeat("x", size) + `"}`
		entry := store.Entry{UID: uuid.New(), Type: "webhook:odd \"field\"\n\u00e9", Payload: []byte(payload)}
		wire := appendEvent(nil, mark{}, &entry)
		body := wire[2:]
		length := uint64(wire[1])
		switch wire[1] {
		case 126:
			length, body = uint64(binary.BigEndian.Uint16(wire[2:])), wire[4:]
		case 127:
			length, body = binary.BigEndian.Uint64(wire[2:]), wire[10:]
		}
		if length != uint64(len(body)) {
			t.Errorf("size %d: the header says %d, there are %d", size, length, len(body))
		}
		var m message
		if err := json.Unmarshal(body, &m); err != nil || m.UID != entry.UID || m.Type != entry.Type || !bytes.Equal(m.Payload, entry.Payload) {
			t.Errorf("size %d: does not come back as it was: %v", size, err)
		}
	}
}
