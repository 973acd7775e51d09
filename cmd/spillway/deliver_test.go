package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/deliver"
	posting "spillway/dispatch/deliver/post"
	"spillway/dispatch/store"
)

func TestDeliverUsage(t *testing.T) {
	without(t)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"list", "crm"}, `"crm" is not expected`},
		{[]string{"test"}, "NAME of an endpoint must be given; see spillway deliver test --help"},
		{[]string{"test", "crm", "shop"}, `"shop" is not expected`},
		{[]string{"pause", "../log"}, `NAME "../log" is not allowed; allowed: 1 to 64 letters, digits, - and _`},
		{[]string{"dead", "show"}, `"show" is not a command`},
		{[]string{"dead", "retry", "crm"}, "name dead deliveries by their UIDs, or give --all"},
		{[]string{"dead", "retry", "crm", "7"}, `"7" is not a UID; see spillway deliver dead list`},
		{[]string{"dead", "retry", "--all"}, "NAME of an endpoint must be given"},
		{[]string{"dead", "retry", "--all", "crm", deadUID(1).String()}, "is not expected"},
		{[]string{"list", "--config", "/nowhere.yaml"}, "/nowhere.yaml: cannot be read"},
		{[]string{"list", "--admin", "ftp://x"}, "is not a URL"},
	} {
		got := spillway(t, "", append([]string{"deliver"}, test.args...)...)
		if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%q: got %+v, want %q", test.args, got, test.want)
		}
	}
}

func TestDeliverList(t *testing.T) {
	without(t)
	f := &fakeOutgoing{}
	_, address, _ := serveDeliver(t, f)
	t.Setenv("SPILLWAY_ADMIN", strings.TrimPrefix(address, "http://")) // as serve finds it
	f.withDead("crm", 2, "{}")
	want := outcome{stdout: `{"name":"crm","state":{},"breaker":"closed","shares":32,"waiting":7,"oldest":"2026-01-02T03:04:05Z","dead":2}` + "\n"}
	if got := spillway(t, "", "deliver", "list", "--json"); got != want {
		t.Errorf("got %+v", got)
	}
	if got := spillway(t, "", "deliver", "list"); got.code != exitOK || !strings.HasPrefix(got.stdout, "NAME   STATE        BREAKER   PARTITIONS   WAITING   OLDEST") {
		t.Errorf("got %+v", got)
	}
	f.fails = errors.New("the store is gone")
	if got := spillway(t, "", "deliver", "list"); got != (outcome{exitFailure, "", "spillway: the store is gone\n"}) {
		t.Errorf("got %+v", got)
	}
}

func TestPrintEndpoints(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out strings.Builder
	err := printEndpoints(&out, []deliver.Status{
		{Name: "crm", Breaker: "closed", Shares: 32},
		{Name: "warehouse", State: store.EndpointState{Paused: true, Reason: "410 gone", Since: now.Add(-2 * time.Hour)},
			Breaker: "open", Shares: 16, Waiting: 120345, Oldest: now.Add(-30 * time.Second), Dead: 17},
	}, now)
	const want = `NAME        STATE                        BREAKER   PARTITIONS   WAITING   OLDEST    DEAD
crm         delivering                   closed    32           0         -         0
warehouse   paused (410 gone, 2h0m0s ago)   open      16           120345    30s ago   17
`
	if err != nil || strings.Join(strings.Fields(out.String()), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got %v\n%s", err, out.String())
	}
	out.Reset()
	if err := printEndpoints(&out, nil, now); err != nil || out.String() != "the config has no endpoints\n" {
		t.Errorf("got %v %q", err, out.String())
	}
}

func TestPrintTest(t *testing.T) {
	for _, test := range []struct {
		result testResult
		json   bool
		text   string
		err    string
	}{
		{testResult{"crm", "delivered", 204, 0.0123, ""}, false, "result   delivered\nstatus   204 No Content\ntime     0.012 s\n", ""},
		{testResult{"crm", "retry", 0, 10, "no answer in time"}, false, "result   retry\nstatus   none\ntime     10.000 s\nreason   no answer in time\n",
			"the test event was not delivered to crm"},
		{testResult{"crm", "refused", 799, 1, "answered 799"}, true, `{"endpoint":"crm","result":"refused","code":799,"seconds":1,"reason":"answered 799"}` + "\n",
			"the test event was not delivered to crm"},
	} {
		var out strings.Builder
		err := (&deliverOptions{json: test.json}).printTest(&out, test.result)
		if out.String() != test.text || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%+v: got %v\n%s", test.result, err, out.String())
		}
	}
}

