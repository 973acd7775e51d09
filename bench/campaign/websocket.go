package campaign

import (
	"context"

	"spillway/dispatch/stream/client"
)

// WebSocket reads events as a web inbox does.
type WebSocket struct {
	// URL is of /ws; Token opens it.
	URL, Token string
}

// Name is websocket.
func (WebSocket) Name() string { return "websocket" }

// Follow reads until ctx ends or the server refuses for good; a connection that
// is lost is made again.
func (s WebSocket) Follow(ctx context.Context, sink Sink) error {
	ready := false
	begin := func() {
		if !ready {
			ready = true
			sink.Ready()
		}
	}
	return client.Tail(ctx, client.Options{
		URL: s.URL, Token: s.Token, Repeats: true,
		OnPosition: func(string) { begin() }, // the first comes once the socket is level
		OnState: func(state client.State) {
			if !state.Connected && ready {
				ready = false
				sink.Lost()
			}
		},
	}, func(e client.Event) error {
		begin()
		sink.See(Event{UID: e.UID, Type: e.Type, Payload: e.Payload})
		return nil
	})
}
