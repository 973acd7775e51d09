package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"spillway/bench/ack"
)

// debian is where Debian puts the programs of each version, off the PATH.
const debian = "/usr/lib/postgresql/*/bin"

var errNoPostgres = errors.New("postgres and initdb are neither on the PATH nor in " + debian +
	": install them (apt-get install postgresql, apk add postgresql, dnf install postgresql-server, brew install postgresql)")

// FindPostgres is the folder of postgres and initdb; of several the newest. The
// error says how to install them.
func FindPostgres() (string, error) {
	folders := filepath.SplitList(os.Getenv("PATH"))
	installed, _ := filepath.Glob(debian) // the pattern is well formed
	slices.SortFunc(installed, func(a, b string) int { return version(b) - version(a) })
	for _, folder := range append(folders, installed...) {
		_, err := exec.LookPath(filepath.Join(folder, "postgres"))
		if err == nil {
			_, err = exec.LookPath(filepath.Join(folder, "initdb"))
		}
		if err == nil {
			return folder, nil
		}
	}
	return "", errNoPostgres
}

// version is the number in /usr/lib/postgresql/15/bin, 0 where there is none.
func version(folder string) int {
	number, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return number
}

// Postgres is a cluster of its own with one database, reached over a socket in its
// folder.
type Postgres struct {
	bin, dir   string
	credential *syscall.Credential
	cmd        *exec.Cmd
	exited     chan struct{} // closed once cmd has ended
}

// settings are what its users would change for many small transactions:
// checkpoints that do not come every few seconds. All else is as it is by default,
// fsync and synchronous_commit among it; they are said to be sure.
var settings = []string{
	"listen_addresses=", "max_connections=200", "shared_buffers=256MB", "max_wal_size=4GB", "checkpoint_timeout=15min",
	"fsync=on", "synchronous_commit=on", "full_page_writes=on",
}

// StartPostgres makes a cluster in the folder and starts it. Postgres refuses to
// run as root: started by root it runs as the user postgres, or nobody, who must
// be able to reach the folder.
func StartPostgres(ctx context.Context, dir string) (*Postgres, error) {
	bin, err := FindPostgres()
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin, dir: dir}
	if err := p.prepare(ctx); err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	if err := p.Restart(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Postgres) prepare(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := p.leaveRoot(); err != nil {
			return err
		}
	}
	out, err := p.command(ctx, "initdb", "--pgdata", p.data(), "--auth", "trust", "--username", "postgres", "--encoding", "UTF8").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// leaveRoot chooses a user, and gives them the folder.
func (p *Postgres) leaveRoot() error {
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return err
	}
	p.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(p.dir, int(uid), int(gid))
}

func (p *Postgres) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	return cmd
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// Addr is the URL of the database.
func (p *Postgres) Addr() string {
	return "postgres:///postgres?" + url.Values{"host": {p.dir}, "user": {"postgres"}}.Encode()
}

// PID is the postmaster.
func (p *Postgres) PID() int { return p.cmd.Process.Pid }

// Restart starts it and waits until it takes connections, after its recovery.
func (p *Postgres) Restart(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", p.data(), "-k", p.dir}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	cmd := p.command(context.WithoutCancel(ctx), "postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT // an immediate shutdown
	p.cmd, p.exited = cmd, make(chan struct{})
	if err := p.launch(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := p.ready(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return errors.Join(fmt.Errorf("start PostgreSQL: %w: %s", err, text), p.Stop())
	}
	return nil
}

// launch keeps the thread that starts it: it ends with that.
func (p *Postgres) launch() error {
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its log says why it ended
		}
	}()
	return <-started
}

func (p *Postgres) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.Addr())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.exited:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the postmaster and all its processes with SIGKILL.
func (p *Postgres) Kill() {
	family, _ := ack.Processes(p.PID())
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL) // or it has ended
	}
	<-p.exited
}

// Stop shuts it down and waits.
func (p *Postgres) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGINT) // a fast shutdown; or it has ended
	<-p.exited
	return nil
}

// PostgresVersion is what postgres says of itself.
func PostgresVersion(ctx context.Context) (string, error) {
	bin, err := FindPostgres()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	return strings.TrimSpace(string(out)), err
}
