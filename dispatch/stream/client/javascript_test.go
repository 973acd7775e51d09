package client

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/fasthttp/websocket"

	"spillway/bench/browser"
)

// TestJavaScript runs spillway.js in a browser, against servers that play a part.
func TestJavaScript(t *testing.T) {
	ctx := openModule(t)
	for name, test := range scenes() {
		t.Run(name, func(t *testing.T) {
			s := play(t, test.parts...)
			got := subscribe(ctx, t, s, test.options)
			s.mu.Lock()
			defer s.mu.Unlock()
			test.compare(t, got, s.asked)
		})
	}
	t.Run("queue", func(t *testing.T) { testQueue(ctx, t) })
	t.Run("options", func(t *testing.T) { testOptions(ctx, t) })
}

// compare wants a scene to have gone as it should.
func (test *scene) compare(t *testing.T, got outcome, asked []string) {
	t.Helper()
	if fmt.Sprint(got.Got) != test.got {
		t.Errorf("got %v, want %s", got.Got, test.got)
	}
	var since []string
	for _, address := range asked {
		_, query, _ := strings.Cut(address, "?")
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(query, "T0") {
			t.Errorf("%s shows the token", address)
		}
		since = append(since, values.Get("since"))
	}
	if !slices.Equal(since, test.since) {
		t.Errorf("asked for %q, want %q", since, test.since)
	}
	if told := strings.Join(got.Told, " "); test.told != "" && told != test.told {
		t.Errorf("told %s, want %s", told, test.told)
	}
	if got.Error != test.error {
		t.Errorf("ended with %q, want %q", got.Error, test.error)
	}
	if got.LastID != test.last {
		t.Errorf("last id %q, want %q", got.LastID, test.last)
	}
	if test.check != nil {
		test.check(t, got)
	}
}

// openModule gives a tab with a page that may import /spillway.js.
func openModule(t *testing.T) context.Context {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") })
	mux.HandleFunc("/spillway.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "spillway.js") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	ctx := browser.Start(t)
	if _, err := browser.Open(ctx, server.URL, browser.View{Width: 800, Height: 600}); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// outcome is what a subscription did until it ended.
type outcome struct {
	// Got are the numbers of the events handled; Told what the other callbacks were
	// told, in words.
	Got    []int
	Told   []string
	LastID string
	Error  string
	// Waits are how long it wanted to wait, in ms; Most is how many handlers ran at
	// once; Calls is for the options of a scene.
	Waits []float64
	Most  int
	Calls []string
}

// subscribe follows a server until the event 99, or until the subscription ends
// by itself.
func subscribe(ctx context.Context, t *testing.T, s *script, options string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	expression := fmt.Sprintf(`(async () => {
	const { subscribe } = await import('/spillway.js')
	const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
	const got = [], told = [], waits = [], calls = []
	let running = 0, most = 0
	const handle = async ({ payload: { n } }, work) => {
		most = Math.max(most, ++running)
		await work
		running--
		got.push(n)
		if (n === 99) subscription.close()
	}
	const subscription = subscribe({
		url: %q, token: 'T0', minRetry: 4, maxRetry: 16, restartSpread: 8,
		onEvent: (event) => handle(event),
		onGap: (oldest, since) => told.push('gap ' + oldest + ' ' + since),
		onError: (message) => told.push('error ' + message),
		onState: ({ state, error, retryIn }) => {
			told.push(state)
			if (state === 'waiting') waits.push(retryIn)
			if (state === 'waiting' && !error) throw new Error('a pause without a reason')
		},
		...(%s)
	})
	const error = await subscription.closed
	return { got, told, waits, calls, most, lastID: subscription.lastId ?? '', error: error ? String(error) : '' }
})()`, s.url, "{"+options+"}")
	got, err := chromedp.Run(ctx, chromedp.Evaluate[outcome](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// greeted is a part that begins once the client has sent a token as its first
// message; with another token nothing comes.
func greeted(token string, part func(*websocket.Conn)) func(*websocket.Conn) {
	return func(c *websocket.Conn) {
		want := fmt.Sprintf(`{"type":"auth","payload":{"token":%q}}`, token)
		if _, data, err := c.ReadMessage(); err != nil || string(data) != want {
			_ = c.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"error","payload":{"message":%q}}`, "first message: "+string(data)))
			return
		}
		part(c)
	}
}

// idle waits until the client is gone.
func idle(c *websocket.Conn) {
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			return
		}
	}
}

// testQueue sends far more than a slow handler takes. The client leaves
// when its queue is full, and gets each event once, in order, all the same.
func testQueue(ctx context.Context, t *testing.T) {
	const events = 100
	for name, options := range map[string]string{"messages": "maxQueue: 9", "characters": "maxQueueChars: 900"} {
		t.Run(name, func(t *testing.T) {
			var s *script
			s = play(t, greeted("T0", func(c *websocket.Conn) {
				s.mu.Lock()
				asked := s.asked[len(s.asked)-1]
				s.mu.Unlock()
				_, since, _ := strings.Cut(asked, "since=")
				from, err := strconv.Atoi(since)
				if err != nil {
					t.Errorf("asked %s", asked)
					return
				}
				for n := from + 1; n < events; n++ {
					_ = c.WriteMessage(websocket.TextMessage, []byte(text(strconv.Itoa(n), n)))
				}
				idle(c)
			}))
			got := subscribe(ctx, t, s, "since: '0', onEvent: (event) => handle(event, pause(1)), "+options)
			want := make([]int, 0, events)
			for n := 1; n < events; n++ {
				want = append(want, n)
			}
			if !slices.Equal(got.Got, want) || got.Error != "" {
				t.Errorf("got %v, %s", got.Got, got.Error)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := len(s.asked); n < 5 || n > 30 {
				t.Errorf("connected %d times: %q", n, s.asked)
			}
		})
	}
}

// testOptions wants mistakes in the call to be thrown, and what narrows
// the stream to be asked for.
func testOptions(ctx context.Context, t *testing.T) {
	expression := `(async () => {
	const { subscribe } = await import('/spillway.js')
	const wrong = []
	for (const options of [{}, { url: 'ftp://h' }, { url: 'http://' }, { token: 7 }, { onEvent: undefined }]) {
		try {
			subscribe({ url: options.url, token: 'T', onEvent() {}, ...options }).close()
			wrong.push('taken')
		} catch (error) {
			wrong.push(error.name)
		}
	}
	return wrong
})()`
	got, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](expression, chromedp.EvalAwaitPromise))
	// Without an address it is the page's own, as a relative one is.
	if want := []string{"taken", "TypeError", "TypeError", "TypeError", "TypeError"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}

	s := play(t, greeted("T0", send(0, "", text("z", 99))))
	subscribe(ctx, t, s, `events: ['a', 'b:*'], phoneNumberId: '7', since: '0'`)
	if want := []string{"/ws?since=0&events=a%2Cb%3A%2A&phone_number_id=7"}; !slices.Equal(s.asked, want) {
		t.Errorf("asked %q, want %q", s.asked, want)
	}
}

// TestJavaScriptHasNoDependency wants the module to be all there is to copy.
func TestJavaScriptHasNoDependency(t *testing.T) {
	source, err := os.ReadFile("spillway.js")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(source)) {
		if strings.HasPrefix(line, "import ") || strings.Contains(line, "require(") {
			t.Errorf("it imports: %s", line)
		}
	}
}
