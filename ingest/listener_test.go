package ingest

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// script is a listener whose accepts fail as told, and then give connections.
type script struct {
	net.Listener
	failures []error
}

func (s *script) Accept() (net.Conn, error) {
	if len(s.failures) == 0 {
		near, _ := net.Pipe()
		return near, nil
	}
	err := s.failures[0]
	s.failures = s.failures[1:]
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
}

func (s *script) Close() error { return nil }

func scripted(t *testing.T, failures ...error) (*listener, *bytes.Buffer) {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), nil)
	if err != nil {
		t.Fatal(err)
	}
	logs := &bytes.Buffer{}
	return newListener(&script{failures: failures}, newConnections(1), m, slog.New(slog.NewTextHandler(logs, nil))), logs
}

// Being out of descriptors is no reason to stop accepting, nor to spin.
func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, logs := scripted(t, syscall.EMFILE, syscall.EMFILE, syscall.ECONNABORTED)
		begin := time.Now()
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(begin); waited != 35*time.Millisecond {
			t.Errorf("waited %s, want 5 + 10 + 20 ms", waited)
		}
		if strings.Count(logs.String(), "limits.connections") != 3 {
			t.Errorf("logged %q", logs)
		}
	})
}

func TestAcceptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := scripted(t, syscall.EMFILE)
		time.AfterFunc(time.Millisecond, func() { _ = l.Close() })
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed while it waited: %v, want %v", err, net.ErrClosed)
		}
		l, _ = scripted(t, syscall.EBADF)
		if _, err := l.Accept(); !errors.Is(err, syscall.EBADF) {
			t.Errorf("a lasting failure: %v, want %v", err, syscall.EBADF)
		}
	})
}
