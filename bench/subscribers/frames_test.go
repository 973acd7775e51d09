package subscribers

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// heard is a sink that keeps what it gets; control frames as opcode and payload.
type heard []string

func (h *heard) message(payload []byte) { *h = append(*h, string(payload)) }
func (h *heard) control(opcode byte, payload []byte) {
	*h = append(*h, string(append([]byte{opcode}, payload...)))
}

// stream is one of everything, and what is heard of it.
func stream() (wire []byte, want heard) {
	add := func(first byte, payload string) { wire = appendFrame(wire, first, payload) }
	for _, n := range []int{0, 1, 125, 126, 127, 1000, 0xffff, 0x10000, 200_000} {
		payload := strings.Repeat("abcdefgh", n/8+1)[:n]
		add(finalText, payload)
		want = append(want, payload[:min(n, kept)])
	}
	add(final|opPing, "are you there?")
	want = append(want, "\x09are you there?")
	add(opText, "in ")
	add(final|opPong, "") // between the frames of a message
	add(opContinuation, "three ")
	add(final|opContinuation, "frames")
	want = append(want, "\x0a", "in three frames")
	add(opBinary, strings.Repeat("x", kept-1))
	add(opContinuation, "yz")
	add(final|opContinuation, strings.Repeat("z", 2*kept))
	want = append(want, strings.Repeat("x", kept-1)+"y")
	add(final|opClose, "\x03\xe8bye")
	return wire, append(want, "\x08\x03\xe8bye")
}

// TestParser: the same is heard wherever the stream is cut.
func TestParser(t *testing.T) {
	wire, want := stream()
	for _, size := range []int{1, 2, 3, 5, 7, 11, 100, 126, 1000, 4095, 16 << 10, 70_000, len(wire)} {
		var p parser
		var got heard
		for from := 0; from < len(wire); from += size {
			if err := p.feed(wire[from:min(from+size, len(wire))], &got); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("cut into %d bytes: %d messages, want %d", size, len(got), len(want))
		}
		if len(p.rest) > 0 || p.skip > 0 || cap(p.rest) > spare || p.fragments != nil {
			t.Errorf("cut into %d bytes: %d bytes kept, %d to skip", size, cap(p.rest), p.skip)
		}
	}
}

func TestParserRefuses(t *testing.T) {
	for name, wire := range map[string][]byte{
		"a masked frame":               {finalText, 0x80, 0, 0, 0, 0},
		"an extension":                 {finalText | 0x40, 0},
		"a fragmented ping":            {opPing, 0},
		"a long ping":                  {final | opPing, 126, 0, 200},
		"an unknown opcode":            {final | 3, 0},
		"an unknown control opcode":    {final | 0xb, 0},
		"a continuation of nothing":    {final | opContinuation, 0},
		"a message within another":     {opText, 0, finalText, 0},
		"a length with the top bit":    {finalText, 127, 0x80, 0, 0, 0, 0, 0, 0, 0},
		"a fragment of an unknown one": {3, 0},
	} {
		var got heard
		if err := new(parser).feed(wire, &got); !errors.Is(err, errProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParser: no stream makes it panic, and one cut differently is heard the same.
func FuzzParser(f *testing.F) {
	wire, _ := stream()
	f.Add(wire[:3000], uint8(7))
	f.Fuzz(func(t *testing.T, wire []byte, size uint8) {
		var whole, parts parser
		var want, got heard
		wantErr := whole.feed(wire, &want)
		var err error
		for step := int(size) + 1; err == nil && len(wire) > 0; wire = wire[min(step, len(wire)):] {
			err = parts.feed(wire[:min(step, len(wire))], &got)
		}
		if !errors.Is(err, wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("%v, want %v; %d messages, want %d", err, wantErr, len(got), len(want))
		}
	})
}

// TestParserAllocations: what is not cut costs no memory.
func TestParserAllocations(t *testing.T) {
	var p parser
	data := append(text("one"), text(strings.Repeat("two", 100))...)
	to := ignore{}
	if n := testing.AllocsPerRun(100, func() { _ = p.feed(data, to) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

type ignore struct{}

func (ignore) message([]byte)       {}
func (ignore) control(byte, []byte) {}

func BenchmarkParser(b *testing.B) {
	var data []byte
	for range 50 {
		data = append(data, text(strings.Repeat("x", 600))...)
	}
	var p parser
	for b.Loop() {
		_ = p.feed(data, ignore{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50, "ns/frame")
}
