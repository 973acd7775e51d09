package stream

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/fasthttp/websocket"
)

// clientFrames reads what a client sends. It never writes: a reader that answers a
// violation by itself would do so between the frames of the writer, or after them.
//
//	FIN·RSV·OPCODE  MASK·LENGTH  [two or eight bytes of length]  key, 4 bytes  payload
//
// The first reserved bit is that of a compressed message, where compression was
// agreed on; the others are 0. See RFC 6455, 5.2, and RFC 7692, 7.2.3.
type clientFrames struct {
	from io.Reader
	// deflate is true where compression was agreed on.
	deflate bool
	// header is room for the longest.
	header [14]byte
	// open is true between the frames of a message: kind is its opcode, message
	// what came of it, and size what it counts for.
	open       bool
	compressed bool
	kind       int
	message    []byte
	size       int
}

// violation is what a client must not send, with the code to close with.
type violation struct {
	code   int
	reason string
}

func (v *violation) Error() string { return fmt.Sprintf("close %d: %s", v.code, v.reason) }

func wrong(reason string) error {
	return &violation{code: websocket.CloseProtocolError, reason: reason}
}

const (
	continuation = 0
	controlBit   = 0x8
	finalBit     = 0x80
	reservedBits = 0x30
	opcodeBits   = 0x0f
	maskBit      = 0x80
	lengthBits   = 0x7f
	maskLength   = 4
	maxControl   = 125
	// readLimit is the longest message of a client, in bytes.
	readLimit = 8 << 10
	// fragmentWeight is what a frame counts for at least against readLimit, or empty
	// ones could go on for ever.
	fragmentWeight = 8
	// readStep is how much of a payload is allocated before it is there.
	readStep = 512
)

// frameHeader is the header of a frame, unmasked from here on.
type frameHeader struct {
	final      bool
	compressed bool
	opcode     int
	length     uint64
	key        [maskLength]byte
}

func (h *frameHeader) control() bool { return h.opcode&controlBit != 0 }

// next gives the next whole message, or the next control frame, which may come
// between the frames of a message. The payload is the caller's to keep. The error
// is a *violation, or that of the connection; nothing can be read after one.
func (f *clientFrames) next() (opcode int, payload []byte, err error) {
	for {
		h, err := f.readHeader()
		if err != nil {
			return 0, nil, err
		}
		if h.control() {
			payload, err := f.readPayload(nil, &h)
			if err == nil && h.opcode == closeOpcode {
				err = checkClose(payload)
			}
			return h.opcode, payload, err
		}
		if err := f.join(&h); err != nil {
			return 0, nil, err
		}
		if f.message, err = f.readPayload(f.message, &h); err != nil {
			return 0, nil, err
		}
		if h.final {
			return f.take()
		}
	}
}

// join adds the frame to its message, before its payload is read.
func (f *clientFrames) join(h *frameHeader) error {
	switch {
	case h.opcode == continuation && !f.open:
		return wrong("a continuation of nothing")
	case h.opcode != continuation && f.open:
		return wrong("a message within a message")
	case h.opcode != continuation:
		f.open, f.kind, f.size, f.compressed = true, h.opcode, 0, h.compressed
	}
	if h.length > readLimit {
		return errTooLong
	}
	// A whole message in one frame may have all of the limit.
	if f.size += max(int(h.length), fragmentWeight); f.size > readLimit {
		return errTooLong
	}
	return nil
}

var errTooLong = &violation{code: websocket.CloseMessageTooBig, reason: "message too long"}

// take ends the message.
func (f *clientFrames) take() (kind int, message []byte, err error) {
	kind, message = f.kind, f.message
	f.open, f.message = false, nil
	if f.compressed {
		if message, err = inflated(message, readLimit); err != nil {
			return 0, nil, err
		}
	}
	if kind == websocket.TextMessage && !utf8.Valid(message) {
		return 0, nil, &violation{code: websocket.CloseInvalidFramePayloadData, reason: "text that is not UTF-8"}
	}
	return kind, message, nil
}

func (f *clientFrames) readHeader() (h frameHeader, err error) {
	b := f.header[:]
	if _, err := io.ReadFull(f.from, b[:2]); err != nil {
		return h, fmt.Errorf("read frame: %w", err)
	}
	h = frameHeader{
		final: b[0]&finalBit != 0, compressed: b[0]&compressedBit != 0,
		opcode: int(b[0] & opcodeBits), length: uint64(b[1] & lengthBits),
	}
	if err := h.check(b[0], b[1], f.deflate); err != nil {
		return h, err
	}
	more := 0
	switch h.length {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	b = b[2 : 2+more+maskLength]
	if _, err := io.ReadFull(f.from, b); err != nil {
		return h, fmt.Errorf("read frame: %w", err)
	}
	switch more {
	case 2:
		h.length = uint64(binary.BigEndian.Uint16(b))
	case 8:
		h.length = binary.BigEndian.Uint64(b)
	}
	if h.length > math.MaxInt64 {
		return h, wrong("a length above 63 bits")
	}
	copy(h.key[:], b[more:])
	return h, nil
}

// check judges the first two bytes.
func (h *frameHeader) check(first, second byte, deflate bool) error {
	starts := h.opcode != continuation && !h.control()
	switch {
	case first&reservedBits != 0, h.compressed && (!deflate || !starts):
		return wrong("a reserved bit is set")
	case h.opcode&^controlBit > websocket.BinaryMessage:
		return wrong("a reserved opcode")
	case second&maskBit == 0:
		return wrong("a frame that is not masked")
	case h.control() && !h.final:
		return wrong("a control frame in fragments")
	case h.control() && h.length > maxControl:
		return wrong("a control frame that is too long")
	}
	return nil
}

// readPayload appends the payload of a frame, unmasked. It allocates as bytes come,
// not as the header promises.
func (f *clientFrames) readPayload(b []byte, h *frameHeader) ([]byte, error) {
	for read := 0; read < int(h.length); {
		step := min(int(h.length)-read, readStep)
		b = slices.Grow(b, step)
		part := b[len(b) : len(b)+step]
		n, err := io.ReadAtLeast(f.from, part, 1)
		if err != nil {
			return nil, fmt.Errorf("read payload: %w", err)
		}
		for i := range part[:n] {
			part[i] ^= h.key[(read+i)%maskLength]
		}
		b, read = b[:len(b)+n], read+n
	}
	return b, nil
}

// checkClose judges the payload of a close frame: none, or a code that may be sent
// and a reason.
func checkClose(payload []byte) error {
	switch {
	case len(payload) == 0:
		return nil
	case len(payload) == 1:
		return wrong("half a close code")
	case !validCloseCode(closeCode(payload)):
		return wrong("a close code that must not be sent")
	case !utf8.Valid(payload[2:]):
		return &violation{code: websocket.CloseInvalidFramePayloadData, reason: "a reason that is not UTF-8"}
	}
	return nil
}

// closeCode is the code in a close frame that was checked.
func closeCode(payload []byte) int {
	if len(payload) < 2 {
		return noStatus
	}
	return int(binary.BigEndian.Uint16(payload))
}

// validCloseCode tells the codes that may stand in a frame: those that RFC 6455,
// 7.4, and IANA name, and the ranges of libraries and applications.
func validCloseCode(code int) bool {
	switch code {
	case 1004, noStatus, abnormal:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}
