package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"spillway/bench/ack"
	"spillway/bench/fanout"
	"spillway/dispatch/store/redis/localredis"
)

// benchStream runs it as a process, and gives its result and exit code.
func benchStream(t *testing.T, args ...string) (result fanout.Result, code int, stderr string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(buildBinary(t), append([]string{"bench", "stream", "--json", "--dir", dir, "--data", dir}, args...)...)
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

// checkStep checks a step in which nothing was lost; how fast it was depends on
// the other tests on this machine.
func checkStep(t *testing.T, s *fanout.Step, sockets int, stderr string) {
	t.Helper()
	if s == nil || s.Sockets != sockets || s.Events == 0 || s.Frames < s.Events*int64(sockets) || s.Lost+s.Doubled+s.Refused != 0 ||
		s.P50 <= 0 || s.P99 < s.P50 || s.Max < s.P99 || s.GeneratorCPU <= 0 || s.ReceiverCPU <= 0 || s.Resident <= 0 {
		t.Errorf("%+v\n%s", s, stderr)
	}
}

// TestBenchStream: all phases, small, with a receiver of its own of which nothing
// is left.
func TestBenchStream(t *testing.T) {
	t.Parallel() // it waits more than it works
	r, code, stderr := benchStream(t, "--phases", "idle,reference,stuck", "--sockets", "200", "--subscribers", "20", "--among", "200",
		"--rate", "200", "--stuck-rate", "50", "--duration", "1s")
	if code != exitOK && code != exitFailure || r.Verdict.Passed != (code == exitOK) || r.Receiver != ownReceiver {
		t.Fatalf("exit code %d, %+v\n%s", code, r, stderr)
	}
	if r.Idle == nil || r.Idle.Sockets != 200 || r.Idle.Resident <= 0 || r.Idle.Heap <= 0 || r.Idle.Stack <= 0 {
		t.Errorf("%+v", r.Idle)
	}
	checkStep(t, r.Reference, 20, stderr)
	if len(r.Stuck) != 3 || r.Edge != nil {
		t.Fatalf("%d steps with stuck sockets, %v", len(r.Stuck), r.Edge)
	}
	for i, stuck := range []int{0, 1, 10} {
		if checkStep(t, r.Stuck[i], 200, stderr); r.Stuck[i].Stuck != stuck {
			t.Errorf("%d stuck, want %d", r.Stuck[i].Stuck, stuck)
		}
	}
}

// TestBenchStreamEdge: the search ends, over Redis, and leaves no key there.
func TestBenchStreamEdge(t *testing.T) {
	t.Parallel() // it waits more than it works
	if !full() {
		t.Skip("takes a minute: make test-full")
	}
	server := startRedis(t, localredis.Options{Dir: t.TempDir()})
	r, code, stderr := benchStream(t, "--phases", "edge", "--sockets", "50", "--first-rate", "100", "--step", "1s", "--redis", server.Addr())
	if r.Edge == nil || r.Edge.Highest == nil || len(r.Edge.Steps) < 2 || r.Verdict.Passed != (code == exitOK) {
		t.Fatalf("exit code %d, %+v\n%s", code, r, stderr)
	}
	checkStep(t, r.Edge.Highest, 50, stderr)
	client := single(server).client(t)
	if keys, err := client.DBSize(t.Context()).Result(); err != nil || keys > 0 {
		t.Errorf("%d keys left behind, %v", keys, err)
	}
}

// TestBenchStreamLoss: a receiver that loses one event of one socket, or sends it
// twice, is found out.
func TestBenchStreamLoss(t *testing.T) {
	t.Parallel() // it waits more than it works
	target, err := ack.Launch(t.Context(), buildBinary(t), []string{"bench", "target", "--kind", ack.Serve, "--data", t.TempDir()}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Kill)
	for name, fault := range map[string]func(frame []byte) []byte{
		"lost":    func([]byte) []byte { return nil },
		"doubled": func(frame []byte) []byte { return append(frame[:len(frame):len(frame)], frame...) },
		"none":    nil,
	} {
		proxy := startFaulty(t, target.Public, fault)
		r, code, stderr := benchStream(t, "--url", "http://"+proxy, "--app-secret", benchSecret, "--jwt-secret", ack.StreamSecret,
			"--phases", "reference", "--subscribers", "5", "--rate", "50", "--duration", "1s")
		if r.Reference == nil {
			t.Fatalf("%s: exit code %d\n%s", name, code, stderr)
		}
		lost, doubled := name == "lost", name == "doubled"
		if (r.Reference.Lost == 1) != lost || (r.Reference.Doubled == 1) != doubled || (lost || doubled) && (code != exitFailure || r.Verdict.Passed) {
			t.Errorf("%s: exit code %d, %+v\n%s", name, code, r.Reference, stderr)
		}
	}
}

// startFaulty passes all on to a receiver, but for the third frame of events of
// the first WebSocket, with which it does what fault says.
func startFaulty(t *testing.T, to string, fault func(frame []byte) []byte) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	f := &faulty{fault: fault}
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { f.pass(conn, to) })
		}
	})
	return listener.Addr().String()
}

