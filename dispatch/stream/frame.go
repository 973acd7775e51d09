package stream

import (
	"encoding/binary"

	"github.com/fasthttp/websocket"
	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// frame is one event on its way to the live sockets. It is encoded once, and once
// more where sockets take compressed frames. A text frame of a server, unmasked:
//
//	81 LENGTH {"id":"…","uid":"…","type":"…","payload":{…}}
//
// LENGTH is one byte up to 125; 7e and two bytes up to 65,535; else 7f and eight.
// A compressed one begins with c1.
type frame struct {
	mark  mark
	entry *store.Entry
	facts facts

	plain, deflated []byte
}

// wire is the frame as it goes over the wire; nobody changes it.
func (f *frame) wire(deflate bool) []byte {
	if f.plain == nil {
		room := make([]byte, 0, frameMax+len(f.entry.Type)+len(f.entry.Payload))
		f.plain = appendEvent(room, f.mark, f.entry)
	}
	if !deflate || len(f.plain) < deflateFrom {
		return f.plain
	}
	if f.deflated == nil {
		f.deflated = deflated(f.plain)
	}
	return f.deflated
}

const (
	finalText    = 0x80 | websocket.TextMessage
	finalControl = 0x80
	uuidLength   = 36
	// maxHeader is the longest header of a frame, in bytes.
	maxHeader = 10
	// frameMax bounds what a frame has beside the type and the payload.
	frameMax = maxHeader + len(`{"id":"","uid":"","type":"","payload":}`) + markMax + uuidLength
)

// appendEvent adds the frame of an event.
func appendEvent(b []byte, m mark, entry *store.Entry) []byte {
	const skeleton = len(`{"id":"","uid":"","type":,"payload":}`)
	var room [markMax]byte
	id, name := m.append(room[:0]), quoted(entry.Type)
	b = appendHeader(b, skeleton+len(id)+uuidLength+len(name)+len(entry.Payload))
	return appendObject(b, id, name, entry)
}

// appendObject adds an event as JSON; name is its type in quotes.
func appendObject(b, id []byte, name string, entry *store.Entry) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, id...)
	b = append(b, `","uid":"`...)
	b = appendUUID(b, entry.UID)
	b = append(b, `","type":`...)
	b = append(b, name...)
	b = append(b, `,"payload":`...)
	b = append(b, entry.Payload...)
	return append(b, '}')
}

// appendPosition adds a stream:position.
func appendPosition(b []byte, m mark) []byte {
	const skeleton = len(`{"type":"stream:position","id":""}`)
	var room [markMax]byte
	id := m.append(room[:0])
	b = appendHeader(b, skeleton+len(id))
	b = append(b, `{"type":"stream:position","id":"`...)
	b = append(b, id...)
	return append(b, `"}`...)
}

// appendError adds an answer to a message that was not understood.
func appendError(b []byte, message string) []byte {
	const skeleton = len(`{"type":"error","payload":{"message":}}`)
	text := quoted(message)
	b = appendHeader(b, skeleton+len(text))
	b = append(b, `{"type":"error","payload":{"message":`...)
	b = append(b, text...)
	return append(b, `}}`...)
}

func appendHeader(b []byte, length int) []byte {
	switch {
	case length <= 125:
		return append(b, finalText, byte(length))
	case length <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, finalText, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(b, finalText, 127), uint64(length))
}

// textOf is what a text frame of the server carries.
func textOf(wire []byte) []byte {
	switch wire[1] {
	case 126:
		return wire[4:]
	case 127:
		return wire[10:]
	}
	return wire[2:]
}

// appendControl adds a ping, a pong or a close; payload is cut to 125 bytes.
func appendControl(b []byte, opcode int, payload []byte) []byte {
	const most = 125
	payload = payload[:min(len(payload), most)]
	b = append(b, finalControl|byte(opcode), byte(len(payload)))
	return append(b, payload...)
}

func appendUUID(b []byte, id uuid.UUID) []byte {
	n := len(b)
	b = append(b, "00000000-0000-0000-0000-000000000000"...)
	const digits = "0123456789abcdef"
	at := n
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			at++
		}
		b[at], b[at+1] = digits[c>>4], digits[c&15]
		at += 2
	}
	return b
}

// quoted is s as a JSON string. Types are plain words, but for the name of a
// field that Meta may choose as it likes.
func quoted(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, err := json.Marshal(s)
			if err != nil {
				return `""`
			}
			return string(text)
		}
	}
	return `"` + s + `"`
}
