package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/deliver"
	posting "spillway/dispatch/deliver/post"
	"spillway/dispatch/store"
)

// fakeOutgoing has an endpoint crm, which answers as result says, and, of crm and of
// one that is configured no more, dead deliveries.
type fakeOutgoing struct {
	mu     sync.Mutex
	result posting.Result
	paused bool
	dead   map[string][]store.Dead
	// fails is the error of every call; hangs has them wait for their end.
	fails error
	hangs chan struct{}
}

func (f *fakeOutgoing) call(ctx context.Context, name string) error {
	if f.hangs != nil {
		f.hangs <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	if f.fails == nil && name != "crm" {
		return noEndpoint(name)
	}
	return f.fails
}

func (f *fakeOutgoing) List(ctx context.Context) ([]deliver.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := deliver.Status{Name: "crm", Breaker: "closed", Shares: 32, Waiting: 7, Dead: int64(len(f.dead["crm"]))}
	s.Oldest = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if f.paused {
		s.State = store.EndpointState{Paused: true, Reason: "operator", Since: s.Oldest}
	}
	return []deliver.Status{s}, f.call(ctx, "crm")
}

func (f *fakeOutgoing) Test(ctx context.Context, name string) (posting.Result, error) {
	return f.result, f.call(ctx, name)
}

func (f *fakeOutgoing) set(ctx context.Context, name string, paused bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = paused
	return f.call(ctx, name)
}

func (f *fakeOutgoing) Pause(ctx context.Context, name string) error  { return f.set(ctx, name, true) }
func (f *fakeOutgoing) Resume(ctx context.Context, name string) error { return f.set(ctx, name, false) }

func (f *fakeOutgoing) DeadList(_ context.Context, name string, after *store.Dead, limit int) ([]store.Dead, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, from := f.dead[name], 0
	if after != nil {
		from = 1 + slices.IndexFunc(all, func(d store.Dead) bool {
			return d.Share == after.Share && d.Parked.Place == after.Parked.Place && d.Entry.Place == after.Entry.Place && d.Died.Equal(after.Died)
		})
		if from == 0 {
			return nil, errors.New("no such place")
		}
	}
	return all[from:min(len(all), from+limit)], f.fails
}

func (f *fakeOutgoing) DeadRetry(ctx context.Context, name string, uids []uuid.UUID) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(ctx, name); err != nil {
		return 3, err
	}
	before := len(f.dead[name])
	f.dead[name] = slices.DeleteFunc(f.dead[name], func(d store.Dead) bool { return uids == nil || slices.Contains(uids, d.Entry.UID) })
	return before - len(f.dead[name]), nil
}

// deadUID is the uid of the n-th dead delivery.
func deadUID(n int) uuid.UUID { return uuid.UUID{14: byte(n >> 8), 15: byte(n)} }

// withDead gives an endpoint n dead deliveries.
func (f *fakeOutgoing) withDead(endpoint string, n int, payload string) {
	first := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range n {
		place := store.Place{Ms: 1767323045000 + uint64(i), Seq: uint64(i)}
		f.dead[endpoint] = append(f.dead[endpoint], store.Dead{
			Share:  store.Share{Endpoint: endpoint, Partition: 7},
			Parked: store.Parked{Place: place, First: first, Attempts: 5},
			Entry:  store.Entry{Place: place, UID: deadUID(i), Type: "message:new", Payload: []byte(payload)},
			Reason: "answered 404", Died: first.Add(time.Hour + time.Duration(i)),
		})
	}
}

// serveDeliver answers for outgoing webhooks as a receiver does.
func serveDeliver(t *testing.T, f *fakeOutgoing) (a *admin, address string, log *bytes.Buffer) {
	t.Helper()
	log = new(bytes.Buffer)
	f.dead = make(map[string][]store.Dead)
	a = &admin{mux: http.NewServeMux(), logger: slog.New(slog.NewJSONHandler(log, nil))}
	a.showDeliver(f)
	server := httptest.NewServer(http.NewCrossOriginProtection().Handler(a.mux))
	t.Cleanup(server.Close)
	return a, server.URL, log
}

