package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/bench/fanout"
	"spillway/bench/peers/contest"
)

// littleContest is one of a second a rate.
func littleContest() contest.Config {
	cfg := contest.DefaultConfig()
	cfg.Sockets, cfg.Frames, cfg.Rounds, cfg.Duration, cfg.Step = []int{20}, 2000, 1, time.Second, time.Second
	return cfg
}

func startContest(t *testing.T) []contest.Server {
	t.Helper()
	servers, stop, err := contest.Start(context.Background(), littleContest(), programs(t), filepath.Join(dataFolder(t), "stream"))
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return servers
}

// hold holds 100 events a second at 20 sockets for a second.
func hold(t *testing.T, target fanout.Target) *fanout.Step {
	t.Helper()
	cfg := fanout.DefaultConfig()
	cfg.Duration = time.Second
	var step *fanout.Step
	err := fanout.With(t.Context(), cfg, target, 20, t.Logf, func(s *fanout.Sockets) (err error) {
		step, err = s.Hold(t.Context(), 100)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return step
}

// TestStreamPeers: every server gives every event to every socket once, and its use
// of the processor is known.
func TestStreamPeers(t *testing.T) {
	for _, server := range startContest(t) {
		s := hold(t, server.Target)
		if s.Events < 90 || s.Frames != 20*s.Events || s.Lost+s.Doubled+s.Refused != 0 || len(s.Closed) > 0 || s.PerMillion <= 0 || s.P99 < s.P50 || s.P50 <= 0 {
			t.Errorf("%s: %+v", server.Name, s)
		}
		if gathered := s.Messages < s.Frames; gathered != (server.Name == contest.Delayed) {
			t.Errorf("%s: %d events in %d messages", server.Name, s.Frames, s.Messages)
		}
	}
}

// TestStreamLossIsFound: a server of which one frame of one socket does not come,
// or comes twice, does not sustain a rate.
func TestStreamLossIsFound(t *testing.T) {
	for _, server := range startContest(t) {
		if server.Name == contest.Delayed {
			continue // a frame of it holds many events
		}
		for _, copies := range []int{0, 1, 2} {
			target := server.Target
			target.Subscribe.Address = startFaulty(t, target.Subscribe.Address, copies)
			s := hold(t, target)
			if s.Lost != int64(max(0, 1-copies)) || s.Doubled != int64(max(0, copies-1)) || (s.Fault == "") != (copies == 1) {
				t.Errorf("%s, a frame that comes %d times: %+v", server.Name, copies, s)
			}
		}
	}
}

// TestOnlyStream: the section alone is made anew in a page, and its figures are kept.
func TestOnlyStream(t *testing.T) {
	dir, page, keep := dataFolder(t), filepath.Join(t.TempDir(), "page.md"), t.TempDir()
	if err := os.WriteFile(page, []byte("# Results\n\n## Before\n\n## The stream\n\nof old\n\n## After\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spillway := filepath.Join(t.TempDir(), "spillway")
	script := fmt.Sprintf(`#!/bin/sh
[ "$2" = stream ] || exec %s "$@"
echo '{"sockets":7,"verdict":{"passed":false,"breaches":["7 events are lost"]}}'
exit 1
`, programs(t).Spillway)
	if err := os.WriteFile(spillway, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd, _, stderr := command(t, dir, "--stream", "--only-stream", "--spillway", spillway, "--out", page, "--keep", keep,
		"--stream-sockets", "20", "--stream-frames", "2000", "--stream-rounds", "1", "--stream-duration", "1s", "--stream-step", "0")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	made, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Results\n\n## Before\n\n## The stream\n", "\n## After\n", "centrifugal/centrifuge: v0.", "Verdict: **failed**: 7 events are lost",
		"#### 20 sockets", "at 2,000 frames/s: p50", "| centrifuge-delay | none |", "Goal: 1.2 times centrifuge: CPU at the same rate",
	} {
		if !bytes.Contains(made, []byte(want)) {
			t.Errorf("the page does not hold %q:\n%s", want, made)
		}
	}
	if bytes.Contains(made, []byte("of old")) {
		t.Error("it holds the old section")
	}
	for name, want := range map[string]string{"stream.json": `"sockets":7`, "stream-peers.json": `"centrifuge":[{"held":{`} {
		if kept, err := os.ReadFile(filepath.Join(keep, name)); err != nil || !bytes.Contains(kept, []byte(want)) {
			t.Errorf("%s: %q, %v", name, kept, err)
		}
	}
	nothingLeft(t, dir)
}

// startFaulty passes all on to a server, but for the first frame of an event, of
// which it makes so many.
func startFaulty(t *testing.T, to string, copies int) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	f := &faulty{copies: copies}
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
	copies int
	done   atomic.Bool
}

// pass ends when either side does.
func (f *faulty) pass(conn net.Conn, to string) {
	defer conn.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	})
	reader := bufio.NewReader(server)
	for err == nil { // the answer to the upgrade
		var line []byte
		line, err = reader.ReadBytes('\n')
		_, _ = conn.Write(line)
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
	}
	for err == nil {
		var frame []byte
		if frame, err = readFrame(reader); err != nil {
			break
		}
		times := 1
		if bytes.Contains(frame, []byte("wamid.")) && !f.done.Swap(true) {
			times = f.copies
		}
		_, _ = conn.Write(bytes.Repeat(frame, times))
	}
	_ = conn.Close()
}

// readFrame reads one of a server.
func readFrame(in *bufio.Reader) ([]byte, error) {
	head, err := in.Peek(2)
	if err != nil {
		return nil, err
	}
	size := 2 + int(head[1])
	if head[1] == 126 {
		if head, err = in.Peek(4); err != nil {
			return nil, err
		}
		size = 4 + int(binary.BigEndian.Uint16(head[2:]))
	}
	frame := make([]byte, size)
	_, err = io.ReadFull(in, frame)
	return frame, err
}
