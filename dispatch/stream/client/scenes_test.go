package client

import (
	"fmt"
	"testing"

	"github.com/fasthttp/websocket"
)

// scene is a server's play and what a client makes of it.
type scene struct {
	parts   []func(*websocket.Conn)
	options string
	got     string
	since   []string
	told    string
	error   string
	last    string
	check   func(*testing.T, outcome)
}

func scenes() map[string]scene {
	const (
		ends    = " closed"
		retries = "waiting connecting "
	)
	last := greeted("T0", send(0, "", text("z", 99)))
	return map[string]scene{
		"resumes": {
			parts: []func(*websocket.Conn){
				greeted("T0", send(0, "", position)),
				greeted("T0", send(4008, "b", text("a", 1), `{"type":"error","payload":{"message":"x"}}`, text("b", 2))),
				nil,
				greeted("T0", send(1012, "", text("c", 2), position)),
				greeted("T0", send(1012, "", text("d", 1), text("e", 3))),
				last,
			},
			options: `since: '0'`,
			got:     "[1 2 3 99]", since: []string{"0", "p", "b", "b", "p", "e"}, last: "z",
			told: "connecting open " + retries + "open error x " + retries + retries + "open " + retries + "open " + retries + "open" + ends,
		},
		"from now on": {parts: []func(*websocket.Conn){last}, got: "[99]", since: []string{""}, last: "z"},
		"gap": {
			parts:   []func(*websocket.Conn){greeted("T0", send(4009, "old")), last},
			options: `since: 'x'`,
			got:     "[99]", since: []string{"x", "0"}, last: "z",
			told: "connecting gap old x " + retries + "open" + ends,
		},
		"gap that is awaited and ends it": {
			parts:   []func(*websocket.Conn){greeted("T0", send(4009, "old"))},
			options: `since: 'x', onGap: async () => { await pause(5); throw new Error('no gaps here') }`,
			got:     "[]", since: []string{"x"}, last: "0", error: "Error: no gaps here",
		},
		"token refused": {
			parts: []func(*websocket.Conn){greeted("T0", send(4001, "token not accepted"))},
			got:   "[]", since: []string{""},
			error: "StreamError: connection closed: 4001 token not accepted", told: "connecting" + ends,
		},
		"token late": {
			parts: []func(*websocket.Conn){greeted("T0", send(4001, "no token came in time")), last},
			got:   "[99]", since: []string{"", ""}, last: "z",
		},
		"fresh tokens": {
			parts: []func(*websocket.Conn){
				greeted("T1", send(4001, "token expired", text("a", 1))), greeted("T3", send(0, "")), greeted("T3", send(4001, "")),
				greeted("T4", send(0, "", text("z", 99))),
			},
			// The second one cannot be had.
			options: `token: async (signal) => {
				calls.push(String(signal instanceof AbortSignal))
				if (calls.length === 2) throw new Error('offline')
				return 'T' + calls.length
			}`,
			got: "[1 99]", since: []string{"", "a", "a", "a"}, last: "z",
			check: func(t *testing.T, got outcome) {
				if fmt.Sprint(got.Calls) != "[true true true true]" {
					t.Errorf("calls for a token: %v", got.Calls)
				}
			},
		},
		"token that never comes": {
			parts:   []func(*websocket.Conn){last},
			options: `dialTimeout: 600, token: () => calls.push('') === 1 ? new Promise(() => {}) : 'T0'`,
			got:     "[99]", since: []string{""}, last: "z",
		},
		"closed while it fetches a token": {
			parts:   []func(*websocket.Conn){last},
			options: `token: (signal) => { setTimeout(() => subscription.close(), 5); return new Promise(() => {}) }`,
			got:     "[]", told: "connecting closed",
		},
		"closed while it waits": {
			parts:   []func(*websocket.Conn){nil},
			options: `minRetry: 60_000, maxRetry: 60_000, onState: ({ state }) => state === 'waiting' && setTimeout(() => subscription.close(), 5)`,
			got:     "[]", since: []string{""},
		},
		"closed while it handles": {
			parts: []func(*websocket.Conn){greeted("T0", send(0, "", text("a", 1), text("b", 2), text("c", 3)))},
			options: `onEvent: async (event) => { if (event.payload.n === 2) subscription.close(); await handle(event, pause(20)) },
				onPosition: async (id) => { await pause(1); calls.push(id) }`,
			got: "[1 2]", since: []string{""}, last: "b", error: "",
			check: func(t *testing.T, got outcome) {
				if fmt.Sprint(got.Calls) != "[a b]" {
					t.Errorf("positions %v", got.Calls)
				}
			},
		},
		"in order": {
			parts:   []func(*websocket.Conn){greeted("T0", send(0, "", text("a", 1), text("b", 2), position, text("c", 3), text("z", 99)))},
			options: `onEvent: (event) => handle(event, pause(20 - 5 * event.payload.n))`,
			got:     "[1 2 3 99]", since: []string{""}, last: "z",
			check: func(t *testing.T, got outcome) {
				if got.Most != 1 {
					t.Errorf("%d handlers at once", got.Most)
				}
			},
		},
		"handler fails": {
			parts:   []func(*websocket.Conn){greeted("T0", send(0, "", text("a", 1), text("b", 2), text("c", 3)))},
			options: `onEvent: async (event) => { await handle(event); if (event.payload.n === 2) throw new Error('disk full') }`,
			got:     "[1 2]", since: []string{""}, last: "a", error: "Error: disk full", told: "connecting open" + ends,
		},
		"state callback fails": {
			parts:   []func(*websocket.Conn){last},
			options: `onState: ({ state }) => { if (state === 'open') throw new Error('no') }`,
			got:     "[]", since: []string{""}, error: "Error: no",
		},
		"silent": {
			parts:   []func(*websocket.Conn){greeted("T0", func(c *websocket.Conn) { send(0, "", text("a", 1))(c); idle(c) }), last},
			options: `silence: 300`,
			got:     "[1 99]", since: []string{"", "a"}, last: "z",
		},
		"not JSON": {
			parts: []func(*websocket.Conn){greeted("T0", send(0, "", text("a", 1), `{"id":`, text("b", 2))), last},
			got:   "[1 99]", since: []string{"", "a"}, last: "z",
		},
		"repeats that lie too far back": {
			parts:   []func(*websocket.Conn){greeted("T0", send(0, "", text("a", 1), text("b", 2), text("c", 3), text("d", 2), text("e", 1), text("z", 99)))},
			options: `remember: 2`,
			got:     "[1 2 3 1 99]", since: []string{""}, last: "z",
		},
		"online again": {
			parts: []func(*websocket.Conn){nil, greeted("T0", idle), last},
			options: `minRetry: 60_000, maxRetry: 60_000, restartSpread: 60_000,
				onState: ({ state }) => {
					if (calls.push(state) === 2) setTimeout(() => dispatchEvent(new Event('online')), 5)
					if (calls.length === 3) setTimeout(() => dispatchEvent(new Event('online')), 100)
					if (calls.length === 4) setTimeout(() => document.dispatchEvent(new Event('visibilitychange')), 5)
				}`,
			got: "[99]", since: []string{"", "", ""}, last: "z",
		},
		"seen again": {
			parts: []func(*websocket.Conn){greeted("T0", send(0, "", text("a", 1), text("z", 99)))},
			options: `onEvent: (event) => {
				if (event.payload.n === 1) document.dispatchEvent(new Event('visibilitychange'))
				return handle(event)
			}`,
			got: "[1 99]", since: []string{""}, last: "z",
		},
		"restart": {
			parts:   []func(*websocket.Conn){greeted("T0", send(1012, "shutting down", position)), last},
			options: `minRetry: 60_000, maxRetry: 60_000`,
			got:     "[99]", since: []string{"", "p"}, last: "z",
			check: func(t *testing.T, got outcome) {
				if len(got.Waits) != 1 || got.Waits[0] > 8 {
					t.Errorf("waited %v ms", got.Waits)
				}
			},
		},
		"waits longer and longer": {
			parts: []func(*websocket.Conn){nil, nil, nil, nil, greeted("T0", send(0, "", position)), last},
			got:   "[99]", since: []string{"", "", "", "", "", "p"}, last: "z",
			check: func(t *testing.T, got outcome) {
				for i, most := range []float64{4, 8, 16, 16, 4} {
					if wait := got.Waits[i]; wait < most/2 || wait > most {
						t.Errorf("pause %d is %g ms, want %g to %g", i, wait, most/2, most)
					}
				}
			},
		},
	}
}