func TestDeliverState(t *testing.T) {
	without(t)
	f := &fakeOutgoing{}
	_, address, _ := serveDeliver(t, f)
	for _, test := range []struct {
		args   []string
		want   outcome
		paused bool
	}{
		{[]string{"pause", "crm"}, outcome{stdout: `{"endpoint":"crm","paused":true}` + "\n"}, true},
		{[]string{"resume", "crm"}, outcome{stdout: `{"endpoint":"crm","paused":false}` + "\n"}, false},
		{[]string{"pause", "shop"}, outcome{exitFailure, "", "spillway: endpoint \"shop\": no such endpoint; see spillway deliver list\n"}, true},
	} {
		args := append([]string{"deliver"}, append(test.args, "--admin", address)...)
		if got := spillway(t, "", args...); got != test.want || f.paused != test.paused {
			t.Errorf("%q: got %+v, paused %v", args, got, f.paused)
		}
	}
}

func TestDeliverTest(t *testing.T) {
	without(t)
	f := &fakeOutgoing{result: posting.Result{Outcome: posting.Delivered, Code: 200}}
	_, address, _ := serveDeliver(t, f)
	if got := spillway(t, "", "deliver", "test", "crm", "--admin", address); got.code != exitOK || !strings.HasPrefix(got.stdout, "result   delivered\nstatus   200 OK\n") {
		t.Errorf("got %+v", got)
	}
	f.result = posting.Result{Outcome: posting.Gone, Code: 410, Reason: "gone"}
	got := spillway(t, "", "deliver", "test", "crm", "--admin", address)
	if got.code != exitFailure || !strings.HasPrefix(got.stdout, "result   gone\nstatus   410 Gone\n") || got.stderr != "spillway: the test event was not delivered to crm\n" {
		t.Errorf("got %+v", got)
	}
}

// TestDeliverDeadList reads more than a page by count, and by size.
func TestDeliverDeadList(t *testing.T) {
	without(t)
	for _, test := range []struct {
		name, payload string
		count         int
	}{
		{"none", "{}", 0}, {"one", "{}", 1}, {"by count", "{}", fetchRecords + 1}, {"a full page", "{}", fetchRecords},
		{"by size", `"` + strings.Repeat("x", fetchBytes/8) + `"`, 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &fakeOutgoing{}
			_, address, _ := serveDeliver(t, f)
			f.withDead("crm", test.count, test.payload)
			got := spillway(t, "", "deliver", "dead", "list", "crm", "--payload", "--admin", address)
			if got.code != exitOK || got.stderr != "" {
				t.Fatalf("exit code %d, %s", got.code, got.stderr)
			}
			lines := strings.SplitAfter(got.stdout, "\n")
			if len(lines)-1 != test.count {
				t.Fatalf("%d lines", len(lines)-1)
			}
			for i, line := range lines[:test.count] {
				var d deadDelivery
				decodeLine(t, line, &d)
				if d.UID != deadUID(i) || d.At != "" || string(d.Payload) != test.payload || d.Attempts != 5 || d.Reason != "answered 404" {
					t.Fatalf("line %d: %.200s", i, line)
				}
			}
		})
	}
}

// TestDeliverDeadCut: an answer without an end is not taken for a whole one.
func TestDeliverDeadCut(t *testing.T) {
	without(t)
	const line = `{"delivery":{"uid":"00000000-0000-0000-0000-000000000001"}}` + "\n"
	for answer, want := range map[string]string{
		line:                                   "spillway: the connection to the admin listener was cut: what came is not all\n",
		line + `{"error":"the store is gone"}`: "spillway: the store is gone\n",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			_, _ = io.WriteString(w, answer)
		}))
		got := spillway(t, "", "deliver", "dead", "list", "crm", "--admin", server.URL)
		server.Close()
		if got.code != exitFailure || got.stderr != want || strings.Count(got.stdout, "\n") != 1 {
			t.Errorf("%q: got %+v", answer, got)
		}
	}
}

func TestDeliverDeadRetry(t *testing.T) {
	without(t)
	f := &fakeOutgoing{}
	_, address, _ := serveDeliver(t, f)
	f.withDead("crm", 5, "{}")
	one, two, none := deadUID(1).String(), deadUID(2).String(), deadUID(99).String()
	for _, test := range []struct {
		args []string
		want outcome
	}{
		{[]string{one, two, one}, outcome{stdout: `{"endpoint":"crm","retried":2}` + "\n"}},
		{[]string{one, none, deadUID(3).String()}, outcome{exitFailure, `{"endpoint":"crm","retried":1}` + "\n", "spillway: 2 of 3 are not among the dead deliveries of crm\n"}},
		{[]string{"--all"}, outcome{stdout: `{"endpoint":"crm","retried":2}` + "\n"}},
		{[]string{"--all"}, outcome{stdout: `{"endpoint":"crm","retried":0}` + "\n"}},
	} {
		args := append([]string{"deliver", "dead", "retry", "crm", "--admin", address}, test.args...)
		if got := spillway(t, "", args...); got != test.want {
			t.Errorf("%q: got %+v", test.args, got)
		}
	}
}
