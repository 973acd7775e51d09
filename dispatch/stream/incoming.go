package stream

import (
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/fasthttp/websocket"
)

// incoming reads the frames of a client, RFC 6455: masked, a message in one frame
// or in several with control frames between them. A subscriber has next to nothing
// to say, so it holds a small buffer, and of a message only what has arrived.
type incoming struct {
	r io.Reader
	// early is what came right behind the upgrade request.
	early []byte
	// deflate is true where compressed messages were agreed on.
	deflate bool

	buffer     [incomingBuffer]byte
	begin, end int
	// message is what came of a message that is not over, and opcode its kind;
	// opcode is 0 between messages.
	message    []byte
	opcode     int
	compressed bool
}

const (
	// incomingBuffer holds the longest control frame.
	incomingBuffer = 2 + 4 + maxControl
	maxControl     = 125
	// readLimit is the longest message of a client, in bytes.
	readLimit = 8 << 10

	continuation = 0
	maskBit      = 0x80
)

// violation is what a client did that the protocol does not allow: its connection
// is closed with the code.
type violation struct {
	code   int
	reason string
}

func (v *violation) Error() string { return v.reason }

func protocolError(reason string) error {
	return &violation{code: websocket.CloseProtocolError, reason: reason}
}

var errTooLong = &violation{code: websocket.CloseMessageTooBig, reason: "message too long"}

// header is the header of a frame.
type header struct {
	final, compressed bool
	opcode, length    int
	mask              [4]byte
}

func (h *header) control() bool { return h.opcode >= closeOpcode }

// next gives the next control frame or message, valid until it is called again.
// An error is a violation, or what the connection ended with.
func (in *incoming) next() (opcode int, payload []byte, err error) {
	for {
		h, err := in.header()
		if err != nil {
			return 0, nil, err
		}
		if h.control() {
			payload, err := in.control(h)
			return h.opcode, payload, err
		}
		if h.opcode != continuation {
			in.opcode, in.compressed = h.opcode, h.compressed
		}
		if err := in.data(h); err != nil {
			return 0, nil, err
		}
		if h.final {
			return in.whole()
		}
	}
}

// header reads a header and holds it against the protocol.
func (in *incoming) header() (h header, err error) {
	b, err := in.bytes(2)
	if err != nil {
		return h, err
	}
	first, second := b[0], b[1]
	h.final, h.opcode, h.length = first&finalControl != 0, int(first&0xf), int(second&^maskBit)
	h.compressed = first&compressedBit != 0
	if err := in.allowed(&h, first&0x30 != 0, second&maskBit != 0); err != nil {
		return h, err
	}
	if h.length, err = in.length(h.length); err != nil {
		return h, err
	}
	if h.length > readLimit-len(in.message) && !h.control() {
		return h, errTooLong
	}
	b, err = in.bytes(len(h.mask))
	copy(h.mask[:], b)
	return h, err
}

func (in *incoming) allowed(h *header, reserved, masked bool) error {
	started := in.opcode != 0
	switch {
	case reserved || h.compressed && (!in.deflate || h.control() || h.opcode == continuation):
		return protocolError("a reserved bit is set")
	case !masked:
		return protocolError("a frame of a client must be masked")
	case h.control() && (!h.final || h.length > maxControl):
		return protocolError("a control frame must be whole and short")
	}
	switch h.opcode {
	case closeOpcode, pingOpcode, pongOpcode:
	case websocket.TextMessage, websocket.BinaryMessage:
		if started {
			return protocolError("a message began inside another")
		}
	case continuation:
		if !started {
			return protocolError("nothing to continue")
		}
	default:
		return protocolError("unknown kind of frame")
	}
	return nil
}

// length reads the longer forms of a length.
func (in *incoming) length(short int) (int, error) {
	switch short {
	case 126:
		b, err := in.bytes(2)
		if err != nil {
			return 0, err
		}
		return int(binary.BigEndian.Uint16(b)), nil
	case 127:
		b, err := in.bytes(8)
		if err != nil {
			return 0, err
		}
		n := binary.BigEndian.Uint64(b)
		if n>>63 != 0 {
			return 0, protocolError("a length has its highest bit set")
		}
		if n > readLimit {
			return 0, errTooLong
		}
		return int(n), nil
	}
	return short, nil
}

// control reads the payload of a control frame.
func (in *incoming) control(h header) ([]byte, error) {
	payload, err := in.bytes(h.length)
	if err != nil {
		return nil, err
	}
	unmask(payload, h.mask, 0)
	return payload, nil
}

// data reads the payload of a message's frame.
func (in *incoming) data(h header) error {
	for at := 0; at < h.length; {
		if in.begin == in.end {
			if err := in.fill(); err != nil {
				return err
			}
		}
		piece := in.buffer[in.begin:min(in.end, in.begin+h.length-at)]
		in.begin += len(piece)
		unmask(piece, h.mask, at)
		in.message = append(in.message, piece...)
		at += len(piece)
	}
	return nil
}

// whole ends a message.
func (in *incoming) whole() (opcode int, payload []byte, err error) {
	opcode, payload = in.opcode, in.message
	in.opcode, in.message = 0, nil
	if in.compressed {
		if payload, err = inflated(payload, readLimit); errors.Is(err, errInflatedTooLong) {
			return 0, nil, errTooLong
		} else if err != nil {
			return 0, nil, &violation{code: websocket.CloseInvalidFramePayloadData, reason: "cannot be decompressed"}
		}
	}
	if opcode == websocket.TextMessage && !utf8.Valid(payload) {
		return 0, nil, &violation{code: websocket.CloseInvalidFramePayloadData, reason: "text is not UTF-8"}
	}
	return opcode, payload, nil
}

// bytes gives the next n bytes, at most incomingBuffer, valid until the next read.
func (in *incoming) bytes(n int) ([]byte, error) {
	for in.end-in.begin < n {
		if in.begin > 0 {
			in.end = copy(in.buffer[:], in.buffer[in.begin:in.end])
			in.begin = 0
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	b := in.buffer[in.begin : in.begin+n]
	in.begin += n
	return b, nil
}

// fill reads once, behind what is in the buffer.
func (in *incoming) fill() error {
	if in.begin == in.end {
		in.begin, in.end = 0, 0
	}
	if len(in.early) > 0 {
		n := copy(in.buffer[in.end:], in.early)
		in.end, in.early = in.end+n, in.early[n:]
		return nil
	}
	n, err := in.r.Read(in.buffer[in.end:])
	in.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// unmask takes the mask off a payload's piece that begins at the given byte.
func unmask(b []byte, mask [4]byte, at int) {
	for i := range b {
		b[i] ^= mask[(at+i)&3]
	}
}

// closeCode is the code a close frame says; noStatus for none.
func closeCode(payload []byte) (int, error) {
	switch {
	case len(payload) == 0:
		return noStatus, nil
	case len(payload) == 1:
		return 0, protocolError("a close code is two bytes")
	}
	code := int(binary.BigEndian.Uint16(payload))
	if !utf8.Valid(payload[2:]) {
		return 0, &violation{code: websocket.CloseInvalidFramePayloadData, reason: "a reason is not UTF-8"}
	}
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return code, nil
	}
	return 0, protocolError("unknown close code")
}
