package campaign

import (
	"cmp"
	"context"
	"errors"

	"spillway/dispatch/stream/client"
)

// WebSocket reads events as a web inbox does.
type WebSocket struct {
	// URL is of /ws; Token opens it.
	URL, Token string

	// began is where the stream was when it was first followed.
	began string
}

// Name is websocket.
func (*WebSocket) Name() string { return "websocket" }

// Follow reads until ctx ends or the server refuses for good; a connection that
// is lost is made again.
func (s *WebSocket) Follow(ctx context.Context, sink Sink) error {
	ready := false
	begin := func() {
		if !ready {
			ready = true
			sink.Ready()
		}
	}
	return client.Tail(ctx, client.Options{
		URL: s.URL, Token: s.Token, Repeats: true,
		OnPosition: func(id string) { // the first comes once the socket is level
			s.began = cmp.Or(s.began, id)
			begin()
		},
		OnState: func(state client.State) {
			if !state.Connected {
				ready = false
				sink.Lost(state.Err)
			}
		},
	}, func(e client.Event) error {
		begin()
		sink.See(Event{UID: e.UID, Type: e.Type, Payload: e.Payload})
		return nil
	})
}

// Reread reads all events since Follow began, over one connection. It is called
// once that has ended. Where the connection is lost, or the receiver no longer keeps
// them, it is an error.
func (s *WebSocket) Reread(ctx context.Context, see func(Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := client.Tail(ctx, client.Options{
		URL: s.URL, Token: s.Token, Since: s.began, Repeats: true,
		OnPosition: func(string) { cancel(errLevel) },
		OnState: func(state client.State) {
			if !state.Connected {
				cancel(state.Err)
			}
		},
	}, func(e client.Event) error {
		see(Event{UID: e.UID, Type: e.Type, Payload: e.Payload})
		return nil
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errLevel) {
		return nil
	}
	return err
}

// errLevel ends a reading that has come to the end of the stream.
var errLevel = errors.New("level with the stream")
