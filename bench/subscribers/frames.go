package subscribers

import (
	"encoding/binary"
	"errors"
)

// The opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	// kept is how much of a frame or message is kept, in bytes: the rest of a longer
	// one is passed over.
	kept = 128 << 10
	// spare bounds the buffer that a socket keeps between frames that were cut.
	spare = 4 << 10
	// mostControl bounds the payload of a control frame.
	mostControl = 125
)

var errProtocol = errors.New("the server broke the WebSocket protocol")

// sink takes what a parser finds. The bytes are valid until it returns.
type sink interface {
	// message takes a whole message, or the first kept bytes of it.
	message(payload []byte)
	control(opcode byte, payload []byte)
}

// parser takes the bytes of one socket, wherever they were cut.
type parser struct {
	// rest is the begin of a frame that is not whole yet.
	rest []byte
	// skip is what is to come of a frame and is not kept, in bytes.
	skip uint64
	// fragments is the begin of a message in several frames; fragmented tells that
	// there is one.
	fragments  []byte
	fragmented bool
}

// frame is one as it stands in a buffer, cut to what is kept of it.
type frame struct {
	first   byte
	payload []byte
	// size is what it takes in the buffer, skip what follows and is not kept.
	size int
	skip uint64
}

// readFrame reads the frame that b begins with. want is how many bytes that
// takes; where b has fewer, there is no frame yet, and want may grow with them.
func readFrame(b []byte) (f frame, want int, err error) {
	if len(b) < 2 {
		return f, 2, nil
	}
	header, length := 2, uint64(b[1]&0x7f)
	switch length {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	if len(b) < header {
		return f, header, nil
	}
	switch header {
	case 4:
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		length = binary.BigEndian.Uint64(b[2:])
	}
	control := b[0]&opClose != 0
	// A server masks nothing, and no extension was agreed on.
	if b[1]&0x80 != 0 || b[0]&0x70 != 0 || length>>63 != 0 || control && (length > mostControl || b[0]&0x80 == 0) {
		return f, 0, errProtocol
	}
	take := min(length, kept)
	f = frame{first: b[0], size: header + int(take), skip: length - take}
	if len(b) >= f.size {
		f.payload = b[header:f.size]
	}
	return f, f.size, nil
}

// feed takes the next bytes of the stream.
func (p *parser) feed(data []byte, to sink) error {
	for {
		n := min(p.skip, uint64(len(data)))
		p.skip -= n
		if data = data[n:]; len(data) == 0 {
			return nil
		}
		buffer := data
		if len(p.rest) > 0 {
			var err error
			if data, err = p.fill(data); err != nil {
				return err
			}
			buffer = p.rest
		}
		f, want, err := readFrame(buffer)
		if err != nil {
			return err
		}
		if len(buffer) < want { // and all of data is used up, or to be kept
			if len(p.rest) == 0 {
				p.rest = append(p.rest, data...)
			}
			return nil
		}
		if err := p.take(f, to); err != nil {
			return err
		}
		p.skip = f.skip
		if len(p.rest) == 0 {
			data = data[f.size:]
		} else if p.rest = p.rest[:0]; cap(p.rest) > spare {
			p.rest = nil
		}
	}
}

// fill adds to rest what its frame lacks, and gives what follows.
func (p *parser) fill(data []byte) ([]byte, error) {
	for {
		_, want, err := readFrame(p.rest)
		n := min(want-len(p.rest), len(data))
		if err != nil || n <= 0 {
			return data, err
		}
		p.rest = append(p.rest, data[:n]...)
		data = data[n:]
	}
}

// take passes a frame on, once its message is whole.
func (p *parser) take(f frame, to sink) error {
	final, opcode := f.first&0x80 != 0, f.first&0x0f
	switch {
	case opcode == opClose || opcode == opPing || opcode == opPong:
		to.control(opcode, f.payload)
		return nil
	case opcode > opBinary || p.fragmented != (opcode == opContinuation):
		return errProtocol
	case final && opcode != opContinuation:
		to.message(f.payload)
		return nil
	}
	p.fragmented = true
	p.fragments = append(p.fragments, f.payload[:min(len(f.payload), kept-len(p.fragments))]...)
	if final {
		to.message(p.fragments)
		p.fragments, p.fragmented = nil, false
	}
	return nil
}

// appendMasked adds a frame of a client. Its mask is zero, which a client may
// choose and which costs nothing.
func appendMasked(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, 0x80|opcode)
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}
