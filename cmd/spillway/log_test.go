package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/embedded"
	"spillway/ingest"
)

// The secrets of the apps that a logbook's webhooks are signed with.
const (
	shopSecret    = "the shop's current secret"
	shopOldSecret = "the shop's previous secret"
	deskSecret    = "the desk's secret"
)

const bothApps = `
  - {name: shop, verify_token: v, app_secrets: ["` + shopSecret + `", "` + shopOldSecret + `"]}
  - {name: desk, verify_token: v, app_secrets: ["` + deskSecret + `"]}`

// withoutData is without, but the config's data counts.
func withoutData(t *testing.T) {
	t.Helper()
	without(t)
	t.Setenv("SPILLWAY_DATA", "")
}

// logConfigFile writes a config over a data folder.
func logConfigFile(t *testing.T, data, apps string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spillway.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndata: %s\napps: %s\nstream: {jwt_secret: %q}\nlog: {min_free: 0}\n", data, apps, testJWTSecret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startFile starts a receiver by its config file.
func startFile(t *testing.T, file string) *process {
	t.Helper()
	p := launchCommand(t, exec.Command(buildBinary(t), "serve", "--log-format", "json", "--config", file))
	p.waitReady()
	return p
}

// logbook is what the tests of the log's commands look into: six express
// records and two bulk ones, with dead letters.
type logbook struct {
	bodies map[string][]string // by lane
	apps   map[string][]string
}

const twoBadItems = `{"object":"whatsapp_business_account","entry":[{"id":"102","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550000001","phone_number_id":"106"},"messages":[{"from":"15550001001"},{"from":"15550001001","id":"wamid.beside","timestamp":"1767225600","type":"text","text":{"body":"good"}},{"id":7}]}}]}]}`

// fill posts the logbook's webhooks, one after the other.
func (b *logbook) fill(t *testing.T, p *process) {
	t.Helper()
	b.bodies, b.apps = map[string][]string{}, map[string][]string{}
	escaped := strings.ReplaceAll(strings.ReplaceAll(string(messageWebhook("wamid.A/b+c==", "15550001002", "<&>")), "/", `\/`), `"entry":`, "\n\t\"entry\": ")
	for _, w := range []struct{ lane, app, secret, body string }{
		{"express", "shop", shopSecret, string(messageWebhook("wamid.one", "15550001001", "Hello!"))},
		{"express", "desk", deskSecret, string(messageWebhook("wamid.two", "15550001002", "Hi!"))},
		{"express", "shop", shopOldSecret, string(messageWebhook("wamid.three", "15550001003", "Hey!"))},
		{"bulk", "shop", shopSecret, string(statusWebhook("wamid.four", "15550001001", "sent", "delivered"))},
		{"bulk", "shop", shopOldSecret, string(statusWebhook("wamid.four", "15550001001", "read"))},
		{"express", "shop", shopSecret, twoBadItems},
		{"express", "desk", deskSecret, "no JSON, and no UTF-8: \xff"},
		{"express", "shop", shopSecret, escaped},
	} {
		if status := post(p.webhookURL(), []byte(w.body), ingest.Sign(w.secret, []byte(w.body))); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
		b.bodies[w.lane] = append(b.bodies[w.lane], w.body)
		b.apps[w.lane] = append(b.apps[w.lane], w.app)
	}
	p.waitDispatched(6, 2)
}

// waitDispatched waits until the log has so many records, and the store all of
// their events.
func (p *process) waitDispatched(express, bulk uint64) {
	p.t.Helper()
	p.eventually(30*time.Second, "all dispatched", func() error {
		var stat logStat
		_, text := p.adminGet("/log/stat")
		if err := json.Unmarshal([]byte(text), &stat); err != nil {
			return err
		}
		if stat.Lanes[0].Behind+stat.Lanes[1].Behind > 0 || stat.Lanes[0].Head != express || stat.Lanes[1].Head != bulk {
			return fmt.Errorf("got %+v", stat.Lanes)
		}
		return nil
	})
}

// uidsOf gives the uids of all events kept, in order, want of which are caused
// by a webhook's items.
func uidsOf(p *process, want int) []string {
	var uids []string
	for _, e := range p.gather(want, caused) {
		uids = append(uids, e.Type+" "+e.UID)
	}
	slices.Sort(uids)
	return uids
}

// logbookEvents is how many events the logbook's items cause.
const logbookEvents = 8

// TestLogCommands runs every command on a running receiver, found by its folder
// and by its address, and on its folder once it has ended: all see the same.
func TestLogCommands(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	file := logConfigFile(t, data, bothApps)
	p := startFile(t, file)
	var book logbook
	book.fill(t, p)
	events := uidsOf(p, logbookEvents)
	outcomes := func(how string, flags ...string) map[string]outcome {
		all := map[string]outcome{}
		for _, command := range logCommands {
			args := append(append([]string{"log"}, strings.Fields(command)...), "--config", file)
			all[command] = spillway(t, "", append(args, flags...)...)
		}
		return all
	}
	asked := outcomes("address", "--admin", p.admin)
	t.Setenv("SPILLWAY_ADMIN", p.admin)
	found := outcomes("folder of a running one")
	checkLogbook(t, &book, found)
	if again := uidsOf(p, logbookEvents); !slices.Equal(again, events) {
		t.Errorf("replay and retry changed the events:\n%q\n%q", events, again)
	}
	if code := p.terminate(20 * time.Second); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	stopped := outcomes("folder")
	for _, command := range logCommands {
		if asked[command] != found[command] || stopped[command] != found[command] {
			t.Errorf("%s: got\n%+v of the address\n%+v of the folder of a running one\n%+v of the folder",
				command, asked[command], found[command], stopped[command])
		}
	}
	p = startFile(t, file)
	if again := uidsOf(p, logbookEvents); !slices.Equal(again, events) {
		t.Errorf("replay and retry in the folder changed the events:\n%q\n%q", events, again)
	}
	for _, secret := range []string{shopSecret, shopOldSecret, deskSecret} {
		if strings.Contains(fmt.Sprint(asked, stopped), secret) {
			t.Error("a secret is shown")
		}
	}
}

// logCommands are those that give the same whoever has the log open.
var logCommands = []string{
	"cat", "cat --lane bulk", "cat --lane express --from 2 --to 3", "cat --app desk", "cat --limit 3", "cat --since 1h --lane bulk",
	"cat --since 2100-01-02T15:04:05Z", "cat --grep-wamid wamid.A/b+c==", "cat --grep-wamid wamid.four", "cat --lane bulk --from 3",
	"verify", "verify --lane bulk",
	"dead list", "dead show express 4 0", "dead show express 4 1", "dead show express 5 whole", "dead show bulk 1 0",
	"replay --again", "replay --again --lane express --from 4 --to 4", "replay --again --since 2100-01-02T15:04:05Z", "replay --again --lane bulk --from 3",
	"dead retry express 4 0", "dead retry --all", "dead retry express 1 0",
}

// checkLogbook holds what the commands gave against what was posted.
func checkLogbook(t *testing.T, book *logbook, got map[string]outcome) {
	t.Helper()
	numbers := func(command string) (all []string) {
		for _, line := range decodeLines[map[string]any](t, got[command].stdout) {
			all = append(all, fmt.Sprint(line["lane"], line["seq"]))
		}
		return all
	}
	for command, want := range map[string]string{
		"cat":                                "express1 express2 express3 express4 express5 express6 bulk1 bulk2",
		"cat --lane bulk":                    "bulk1 bulk2",
		"cat --lane express --from 2 --to 3": "express2 express3",
		"cat --app desk":                     "express2 express5",
		"cat --limit 3":                      "express1 express2 express3",
		"cat --since 1h --lane bulk":         "bulk1 bulk2",
		"cat --since 2100-01-02T15:04:05Z":   "",
		"cat --grep-wamid wamid.A/b+c==":     "express6",
		"cat --grep-wamid wamid.four":        "bulk1 bulk2",
		"dead list":                          "express4 express4 express5",
		"dead show express 4 1":              "express4",
		"dead retry --all":                   "express4 express4 express5",
		"replay --again":                     "express6 bulk2",
	} {
		if all := strings.Join(numbers(command), " "); all != want {
			t.Errorf("%s: got %s, want %s", command, all, want)
		}
	}
	for command, want := range map[string]outcome{
		"verify":                   {exitOK, "app desk: 2 by secret 1, 0 by none\napp shop: 4 by secret 1, 2 by secret 2, 0 by none\n", ""},
		"cat --lane bulk --from 3": {exitFailure, "", "spillway: the bulk lane has no record 3: the last one is 2\n"},
		"dead show bulk 1 0":       {exitFailure, "", "spillway: no such dead letter; see spillway log dead list\n"},
		"dead retry express 1 0":   {exitFailure, "", "spillway: no such dead letter; see spillway log dead list\n"},
		"replay --again --lane express --from 4 --to 4": {exitOK,
			`{"lane":"express","from":4,"to":4,"seq":4,"records":1,"fresh":0,"duplicate":1,"stale":0,"replayed":0,"dead":2}` + "\n", ""},
	} {
		if got[command] != want {
			t.Errorf("%s: got %+v, want %+v", command, got[command], want)
		}
	}
	if o := got["dead retry --all"]; o.code != exitFailure || o.stderr != "spillway: 3 of 3 dead letters were not applied\n" || strings.Count(o.stdout, retryStillDead) != 3 {
		t.Errorf("dead retry --all: got %+v", o)
	}
	if o := got["replay --again"]; strings.Count(o.stdout, `"fresh":0,`) != 2 {
		t.Errorf("replay --again: got %+v", o)
	}
	checkBodies(t, book, got)
}

// checkBodies compares bodies with those that were posted.
func checkBodies(t *testing.T, book *logbook, got map[string]outcome) {
	t.Helper()
	type line struct {
		Lane, App, Signature, Path string
		Seq                        int
		Item                       any
		Received                   time.Time
		Body                       json.RawMessage
		Base64                     []byte `json:"body_base64"`
	}
	for _, l := range decodeLines[line](t, got["cat"].stdout) {
		want := book.bodies[l.Lane][l.Seq-1]
		switch {
		case l.App != book.apps[l.Lane][l.Seq-1], len(l.Signature) != 64, time.Since(l.Received).Abs() > time.Hour:
			t.Errorf("got %+v", l)
		case l.Body == nil && string(l.Base64) != want:
			t.Errorf("%s %d: got %q in base64, want %q", l.Lane, l.Seq, l.Base64, want)
		case l.Body != nil && string(l.Body) != strings.ReplaceAll(want, "\n\t\"entry\": ", `"entry":`):
			t.Errorf("%s %d: got %s, want %s", l.Lane, l.Seq, l.Body, want)
		}
	}
	for command, path := range map[string]string{
		"dead show express 4 0": "entry[0].changes[0].value.messages[0]", "dead show express 4 1": "entry[0].changes[0].value.messages[2]",
	} {
		if l := decodeLines[line](t, got[command].stdout)[0]; l.Path != path || string(l.Body) != twoBadItems || len(l.Signature) != 64 {
			t.Errorf("%s: got %+v", command, l)
		}
	}
	if l := decodeLines[line](t, got["dead show express 5 whole"].stdout)[0]; l.Item != "whole" || string(l.Base64) != book.bodies["express"][4] {
		t.Errorf("got %+v", l)
	}
	if strings.Contains(got["dead list"].stdout, "body") {
		t.Error("the list shows bodies")
	}
}

// TestLogOpensWithoutConfig opens a folder with the settings of nobody, as a
// command without --config does: what the receiver's dedupe.window remembers
// stays remembered.
func TestLogOpensWithoutConfig(t *testing.T) {
	withoutData(t)
	data := numberedLog(t, 1, 0)
	own := embedded.DefaultConfig()
	own.Dir, own.Window = filepath.Join(data, "store"), 720*time.Hour
	sent := time.Now().Add(-600 * time.Hour)
	seen := func() store.Outcome {
		st, err := embedded.Open(own, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		result, err := st.Apply(t.Context(), &store.Batch{Mode: store.Again, Events: []event.Event{{
			Type: event.WebhookErrors, Identity: "once", Time: sent, Received: sent, Payload: []byte("{}"),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return result.Outcomes[0]
	}
	if outcome := seen(); outcome != store.Fresh {
		t.Fatalf("outcome %d", outcome)
	}
	for _, command := range []string{"dead retry --all", "replay --again", "drain"} {
		if got := spillway(t, "", append([]string{"log"}, strings.Fields(command+" --data "+data)...)...); got.code != exitOK {
			t.Errorf("%s: got %+v", command, got)
		}
	}
	if outcome := seen(); outcome != store.Duplicate {
		t.Errorf("the store has forgotten: outcome %d", outcome)
	}
}
