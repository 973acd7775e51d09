package stream

import "sync/atomic"

// tape is what the sockets of one group are sent: the frames of all events that
// their filter lets through, one behind the other, in chunks. It is written once,
// by the hub, and each socket reads it at its own pace, so that a socket costs
// the hub nothing but being woken, and a socket that lags writes at once what
// came meanwhile.
//
// A chunk is reached from the one before it only. What no socket has yet to read
// is garbage, and a socket that lags too far is cut off its chunk. So a tape holds no
// more than a queue's bounds and a chunk, however many sockets lag; and each socket
// whose write is stuck what it writes, which is of one chunk.
type tape struct {
	tail *chunk
	// frames and bytes are of all that was ever put on the tape.
	frames, bytes atomic.Int64
	// room is how many bytes the next chunk is made for.
	room int
	// traces is nil where nothing is traced.
	traces *traces
}

// chunk is a piece of a tape. The hub fills it and publishes frame by frame; what
// is published does not change.
type chunk struct {
	wire  []byte
	notes []note
	// published is how many of notes, and of wire what they cover, may be read.
	published atomic.Int32
	next      atomic.Pointer[chunk]
	// used is how many bytes of wire are filled; the hub's own.
	used int
}

// note says what one frame of a chunk is.
type note struct {
	mark mark
	// end is where the frame ends in the chunk.
	end int
	// at is when its event was read from the store, in Unix nanoseconds.
	at int64
}

const (
	// A tape's chunks grow from minChunk to maxChunk, which one write takes at
	// once; a tape that is one of many has smaller ones: all tapes together have
	// about chunkBudget bytes of room, and a third of that for notes.
	minChunk    = 1 << 10
	maxChunk    = 64 << 10
	chunkBudget = 32 << 20
	// bigFrame is the length from which on a frame is not copied.
	bigFrame = 16 << 10
	// noteEvery is how many bytes of a chunk have room for one note: events are
	// hardly ever smaller.
	noteEvery = 192
)

func newTape() *tape {
	return &tape{tail: newChunk(0), room: minChunk}
}

func newChunk(room int) *chunk {
	return &chunk{wire: make([]byte, room), notes: make([]note, room/noteEvery)}
}

// append puts a frame on the tape, whose event was read at that time, in Unix
// nanoseconds. Up to limit bytes a chunk may be made for. A big frame is a chunk of
// its own, and its bytes are shared by all tapes.
func (t *tape) append(wire []byte, m mark, at int64, limit int) {
	t.frames.Add(1)
	t.bytes.Add(int64(len(wire)))
	if len(wire) >= bigFrame {
		t.link(&chunk{wire: wire, notes: make([]note, 1), used: len(wire)})
		t.tail.notes[0] = note{mark: m, end: len(wire), at: at}
		t.tail.published.Store(1)
		return
	}
	n := int(t.tail.published.Load())
	if n == len(t.tail.notes) || len(wire) > len(t.tail.wire)-t.tail.used {
		t.link(newChunk(max(min(t.room, limit), len(wire), noteEvery)))
		t.room = min(2*t.room, maxChunk)
		n = 0
	}
	c := t.tail
	c.used += copy(c.wire[c.used:], wire)
	c.notes[n] = note{mark: m, end: c.used, at: at}
	c.published.Store(int32(n + 1))
}

func (t *tape) link(c *chunk) {
	t.tail.next.Store(c)
	t.tail = c
}

// run is a piece of a chunk: whole frames.
type run struct {
	wire  []byte
	notes []note
	// start is where wire begins in the chunk that the notes count in.
	start int
}

// after gives what is published behind the first read notes of the chunk.
func (c *chunk) after(read int) run {
	n := int(c.published.Load())
	if read == n {
		return run{}
	}
	start := 0
	if read > 0 {
		start = c.notes[read-1].end
	}
	return run{wire: c.wire[start:c.notes[n-1].end], notes: c.notes[read:n], start: start}
}
