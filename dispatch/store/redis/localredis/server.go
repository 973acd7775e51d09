package localredis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	configName = "redis.conf"
	logName    = "redis.log"
	dataName   = "data"
	// startTries is how often a start is tried with another port.
	startTries = 5
)

var errRunning = errors.New("the server runs")

// kind is what the servers of a Sentinel or a Cluster have that a single one has
// not.
type kind struct {
	// bus says that the server has a Cluster bus port.
	bus bool
	// lines makes its configuration, arguments follow the name of that file.
	lines     func(opts Options, port int, data string) []string
	arguments []string
}

var single = kind{lines: Options.lines}

// Server is one redis-server. Its folder holds its configuration, its log, and
// its data in a folder of its own. All methods may be called concurrently.
type Server struct {
	opts  Options
	kind  kind
	path  string
	dir   string
	made  bool // dir was made here, and goes with Stop
	trust *tls.Config
	port  *reservation

	mu sync.Mutex
	// process is the last run, nil once killed. Guarded by mu.
	process *process
}

// Start starts a server and waits until it answers. It gives up with ctx, when
// the server ends, or after 10 s without an answer. It runs on beyond ctx, until
// Kill or Stop.
func Start(ctx context.Context, opts Options) (*Server, error) {
	return start(ctx, single, opts)
}

func start(ctx context.Context, k kind, opts Options) (*Server, error) {
	s, err := prepare(k, opts)
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	for range startTries {
		if err = s.startOnFreePort(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start redis-server: %w", err), s.removeDir())
	}
	return s, nil
}

// prepare makes the folder of a server.
func prepare(k kind, opts Options) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	path, err := Find()
	if err != nil {
		return nil, err
	}
	trust, err := opts.trust()
	if err != nil {
		return nil, err
	}
	dir, made := opts.Dir, false
	if dir == "" {
		if dir, err = os.MkdirTemp("", "localredis-"); err != nil {
			return nil, err
		}
		made = true
	}
	s := &Server{opts: opts, kind: k, path: path, dir: dir, made: made, trust: trust}
	if err := os.MkdirAll(s.dataDir(), 0o700); err != nil {
		return nil, errors.Join(err, s.removeDir())
	}
	return s, nil
}

// startOnFreePort configures the server for a port and starts it there. The port
// is given back where that fails.
func (s *Server) startOnFreePort(ctx context.Context) error {
	port, err := reserve(s.kind.bus)
	if err != nil {
		return err
	}
	s.port = port
	lines := s.kind.lines(s.opts, port.port, s.dataDir())
	err = os.WriteFile(s.file(configName), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if err == nil {
		err = s.Restart(ctx)
	}
	if err != nil {
		port.release()
	}
	return err
}

// Addr is host and port, the same for the server's whole life.
func (s *Server) Addr() string {
	return address(s.port.port)
}

// PID is the process, zero while there is none.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runsLocked() {
		return 0
	}
	return s.process.cmd.Process.Pid
}

// Client makes a client with the server's user and certificate. The caller
// closes it.
func (s *Server) Client() *goredis.Client {
	return goredis.NewClient(s.clientOptions())
}

func (s *Server) clientOptions() *goredis.Options {
	return &goredis.Options{
		Addr:      s.Addr(),
		Username:  s.opts.Username,
		Password:  s.opts.Password,
		TLSConfig: s.trust,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
}

// Kill ends the server with SIGKILL and returns once it is gone; its port stays
// reserved. What it had not written to its files is lost.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

func (s *Server) runsLocked() bool {
	return s.process != nil && !s.process.ended()
}

func (s *Server) killLocked() {
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Restart starts a killed server with the same port, folder and configuration,
// which Redis may have rewritten, and waits as Start does; one that runs is
// killed first. What is in its folder is loaded.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
	log, err := os.OpenFile(s.file(logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.path, append([]string{s.file(configName)}, s.kind.arguments...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = launch(cmd); err != nil {
		return err
	}
	if err := s.awaitAnswer(ctx, s.process); err != nil {
		s.killLocked()
		return s.withLog(err)
	}
	return nil
}

// Wipe deletes the data of a killed server.
func (s *Server) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runsLocked() {
		return fmt.Errorf("wipe %s: %w", s.dataDir(), errRunning)
	}
	if err := os.RemoveAll(s.dataDir()); err != nil {
		return err
	}
	return os.Mkdir(s.dataDir(), 0o700)
}

// Pause stops the server with SIGSTOP: it keeps its connections and answers
// none, until Resume.
func (s *Server) Pause() error {
	return s.signal(syscall.SIGSTOP)
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	return s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runsLocked() {
		return fmt.Errorf("signal %s: %w", s.Addr(), os.ErrProcessDone)
	}
	return s.process.signal(sig)
}

// Stop kills the server, gives back its port and removes the folder if it was
// made by Start. The server cannot be used any more; Stop may be called again.
func (s *Server) Stop() error {
	s.Kill()
	s.port.release()
	return s.removeDir()
}

func (s *Server) removeDir() error {
	if !s.made {
		return nil
	}
	return os.RemoveAll(s.dir)
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) dataDir() string { return s.file(dataName) }
