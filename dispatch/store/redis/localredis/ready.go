package localredis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// maxSilence is how long a server that starts may give no answer. One that
	// says it is loading has answered.
	maxSilence = 10 * time.Second
	askEvery   = 10 * time.Millisecond
	askTimeout = time.Second
	// tailLines is how much of the log an error shows.
	tailLines = 15
)

var (
	errPortTaken = errors.New("the port is taken")
	errEnded     = errors.New("it ended")
	errSilent    = fmt.Errorf("no answer in %v", maxSilence)
)

// awaitAnswer returns once the process answers on the server's port.
func (s *Server) awaitAnswer(ctx context.Context, p *process) error {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		err := s.answers(ctx, p.cmd.Process.Pid)
		switch {
		case err == nil:
			return nil
		case goredis.IsLoadingError(err):
			last = time.Now()
		case time.Since(last) > maxSilence:
			return errors.Join(errSilent, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.exited:
			return errEnded
		case <-ticker.C:
		}
	}
}

// answers returns nil if the process with that id answers on the server's port:
// another's may have taken it.
func (s *Server) answers(ctx context.Context, pid int) error {
	return s.ask(ctx, func(client *goredis.Client) error {
		info, err := client.Info(ctx, "server").Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", pid)) {
			return errPortTaken
		}
		return client.Ping(ctx).Err()
	})
}

// ask hands question a client that gives up after a second, and its error on.
func (s *Server) ask(ctx context.Context, question func(*goredis.Client) error) error {
	// After a failed dial the client tries again for a second, and logs it.
	dialer := net.Dialer{Timeout: askTimeout}
	conn, err := dialer.DialContext(ctx, "tcp4", s.Addr())
	if err != nil {
		return err
	}
	_ = conn.Close()
	opts := s.clientOptions()
	opts.MaxRetries, opts.DialerRetries, opts.PoolSize = -1, 1, 1
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout = askTimeout, askTimeout, askTimeout
	opts.DisableIdentity = true
	client := goredis.NewClient(opts)
	defer client.Close()
	return question(client)
}

// withLog adds to err what the server wrote last.
func (s *Server) withLog(err error) error {
	log, readErr := os.ReadFile(s.file(logName))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	tail := bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n"))
	if errors.Is(err, errEnded) && bytes.Contains(tail, []byte("Address already in use")) {
		err = errPortTaken
	}
	return fmt.Errorf("%w; its log ends with:\n%s", err, tail)
}
