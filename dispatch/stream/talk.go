package stream

import (
	"errors"
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

	// In each window of talkWindow so many messages, pings and pongs are taken; then
	// the reader rests until the window ends, and with it whoever sends them.
	window time.Time
	count  int
	// floods are the windows in a row with more than that.
	floods int
}

const (
	talkWindow   = time.Second
	talkMessages = 8
	// maxFloods is how many such windows in a row end the socket: what a peer has
	// sent by then takes long to be read, even once it is gone.
	maxFloods = 5
)

// read is the reader: it answers pings, minds the peer's silence, and passes on
// what the peer says. It ends with the connection. judged is true where the peer
// has shown its token already.
func (k *socket) read(judged bool) {
	defer k.finished()
	t := talk{socket: k, judged: judged}
	k.heard()
	for {
		opcode, payload, err := k.frames.next()
		var broken *violation
		switch {
		case errors.As(err, &broken):
			k.quit(&ending{code: broken.code, reason: broken.reason})
			k.drain()
			return
		case err != nil:
			k.quit(&ending{code: abnormal, silent: true})
			return
		case opcode == closeOpcode:
			k.quit(&ending{code: closeCode(payload)})
			return
		}
		if k.heard() {
			t.receive(opcode, payload)
		}
	}
}

// quit asks the writer for an ending; the first one counts.
func (k *socket) quit(end *ending) {
	k.mu.Lock()
	if k.mail.quit == nil {
		k.mail.quit = end
	}
	k.mu.Unlock()
	k.wake()
}

// drain drops what the peer still sends, until it closes or the writer's deadline
// comes: a connection that is closed with unread bytes is reset, and the peer
// would never see the close frame.
func (k *socket) drain() {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	for {
		if _, err := k.conn.Read((*pooled)[:batchBytes]); err != nil {
			return
		}
		time.Sleep(time.Millisecond) // no more of the processor than that
	}
}

// heard puts off the time at which a silent peer is given up. False means that
// the socket is ending: there is nothing more to say.
func (k *socket) heard() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.mail.closing {
		_ = k.conn.SetReadDeadline(time.Now().Add(k.server.cfg.PingInterval + k.server.cfg.PongTimeout))
	}
	return !k.mail.closing
}

// reply hands the writer a frame to send; a peer that asks faster than it reads
// gets no answer.
func (k *socket) reply(wire []byte) {
	k.mu.Lock()
	if len(k.mail.replies) < maxReplies {
		k.mail.replies = append(k.mail.replies, wire)
	}
	k.mu.Unlock()
	k.wake()
}

func (t *talk) receive(opcode int, payload []byte) {
	t.pace()
	switch opcode {
	case pingOpcode:
		t.socket.reply(appendControl(nil, pongOpcode, payload))
	case pongOpcode:
	default:
		t.message(opcode, payload)
	}
}

func (t *talk) message(opcode int, payload []byte) {
	token, problem := parseMessage(opcode, payload)
	switch {
	case !t.judged && problem == "":
		t.show(token)
	case !t.judged:
		t.judged = true
		t.socket.quit(badToken("the first message must bring the token"))
	case problem == "":
		t.socket.reply(appendError(nil, "already authenticated"))
	default:
		t.socket.reply(appendError(nil, problem))
	}
}

// show hands the writer the token.
func (t *talk) show(token string) {
	t.judged = true
	k := t.socket
	k.mu.Lock()
	k.mail.token, k.mail.asked = token, true
	k.mu.Unlock()
	k.wake()
}

func (t *talk) pace() {
	now := time.Now()
	if since := now.Sub(t.window); since >= talkWindow {
		if t.count <= talkMessages || since >= 2*talkWindow {
			t.floods = 0
		}
		t.window, t.count = now, 0
	}
	if t.count++; t.count <= talkMessages {
		return
	}
	if t.floods++; t.floods >= maxFloods {
		t.socket.quit(&ending{code: websocket.ClosePolicyViolation, reason: "too many messages"})
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
