package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"spillway/bench/ack"
	"spillway/bench/load"
)

// unreleased is the series of what waits to be dispatched.
const unreleased = `spillway_log_unreleased_records{lane="bulk"}`

// targetSecret is what a receiver that is measured trusts.
const targetSecret = "a secret for measuring only"

// startTargetProcess runs a receiver of a kind as the benchmarks do: one that is
// paused takes webhooks and dispatches none.
func startTargetProcess(t testing.TB, kind, data string) *process {
	t.Helper()
	cmd := exec.Command(buildBinary(t), "bench", "target", "--kind", kind, "--data", data)
	if _, err := cmd.StdinPipe(); err != nil { // it ends with its standard input
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	cmd.Stderr = &lockedLog{p}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of the process:\n%s", p.logText())
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	var at struct{ Public, Admin string }
	if err == nil {
		err = json.Unmarshal(line, &at)
	}
	if err != nil {
		t.Fatalf("%s does not listen: %v\n%s", kind, err, p.logText())
	}
	p.public, p.admin = at.Public, at.Admin
	p.waitReady()
	return p
}

// lockedLog keeps what a process writes as its log.
type lockedLog struct{ p *process }

func (l *lockedLog) Write(b []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return l.p.log.Write(b)
}

func (p *process) number(series string) float64 {
	p.t.Helper()
	n, err := strconv.ParseFloat(p.metric(series), 64)
	if err != nil {
		p.t.Fatalf("%s: %v", series, err)
	}
	return n
}

func newLoad(t testing.TB, size int, p *process) *load.Campaign {
	t.Helper()
	c, err := load.NewCampaign(size, targetSecret, p.public)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// acksOf is what a receiver takes of a campaign, refusing nothing.
func acksOf(t testing.TB, p *process, c *load.Campaign, connections int, duration time.Duration) *load.Result {
	t.Helper()
	r := load.Closed(context.Background(), c, p.public, connections, 0, duration)
	if err := r.Clean(); err != nil {
		t.Fatalf("%v: %s\n%s", err, r, p.logText())
	}
	return r
}

// backlogForm is how large a backlog a test makes, and how it measures it.
type backlogForm struct {
	records int
	// slice is how long each of the windows takes in which a rate is measured.
	slice time.Duration
	// ready is how soon a receiver must be ready that opens it.
	ready time.Duration
	// beside is the least of the acks that draining leaves, 0 where that is not
	// asserted.
	beside float64
}

// windows is how many measurements a rate is the median of: other work on the
// machine takes one of them, or two.
const windows = 5

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// TestBacklog: records that nobody dispatches cost disk and nothing else. The
// log stays as fast as it was when it was empty, needs no more memory, and opens
// at once.
func TestBacklog(t *testing.T) {
	form := backlogForm{records: 100_000, slice: 250 * time.Millisecond, ready: 10 * time.Second}
	if full() {
		form = backlogForm{records: 10_000_000, slice: 10 * time.Second, ready: 2 * time.Second, beside: 0.4}
	}
	data := t.TempDir()
	p := startTargetProcess(t, ack.Paused, data)
	kept := fillBacklog(t, p, form)

	p.kill()
	began := time.Now()
	p = startTargetProcess(t, ack.Paused, data)
	took := time.Since(began)
	t.Logf("ready %s after a kill, with %d records to dispatch", took.Round(time.Millisecond), kept)
	if took > form.ready {
		t.Errorf("ready after %s, want %s", took, form.ready)
	}
	if got := p.number(unreleased); got < float64(kept) {
		t.Errorf("%.0f records after the restart, %d were acked", got, kept)
	}
	p.kill()
	drainBacklog(t, data, form)
}

// fillBacklog appends until there are as many records as the form says, and
// gives how many there are.
func fillBacklog(t *testing.T, p *process, form backlogForm) (kept int) {
	t.Helper()
	const most = 256 << 20
	c := newLoad(t, load.MinBody, p)
	acksOf(t, p, c, 64, time.Second) // its memory and its connections are warm then
	var rates []float64
	largest := 0
	for kept < form.records || len(rates) < 2*windows {
		r := acksOf(t, p, c, 128, form.slice) // few enough for none to be refused while the disk stalls
		kept += int(r.Answers[http.StatusOK])
		rates = append(rates, r.Rate())
		largest = max(largest, p.residentBytes())
	}
	first, last := median(rates[:windows]), median(rates[len(rates)-windows:])
	t.Logf("%d records of %d bytes: %.0f acks/s on an empty log, %.0f at the end: %.2f of it; %d MiB resident at most",
		kept, c.Size(), first, last, last/first, largest>>20)
	if largest > most {
		t.Errorf("%d MiB resident, want %d at most", largest>>20, most>>20)
	}
	// A machine that does other work meanwhile is not what this is about.
	if last < 0.5*first {
		t.Errorf("%.0f acks/s after %.0f", last, first)
	}
	return kept
}

// pace is what a receiver takes of a campaign.
type pace struct {
	rate, p99 float64 // medians; p99 in seconds
	acked     int64
}

func paceOf(t *testing.T, p *process, form backlogForm) (sum pace) {
	t.Helper()
	c := newLoad(t, 600, p)
	var rates, latencies []float64
	for range windows {
		r := acksOf(t, p, c, 64, form.slice)
		rates, latencies = append(rates, r.Rate()), append(latencies, r.Quantile(99).Seconds())
		sum.acked += r.Answers[http.StatusOK]
	}
	sum.rate, sum.p99 = median(rates), median(latencies)
	return sum
}

// drainBacklog dispatches what there is under load, beside the same load on a
// receiver that has nothing to catch up with.
func drainBacklog(t *testing.T, data string, form backlogForm) {
	t.Helper()
	even := startTargetProcess(t, ack.Serve, filepath.Join(t.TempDir(), "data"))
	alone := paceOf(t, even, form)
	even.kill()

	p := startTargetProcess(t, ack.Serve, data)
	before := p.number(unreleased)
	beside := paceOf(t, p, form)
	behind := p.number(unreleased)
	t.Logf("acks with nothing to drain %.0f/s, p99 %.1f ms; while draining %.0f/s, p99 %.1f ms: %.2f of it; %.0f records were drained meanwhile, %.0f are left",
		alone.rate, alone.p99*1e3, beside.rate, beside.p99*1e3, beside.rate/alone.rate, before-behind+float64(beside.acked), behind)
	if beside.rate < form.beside*alone.rate {
		t.Errorf("draining leaves %.2f of the acks, want %.2f", beside.rate/alone.rate, form.beside)
	}
	p.eventually(5*time.Minute, "dispatching goes on", func() error {
		if now := p.number(unreleased); now > max(0, behind-float64(form.records)/4) {
			return fmt.Errorf("%.0f records are left", now)
		}
		return nil
	})
}
