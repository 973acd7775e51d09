package stream

import (
	"io"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/goccy/go-json"
)

// talk is the reader's side of what the peer says: the token, once, and nothing
// else that would be understood.
type talk struct {
	socket *socket
	// judged is true once a token was looked at.
	judged bool

	// In each window of talkWindow so many messages are taken; then the reader
	// rests until the window ends, and with it whoever sends them.
	window time.Time
	count  int
}

const (
	talkWindow   = time.Second
	talkMessages = 8
)

// read is the reader: it answers pings, minds the peer's silence, and passes on
// what the peer says. It ends with the connection.
func (k *socket) read() {
	defer close(k.done)
	k.peer = abnormal
	t := talk{socket: k}
	k.ws.SetPingHandler(func(data string) error {
		t.pace()
		k.heard()
		k.reply(appendControl(nil, pongOpcode, []byte(data)))
		return nil
	})
	k.ws.SetPongHandler(func(string) error { k.heard(); return nil })
	k.ws.SetCloseHandler(func(code int, _ string) error { k.peer = code; return nil })
	k.heard()
	if k.request.token != "" {
		t.token(k.request.token)
	}
	for {
		kind, data, err := k.message()
		if err != nil {
			return
		}
		if k.heard() {
			t.receive(kind, data)
		}
	}
}

// message reads the next message. One that is too long asks for the ending.
func (k *socket) message() (kind int, data []byte, err error) {
	for {
		kind, r, err := k.ws.NextReader()
		if err != nil {
			return 0, nil, err
		}
		data, err := io.ReadAll(io.LimitReader(r, readLimit+1))
		if err != nil {
			return 0, nil, err
		}
		if len(data) <= readLimit {
			return kind, data, nil
		}
		select {
		case k.quit <- &ending{code: websocket.CloseMessageTooBig, reason: "message too long"}:
			k.queue.signal()
		default:
		}
	}
}

// heard puts off the time at which a silent peer is given up. False means that
// the socket is ending: there is nothing more to say.
func (k *socket) heard() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ending {
		_ = k.ws.SetReadDeadline(time.Now().Add(k.server.cfg.PingInterval + k.server.cfg.PongTimeout))
	}
	return !k.ending
}

// reply hands the writer a frame to send; a peer that asks faster than it reads
// gets no answer.
func (k *socket) reply(wire []byte) {
	k.mu.Lock()
	if len(k.replies) < maxReplies {
		k.replies = append(k.replies, wire)
	}
	k.mu.Unlock()
	k.queue.signal()
}

func (t *talk) receive(kind int, data []byte) {
	t.pace()
	token, problem := parseMessage(kind, data)
	switch {
	case !t.judged && problem == "":
		t.token(token)
	case !t.judged:
		t.judge(verdict{reason: "the first message must bring the token"})
	case problem == "":
		t.socket.reply(appendError(nil, "already authenticated"))
	default:
		t.socket.reply(appendError(nil, problem))
	}
}

// token verifies a token and tells the writer.
func (t *talk) token(token string) {
	claims, err := t.socket.server.verifier.Load().verify(token)
	if err != nil {
		t.judge(verdict{reason: "token not accepted"})
		return
	}
	t.judge(verdict{claims: claims})
}

func (t *talk) judge(v verdict) {
	t.judged = true
	t.socket.auth <- v
}

func (t *talk) pace() {
	now := time.Now()
	if now.Sub(t.window) >= talkWindow {
		t.window, t.count = now, 0
	}
	if t.count++; t.count <= talkMessages {
		return
	}
	rest := time.NewTimer(talkWindow - now.Sub(t.window))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-t.socket.server.ctx.Done():
	}
}

// parseMessage reads a message of a client. The one there is:
//
//	{"type":"auth","payload":{"token":"…"}}
//
// For all else it says what is wrong.
func parseMessage(kind int, data []byte) (token, problem string) {
	if kind != websocket.TextMessage {
		return "", "binary messages are not understood"
	}
	var message struct {
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if !json.Valid(data) || json.Unmarshal(data, &message) != nil {
		return "", "not a JSON object with a type"
	}
	if message.Type != "auth" {
		return "", "unknown type of message"
	}
	var payload struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(message.Payload, &payload) != nil || payload.Token == "" {
		return "", "auth needs a payload with a token"
	}
	return payload.Token, ""
}
