package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"spillway/dispatch/store"
)

func TestDeflateOffered(t *testing.T) {
	for header, want := range map[string]bool{
		"":                   false,
		"permessage-deflate": true,
		"permessage-deflate; client_max_window_bits":                                       true,
		"x-webkit-deflate-frame, permessage-deflate;client_no_context_takeover":            true,
		"permessage-deflate; server_max_window_bits=10":                                    false,
		"permessage-deflate; server_max_window_bits=10, permessage-deflate":                true,
		"permessage-deflate; client_max_window_bits=9; server_max_window_bits=15":          true,
		"permessage-deflate; client_max_window_bits=7":                                     false,
		"permessage-deflate; server_no_context_takeover=1":                                 false,
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover":       false,
		"permessage-deflate; fast":                                                         false,
		"permessage-deflated":                                                              false,
		"permessage-bzip2":                                                                 false,
		"permessage-deflate; server_no_context_takeover; client_max_window_bits=15, other": true,
	} {
		if got := deflateOffered(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// deflating dials as browsers do, who offer compression.
func (r *rig) deflating(query string) *peer {
	r.t.Helper()
	dialer := websocket.Dialer{EnableCompression: true}
	conn, response, err := dialer.Dial("ws://"+r.host+"/ws?"+query, http.Header{"Authorization": {"Bearer " + r.token(nil)}})
	if err != nil {
		r.t.Fatal(err)
	}
	if got := response.Header.Get("Sec-WebSocket-Extensions"); !strings.Contains(got, "server_no_context_takeover") {
		r.t.Fatalf("extensions %q", got)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	return &peer{t: r.t, conn: conn}
}

// TestDeflate: those who take compressed frames get the same events as all others,
// in fewer bytes where that pays, live and caught up.
func TestDeflate(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), nil)
	large := `{"x":"` + strings.Repeat("a message of a history, ", 5000) + `"}`
	payloads := []string{`{"small":1}`, large, `{"noise":"` + noise(20_000) + `"}`, `{"small":2}`}
	plain, deflating := r.open(""), r.deflating("")
	for _, p := range []*peer{plain, deflating} {
		p.live()
	}
	var all []store.Entry
	read := func(p *peer) {
		for i, want := range payloads {
			if got := p.event(); string(got.Payload) != want || got.UID != all[i].UID {
				t.Fatalf("event %d is not what was added", i)
			}
		}
	}
	caughtUp := func(open func(string) *peer) float64 {
		before := testutil.ToFloat64(r.server.metrics.bytes)
		p := open("since=0")
		read(p)
		p.live() // what was written is counted by then
		return testutil.ToFloat64(r.server.metrics.bytes) - before
	}
	for i, payload := range payloads {
		all = append(all, r.feed.add(i%2, "message:new", payload))
	}
	read(plain)
	read(deflating)
	full := caughtUp(r.open)
	if got := caughtUp(r.deflating); got > full-float64(len(large))*9/10 {
		t.Errorf("caught up with %v bytes, and with %v compressed", full, got)
	}
}

// noise is text that compresses badly.
func noise(n int) string {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[random.IntN(64)]
	}
	return string(b)
}

// TestDeflatedFrames: what is compressed is shorter by what makes it worth it, and
// is made once.
func TestDeflatedFrames(t *testing.T) {
	for name, test := range map[string]struct {
		payload string
		want    bool
	}{
		"small":                {`{"a":"` + strings.Repeat("a", deflateFrom/2) + `"}`, false},
		"large":                {`{"a":"` + strings.Repeat("a", 2*deflateFrom) + `"}`, true},
		"large that stays so":  {`{"a":"` + noise(2*deflateFrom) + `"}`, false},
		"above 64 KiB, packed": {`{"a":"` + noise(40<<10) + strings.Repeat("a", 100<<10) + `"}`, true},
	} {
		f := frame{entry: &store.Entry{UID: uuid.New(), Type: "message:new", Payload: []byte(test.payload)}}
		plain, packed := f.wire(false), f.wire(true)
		if got := packed[0]&compressedBit != 0; got != test.want {
			t.Errorf("%s: compressed is %v, want %v", name, got, test.want)
		}
		if again := f.wire(true); &again[0] != &packed[0] {
			t.Errorf("%s: made twice", name)
		}
		if !test.want {
			continue
		}
		text, err := inflated(textOf(packed), 1<<20)
		if err != nil || !bytes.Equal(text, textOf(plain)) {
			t.Errorf("%s: does not come back as it was: %v", name, err)
		}
	}
}

// TestCompressedClient: a client may compress what it says, and cannot make it
// larger than what it may say.
func TestCompressedClient(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	say := func(p *peer, text string) {
		t.Helper()
		p.conn.EnableWriteCompression(true)
		if err := p.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	dialer := websocket.Dialer{EnableCompression: true}
	conn, _, err := dialer.Dial("ws://"+r.host+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	p := &peer{t: t, conn: conn}
	say(p, `{"type":"auth","payload":{"token":"`+r.token(nil)+`"}}`)
	p.live()
	say(p, `{"type":"hello"}`)
	if m := p.next(); m.Type != "error" {
		t.Errorf("answer %+v", m)
	}
	say(p, strings.Repeat("a", 100*readLimit))
	p.wantClose(websocket.CloseMessageTooBig)
}

// BenchmarkDeflate is what compression costs an event, once, and saves a socket.
func BenchmarkDeflate(b *testing.B) {
	const message = `{"id":"6f0c4b9e-6a53-5d0c-9a3e-3a1f5b7c2d%02x","type":"text","content":{"text":"Hello, is it still there? %d"},"wamid":"wamid.HBgL%x"},`
	for _, messages := range []int{3, 6, 12, 100, 5000} {
		var text strings.Builder
		random := rand.New(rand.NewPCG(1, 2))
		for i := range messages {
			fmt.Fprintf(&text, message, i%256, random.Int(), random.Int64())
		}
		entry := store.Entry{UID: uuid.New(), Type: "webhook:history", Payload: []byte(`{"value":[` + text.String() + `{}]}`)}
		plain := appendEvent(nil, mark{}, &entry)
		b.Run(fmt.Sprintf("%d-bytes", len(plain)), func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			var packed []byte
			for b.Loop() {
				packed = deflated(plain)
			}
			b.ReportMetric(float64(len(packed))/float64(len(plain)), "of-the-size")
		})
	}
}
