package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/bench/ack"
	bench "spillway/bench/campaign"
	"spillway/dispatch/store/redis/localredis"
)

// play runs a campaign as a process, and gives its result and exit code.
func play(t *testing.T, env []string, args ...string) (result bench.Result, code int, stderr string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(buildBinary(t), append([]string{"bench", "campaign", "--json", "--dir", dir, "--data", dir}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, notes bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &notes
	_ = cmd.Run()
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
			t.Fatalf("%v: %s", err, stdout.String())
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return result, cmd.ProcessState.ExitCode(), notes.String()
}

// checkPassed checks a campaign that went well, with a tenth of its events at least.
func checkPassed(t *testing.T, r bench.Result, code int, stderr string) {
	t.Helper()
	// How fast it is depends on the other tests on this machine.
	faults := slices.DeleteFunc(slices.Clone(r.Verdict.Breaches), func(breach string) bool { return strings.Contains(breach, "took more than") })
	if len(faults) > 0 || r.Verdict.Passed != (code == exitOK) {
		t.Fatalf("exit code %d, %+v\n%s", code, r.Verdict, stderr)
	}
	if r.Acked != r.Webhooks || r.EventsSeen != r.EventsExpected || r.EventsSeen < 3*int64(r.Recipients) || r.Redelivered == 0 ||
		r.AckSeconds.P50 <= 0 || r.DeliverySeconds.P50 <= 0 || len(r.Series) == 0 || r.GeneratorCPU <= 0 {
		r.Series, r.AckDistribution, r.DeliveryDistribution = nil, nil, nil
		t.Errorf("%+v", r)
	}
}

var few = []string{"--recipients", "600", "--rate", "150"}

// TestBenchCampaign: a receiver of its own holds, though it is killed meanwhile,
// and nothing of it is left.
func TestBenchCampaign(t *testing.T) {
	t.Parallel() // it waits more than it works
	r, code, stderr := play(t, nil, append(few, "--kill-every", "2s")...)
	checkPassed(t, r, code, stderr)
	if r.Kills == 0 || r.ReceiverCPU <= 0 || r.Subscription != "websocket" || r.Receiver != ownReceiver {
		t.Errorf("%d kills, %v s, %s, %s", r.Kills, r.ReceiverCPU, r.Subscription, r.Receiver)
	}
}

// TestBenchCampaignRedis reads the events from Redis, and leaves no key there.
func TestBenchCampaignRedis(t *testing.T) {
	t.Parallel() // it waits more than it works
	server := startRedis(t, localredis.Options{Dir: t.TempDir()})
	r, code, stderr := play(t, nil, append(few, "--kill-every", "2s", "--redis", server.Addr())...)
	checkPassed(t, r, code, stderr)
	client := single(server).client(t)
	if keys, err := client.DBSize(t.Context()).Result(); err != nil || keys > 0 || r.Subscription != "redis" {
		t.Errorf("%d keys left behind, %v; %s", keys, err, r.Subscription)
	}
}

// TestBenchCampaignURL runs against a receiver that runs already, over TLS, and
// twice with the same seed: the second one's customers are others.
func TestBenchCampaignURL(t *testing.T) {
	t.Parallel() // it waits more than it works
	cert, key := makeCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	p := launch(t, t.TempDir(), "SPILLWAY_TLS_CERT="+cert, "SPILLWAY_TLS_KEY="+key)
	args := append([]string{"--url", "https://" + p.public, "--app-secret", testAppSecret, "--jwt-secret", testJWTSecret}, few...)
	for range 2 {
		r, code, stderr := play(t, []string{"SSL_CERT_FILE=" + cert}, args...)
		checkPassed(t, r, code, stderr)
	}
	for secret, want := range map[string]string{"--app-secret": "is it the app secret of the receiver?", "--jwt-secret": "token refused"} {
		_, code, stderr := play(t, []string{"SSL_CERT_FILE=" + cert}, append(args, secret, strings.Repeat("wrong", 10))...)
		if code != exitFailure || !strings.Contains(stderr, want) {
			t.Errorf("wrong %s: exit code %d: %s", secret, code, stderr)
		}
	}
}

// TestBenchCampaignFails: one that acks and dispatches nothing is found out.
func TestBenchCampaignFails(t *testing.T) {
	t.Parallel() // it waits more than it works
	target, err := ack.Launch(t.Context(), buildBinary(t), []string{"bench", "target", "--kind", ack.Paused, "--data", t.TempDir()}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Kill)
	r, code, stderr := play(t, nil, "--url", "http://"+target.Public, "--app-secret", benchSecret, "--jwt-secret", ack.StreamSecret, "--recipients", "50")
	if code != exitFailure || r.Verdict.Passed || r.Acked == 0 || r.Lost != r.EventsExpected || !strings.Contains(stderr, errDidNotHold.Error()) {
		t.Errorf("exit code %d, %d acked, %d of %d lost, %+v\n%s", code, r.Acked, r.Lost, r.EventsExpected, r.Verdict, stderr)
	}
}

// TestBenchCampaignInterrupted: what was found is told, and the receiver ends.
func TestBenchCampaignInterrupted(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir := t.TempDir()
	cmd := exec.Command(buildBinary(t), "bench", "campaign", "--dir", dir)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailure || !strings.Contains(out.String(), "the campaign was interrupted") {
		t.Errorf("%v: %s", err, out.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBenchCampaignMistakes(t *testing.T) {
	without(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--preset", "large"}, `--preset: preset "large" is not allowed; allowed: small, 100k, 1000mps, burst10x`},
		{[]string{"--recipients", "0"}, "0 recipients: allowed are 1 to 9999999"},
		{[]string{"--rate", "-1"}, "rate of -1 messages a second: allowed is more than 0"},
		{[]string{"--kill-every", "1s"}, "kill every 1s: allowed is 2s and more"},
		{[]string{"--kill-every", "10s", "--url", "http://127.0.0.1:1"}, "--kill-every is for a receiver of its own"},
		{[]string{"--app-secret", "a"}, "--app-secret and --jwt-secret are for the receiver of --url"},
		{[]string{"--url", "ftp://127.0.0.1"}, "is not a URL"},
		{[]string{"--url", "http://127.0.0.1:1"}, "no secret: set --app-secret"},
		{[]string{"--url", "http://127.0.0.1:1", "--app-secret", "a"}, "no secret: set --jwt-secret"},
	} {
		got := spillway(t, "", append([]string{"bench", "campaign", "--data", t.TempDir()}, c.args...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%v: exit code %d: %s", c.args, got.code, got.stderr)
		}
	}
}

func TestProgressLine(t *testing.T) {
	now := bench.Progress{Elapsed: 5 * time.Second, Left: 15 * time.Second, Rate: 3300, InFlight: 7, Acked: 16500, Seen: 16400, Lag: 12 * time.Millisecond}
	want := "[#####...............]  25 %  3300 posts/s, 7 in flight, 16500 acked, 16400 events seen, lag 12ms, 15s left"
	if got := progressLine(now); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	now.Left, now.Backlog = 0, 100
	if got := progressLine(now); !strings.HasSuffix(got, "waiting for 100 events") || !strings.HasPrefix(got, "[####################] 100 %") {
		t.Error(got)
	}
}

// TestReadmeCampaign runs the campaigns of the README.
func TestReadmeCampaign(t *testing.T) {
	if !full() {
		t.Skip("takes a minute: make test-full")
	}
	dir := builtFolder(t)
	// Without -e: a campaign that was slow, beside other tests, has the exit code 1.
	shell := exec.Command("bash", "-uo", "pipefail", "-c", readmeBlock(t, "campaign", "sh"))
	shell.Dir = dir
	out, err := shell.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASSED")) && !bytes.Contains(out, []byte("took more than")) {
		t.Fatalf("%v\n%s", err, out)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "report.html")); err != nil || !bytes.Contains(page, []byte("killed")) {
		t.Errorf("no page of both: %v", err)
	}
	fmt.Fprintf(t.Output(), "%s", out)
}
