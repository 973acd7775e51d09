package stream

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/fasthttp/websocket"
	"github.com/klauspost/compress/flate"
)

// Compression is the permessage-deflate of RFC 7692 without context takeover: a
// context would be one a socket, some 300 KiB, and no two sockets could be sent
// the same frame. So each frame is compressed by itself, once for all sockets
// that take it so, and only where that pays: see BenchmarkDeflate.
const (
	// deflateFrom is the least length, in bytes, of a frame that is compressed.
	deflateFrom = 1 << 10
	// deflateGain is the least part of a frame, one in so many, that compression
	// has to save.
	deflateGain = 4

	compressedBit = 0x40
)

// deflateOffered reports whether one of the offers in a Sec-WebSocket-Extensions
// header can be accepted: any whose parameters are known, but for a window of our own
// that is smaller than the largest, which this cannot keep.
func deflateOffered(header string) bool {
	for offer := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(offer, ";")
		if strings.TrimSpace(name) == "permessage-deflate" && deflateAcceptable(parameters) {
			return true
		}
	}
	return false
}

// deflateAcceptable judges the parameters of one offer: RFC 7692, 7.1.
func deflateAcceptable(parameters string) bool {
	if parameters == "" {
		return true
	}
	seen := make(map[string]bool)
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, valued := strings.Cut(strings.TrimSpace(parameter), "=")
		bits, err := strconv.Atoi(strings.Trim(value, `"`))
		inRange := err == nil && bits >= 8 && bits <= 15
		known := false
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
			known = !valued
		case "client_max_window_bits":
			known = !valued || inRange
		case "server_max_window_bits":
			known = bits == 15
		}
		if !known || seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}

// deflateTail ends what a flush leaves; it is not sent.
var deflateTail = []byte{0, 0, 0xff, 0xff}

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic("stream: deflate level: " + err.Error()) // the level is a constant
	}
	return w
}}

// deflated gives a plain frame compressed, or as it is where little is gained.
func deflated(plain []byte) []byte {
	text := textOf(plain)
	var out bytes.Buffer
	out.Grow(len(text) / 2)
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&out)
	defer w.Reset(nil) // the pool keeps nothing of it
	if _, err := w.Write(text); err != nil {
		return plain
	}
	if err := w.Flush(); err != nil {
		return plain
	}
	body := bytes.TrimSuffix(out.Bytes(), deflateTail)
	if len(body) > len(text)-len(text)/deflateGain {
		return plain
	}
	wire := appendHeader(make([]byte, 0, maxHeader+len(body)), len(body))
	wire[0] |= compressedBit
	return append(wire, body...)
}

// inflated gives a message of a client as it was before it was compressed, up to
// limit bytes. The error is a *violation.
func inflated(body []byte, limit int) ([]byte, error) {
	// A final empty block behind the tail ends the stream for the reader.
	ended := io.MultiReader(bytes.NewReader(body), bytes.NewReader(deflateTail), strings.NewReader("\x01\x00\x00\xff\xff"))
	r := flate.NewReader(ended)
	defer func() { _ = r.Close() }()
	text, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, &violation{code: websocket.CloseInvalidFramePayloadData, reason: "a message that cannot be decompressed"}
	case len(text) > limit:
		return nil, errTooLong
	}
	return text, nil
}