type faulty struct {
	fault func(frame []byte) []byte
	done  atomic.Bool
}

func (f *faulty) pass(conn net.Conn, to string) {
	defer conn.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var group sync.WaitGroup
	group.Go(func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	})
	buffer, pending := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := server.Read(buffer)
		pending = append(pending, buffer[:n]...)
		pending = f.write(conn, pending)
		if err != nil {
			break
		}
	}
	_ = conn.Close()
	group.Wait()
}

// write passes on what came, and once does the fault to an event's frame, which
// has a length of two bytes. It gives what it holds back: the begin of that frame.
func (f *faulty) write(conn net.Conn, b []byte) (rest []byte) {
	const head = 4
	at := bytes.Index(b, []byte(`{"id":"`))
	if f.fault == nil || f.done.Load() || at < head || b[at-head] != 0x81 {
		_, _ = conn.Write(b)
		return nil
	}
	size := head + int(b[at-2])<<8 + int(b[at-1])
	from := at - head
	if len(b) < from+size {
		_, _ = conn.Write(b[:from])
		return b[from:]
	}
	if f.done.Swap(true) {
		_, _ = conn.Write(b)
		return nil
	}
	_, _ = conn.Write(b[:from])
	_, _ = conn.Write(f.fault(b[from : from+size]))
	_, _ = conn.Write(b[from+size:])
	return nil
}

func TestBenchStreamMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--phases", "idel"}, `phase "idel": allowed are [idle reference edge stuck]`},
		{[]string{"--sockets", "0"}, "0 sockets: allowed are 1 to 1000000"},
		{[]string{"--body", "9"}, "body of 9 bytes: a webhook has"},
		{[]string{"--admin", "127.0.0.1:1"}, "are for the receiver of --url"},
		{[]string{"--url", "http://127.0.0.1:1", "--redis", "127.0.0.1:1"}, "--redis is for a receiver of its own"},
		{[]string{"--url", "https://127.0.0.1:1"}, "allowed: http://HOST:PORT/api/webhook"},
		{[]string{"--url", "http://127.0.0.1"}, "allowed: http://HOST:PORT/api/webhook"},
		{[]string{"--url", "http://127.0.0.1:1"}, "no secret: set --app-secret"},
		{[]string{"--url", "http://127.0.0.1:1", "--app-secret", "a"}, "no secret: set --jwt-secret"},
	} {
		got := spillway(t, "", append([]string{"bench", "stream", "--data", t.TempDir()}, c.args...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%v: exit code %d: %s", c.args, got.code, got.stderr)
		}
	}
	got := spillway(t, "", "bench", "stream", "--sockets", "1000000")
	if got.code != exitFailure || !strings.Contains(got.stderr, "ask for at most") {
		t.Errorf("a million sockets: exit code %d: %s", got.code, got.stderr)
	}
}