func ask(t *testing.T, method, url, body string) (status int, answer string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

// TestDeliverEndpoints asks as a script would, mistakes included.
func TestDeliverEndpoints(t *testing.T) {
	f := &fakeOutgoing{result: posting.Result{Outcome: posting.Refused, Code: 404, Reason: "answered 404"}}
	_, address, log := serveDeliver(t, f)
	f.withDead("crm", 3, `{"a":"<b>"}`)
	f.withDead("old", 1, "{}")
	line := func(at, uid, payload string) string {
		return `{"delivery":{"at":"` + at + `","uid":"` + uid + `","type":"message:new","partition":7,"attempts":5,"reason":"answered 404",` +
			`"first":"2026-01-02T03:04:05Z","died":"2026-01-02T04:04:05` + payload + "}}\n"
	}
	first := line("7-1767323045000-0-1767326645000000000", deadUID(0).String(), `Z"`)
	const end = `{"end":true}` + "\n"
	const unknown = `endpoint "shop": no such endpoint` + "\n"
	const badBody = `the body has to name dead deliveries: {"uids":["…"]}; or give all=true` + "\n"
	for _, test := range []struct {
		method, path, body string
		status             int
		answer             string // TIME stands for seconds
	}{
		{"GET", "/deliver", "", 200, `{"endpoints":[{"name":"crm","state":{},"breaker":"closed","shares":32,"waiting":7,"oldest":"2026-01-02T03:04:05Z","dead":3}]}` + "\n"},
		{"POST", "/deliver", "", 405, "Method Not Allowed\n"},
		{"POST", "/deliver/crm/pause", "", 200, `{"endpoint":"crm","paused":true}` + "\n"},
		{"POST", "/deliver/crm/resume", "", 200, `{"endpoint":"crm","paused":false}` + "\n"},
		{"GET", "/deliver/crm/pause", "", 405, "Method Not Allowed\n"},
		{"POST", "/deliver/shop/pause", "", 404, unknown},
		{"POST", "/deliver/shop/resume", "", 404, unknown},
		{"POST", "/deliver/shop/test", "", 404, unknown},
		{"POST", "/deliver/%7D:%7B/test", "", 404, `endpoint "}:{": no such endpoint` + "\n"},
		{"GET", "/deliver/crm/dead?limit=1", "", 200, first + end},
		{"GET", "/deliver/crm/dead?limit=1&payload=true", "", 200, strings.Replace(first, "}}", `,"payload":{"a":"<b>"}}}`, 1) + end},
		{"GET", "/deliver/crm/dead?after=7-1767323045001-1-1767326645000000001", "", 200,
			line("7-1767323045002-2-1767326645000000002", deadUID(2).String(), `.000000002Z"`) + end},
		{"GET", "/deliver/old/dead", "", 200, first + end},
		{"GET", "/deliver/shop/dead", "", 404, unknown},
		{"GET", "/deliver/crm/dead?limit=0", "", 400, "limit \"0\" is not allowed; allowed: 1 and more\n"},
		{"GET", "/deliver/crm/dead?after=7", "", 400, "after \"7\" is not allowed; allowed: the at of a dead delivery\n"},
		{"GET", "/deliver/crm/dead?after=7-99999999999999999999-1-1", "", 400, "after \"7-99999999999999999999-1-1\" is not allowed; allowed: the at of a dead delivery\n"},
		{"GET", "/deliver/crm/dead?payload=1", "", 400, "payload \"1\" is not allowed; allowed: true, false\n"},
		{"GET", "/deliver/crm/dead?since=1h", "", 400, "\"since\" is not known; allowed: after, limit, payload\n"},
		{"POST", "/deliver/crm/dead/retry", "", 400, badBody},
		{"POST", "/deliver/crm/dead/retry", `{"uids":[]}`, 400, badBody},
		{"POST", "/deliver/crm/dead/retry", `{"uids":["x"]}`, 400, badBody},
		{"POST", "/deliver/crm/dead/retry?all=true", `{}`, 400, "either uids or all=true, not both\n"},
		{"POST", "/deliver/crm/dead/retry?al=true", "", 400, "\"al\" is not known; allowed: all\n"},
		{"POST", "/deliver/shop/dead/retry?all=true", "", 404, "after 3 dead deliveries that wait again: " + unknown},
		{"POST", "/deliver/crm/dead/retry", `{"uids":["` + deadUID(1).String() + `","` + deadUID(99).String() + `"]}`, 200, `{"endpoint":"crm","retried":1}` + "\n"},
		{"POST", "/deliver/crm/dead/retry?all=true", "", 200, `{"endpoint":"crm","retried":2}` + "\n"},
		{"GET", "/deliver/crm/dead", "", 200, end},
	} {
		status, answer, _ := ask(t, test.method, address+test.path, test.body)
		if status != test.status || answer != test.answer {
			t.Errorf("%s %s: got %d %q, want %d %q", test.method, test.path, status, answer, test.status, test.answer)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", log)
	}
	status, answer, _ := ask(t, "POST", address+"/deliver/crm/dead/retry", strings.Repeat(" ", maxRetryBody+1))
	if status != 400 || !strings.Contains(answer, "larger than") {
		t.Errorf("a large body: got %d %q", status, answer)
	}
	var result testResult
	_, answer, _ = ask(t, "POST", address+"/deliver/crm/test", "")
	decodeLine(t, answer, &result)
	if result.Seconds < 0 || result.Seconds > 60 {
		t.Errorf("the test took %v s", result.Seconds)
	}
	if result.Seconds = 0; result != (testResult{Endpoint: "crm", Result: "refused", Code: 404, Reason: "answered 404"}) {
		t.Errorf("got %+v", result)
	}
}

// TestDeliverOfAnotherSite: a page in a browser changes nothing.
func TestDeliverOfAnotherSite(t *testing.T) {
	f := &fakeOutgoing{}
	a, err := newAdmin("127.0.0.1:0", nil, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close(t.Context())
	a.showDeliver(f)
	request := httptest.NewRequest(http.MethodPost, "/deliver/crm/pause", nil)
	request.Header.Set("Origin", "https://evil.example")
	answer := httptest.NewRecorder()
	a.server.Handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusForbidden || f.paused {
		t.Errorf("got %d, paused %v", answer.Code, f.paused)
	}
}

// TestDeliverFails wants the id of a 500 in its line, and no answer beyond the
// receiver's end.
func TestDeliverFails(t *testing.T) {
	f := &fakeOutgoing{fails: errors.New("the store is gone")}
	a, address, log := serveDeliver(t, f)
	for _, path := range []string{"POST /deliver/crm/test", "POST /deliver/crm/pause", "GET /deliver/crm/dead", "GET /deliver", "POST /deliver/crm/dead/retry?all=true"} {
		log.Reset()
		method, path, _ := strings.Cut(path, " ")
		status, answer, header := ask(t, method, address+path, "")
		id := header.Get("X-Request-Id")
		if status != 500 || !strings.HasSuffix(answer, "the store is gone\n") || uuid.Validate(id) != nil {
			t.Errorf("%s: got %d %q, id %q", path, status, answer, id)
		}
		line, err := parseLogLine(log.String())
		if err != nil || line["request_id"] != id || line["msg"] != "a request about outgoing webhooks failed" {
			t.Errorf("%s: logged %s (%v)", path, log, err)
		}
	}
	log.Reset()
	f.hangs = make(chan struct{})
	go func() {
		<-f.hangs
		a.deliver.close()
	}()
	status, answer, _ := ask(t, "POST", address+"/deliver/crm/test", "")
	if status != http.StatusServiceUnavailable || answer != errStopping.Error()+"\n" || log.Len() > 0 {
		t.Errorf("while it stops: got %d %q, logged %s", status, answer, log)
	}
}
