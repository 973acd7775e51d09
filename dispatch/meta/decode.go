// Package meta turns the webhooks that Meta sends for WhatsApp into events.
//
//	body ──sanitise──▶ tape ──entry[], changes[]──▶ messages[], statuses[], message_echoes[] ──▶ events
//	                                            └─▶ any other change, whole ─────────────────▶ events
//	                   what cannot be decoded ──────────────────────────────────────────────▶ dead letters
//
// The body is checked and indexed in one pass, then read through that index.
// What is passed on is copied as Meta wrote it, without white space; nothing is
// parsed into values and written again, so numbers and escapes stay as they are.
//
// It promises that every webhook yields at least one event or dead letter, that
// every item of its lists becomes exactly one of the two and never takes its
// siblings with it, that every payload is valid JSON in valid UTF-8, and that the
// same body always yields the same uids.
//
// Names of keys are matched exactly, after their escapes are resolved; where a
// key comes twice in an object, the last one counts. A null counts as absent.
package meta

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"spillway/dispatch/event"
)

// maxBody is the largest body that is decoded, in bytes; far more than any
// receiver lets in.
const maxBody = 1 << 30

// Dead is what could not be decoded: a webhook, or one item of it.
type Dead struct {
	// Path leads to the item, as in "entry[0].changes[1].value.messages[3]"; it is
	// empty for the whole body.
	Path string
	// Reason says what is wrong. It never quotes the item, and so is safe to log.
	Reason string
	// Item is a copy of the item's JSON; of a body that is no JSON object, of the
	// body as it was received.
	Item []byte
}

// Decode gives the events of a webhook and what of it could not be decoded. The
// events are in the order of the changes and of each list; of one change,
// messages come before statuses. Neither refers to body. Bytes that are not valid
// UTF-8 count as U+FFFD. It never panics, and may be called from many goroutines.
func Decode(received time.Time, body []byte) (events []event.Event, dead []Dead) {
	return decode(received, body, (*decoder).webhook)
}

func decode(received time.Time, body []byte, walk func(*decoder)) (events []event.Event, dead []Dead) {
	if len(body) > maxBody {
		return nil, wholeDead(body, "larger than 1 GiB")
	}
	d := decoders.Get().(*decoder)
	// A decoder that panicked does not go back to the pool.
	defer func() {
		if cause := recover(); cause != nil {
			events, dead = nil, wholeDead(body, panicReason(cause))
		}
	}()
	data := body
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	if fault := d.parse(data); fault != "" {
		dead = wholeDead(body, fault)
	} else if d.nodes[root].kind != object {
		dead = wholeDead(body, "not a JSON object")
	} else {
		d.received = received
		walk(d)
		events, dead = d.events, d.dead
	}
	d.release()
	return events, dead
}

func wholeDead(body []byte, reason string) []Dead {
	return []Dead{{Reason: reason, Item: bytes.Clone(body)}}
}

// panicReason names a run-time error, whose text holds types and numbers alone;
// any other panic could hold data.
func panicReason(cause any) string {
	const reason = "panic while decoding"
	if err, ok := cause.(runtime.Error); ok {
		return reason + ": " + err.Error()
	}
	return reason
}

// decoder decodes one webhook at a time; decoders keeps those that rest.
type decoder struct {
	tape
	received time.Time
	events   []event.Event
	dead     []Dead

	// Where the decoder is, and what holds for all items there.
	entry  entry
	change change

	contacts []contact // of the change, reused
	scratch  []byte    // of the payload being built, reused
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// Buffers beyond these sizes are not kept: one huge webhook must not cost its
// memory for good.
const (
	keptNodes    = 1 << 15
	keptContacts = 1 << 10
	keptScratch  = 1 << 20
)

func (d *decoder) release() {
	kept := decoder{}
	if cap(d.nodes) <= keptNodes {
		kept.nodes = d.nodes[:0]
	}
	if cap(d.contacts) <= keptContacts {
		clear(d.contacts[:cap(d.contacts)])
		kept.contacts = d.contacts[:0]
	}
	if cap(d.scratch) <= keptScratch {
		kept.scratch = d.scratch[:0]
	}
	*d = kept
	decoders.Put(d)
}

// entry is what an element of entry[] says about its changes.
type entry struct {
	index int
	// id and waba are the account's, as it stands and as it reads; empty where
	// there is none.
	id   id
	waba string
	// time is zero where it is missing or cannot be read.
	time     time.Time
	timeText string
}

func (d *decoder) webhook() {
	entries := d.member(root, "entry")
	if fault := d.faultOfList("entry", entries); fault != "" {
		d.bury("", fault, root)
		return
	}
	d.entry.index = 0
	for at := entries + 1; at < d.nodes[entries].next; at = d.nodes[at].next {
		d.readEntry(at)
		d.entry.index++
	}
}

func (d *decoder) readEntry(at ref) {
	if d.nodes[at].kind != object {
		d.bury(d.entryPath(), notAnObject, at)
		return
	}
	var name, moment, changes ref
	for key := at + 1; key < d.nodes[at].next; key = d.nodes[key+1].next {
		switch value := d.present(key + 1); string(d.text(key)) {
		case "id":
			name = value
		case "time":
			moment = value
		case "changes":
			changes = value
		}
	}
	if fault := d.faultOfList("changes", changes); fault != "" {
		d.bury(d.entryPath(), fault, at)
		return
	}
	d.entry.id = d.id(name)
	d.entry.waba = string(d.entry.id.text)
	d.entry.time = d.moment(moment)
	d.entry.timeText = string(d.id(moment).text)
	d.change.index = 0
	for at := changes + 1; at < d.nodes[changes].next; at = d.nodes[at].next {
		d.readChange(at)
		d.change.index++
	}
}

// entryPath leads to the current entry.
func (d *decoder) entryPath() string { return "entry[" + strconv.Itoa(d.entry.index) + "]" }

const notAnObject = "not an object"

// faultOfList says what is wrong with a list that must hold something.
func (d *decoder) faultOfList(name string, list ref) string {
	switch {
	case list == 0:
		return name + " missing"
	case d.nodes[list].kind != array:
		return name + " not an array"
	case d.empty(list):
		return name + " empty"
	}
	return ""
}

// bury makes a dead letter of the value at item.
func (d *decoder) bury(path, reason string, item ref) {
	d.dead = append(d.dead, Dead{Path: path, Reason: reason, Item: bytes.Clone(d.raw(item))})
}
