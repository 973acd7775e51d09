package dashboards_test

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inRoot runs a program as the container of compose.yaml does, as far as a test
// can without containers: the root holds what the image does and cannot be
// written, data is mounted where the volume is, the user is the image's.
//
//	sh -c inRoot sh ROOT DATA WHERE UID:GID PROGRAM ARGUMENT…
const inRoot = `
root=$1 data=$2 where=$3 user=$4; shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
mount --bind "$data" "$root$where"
mount -t proc -o ro proc "$root/proc"
cd "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups="${user#*:}" "$root" "$@"`

// container is a receiver that runs so.
type container struct {
	t                       *testing.T
	root, data, where, user string
	environment             map[string]string
	listen                  string
}

// newContainer lays out the root as the Dockerfile does, with the variables of
// the image and of compose.yaml, but on free ports of loopback and without Redis.
func newContainer(t *testing.T) *container {
	t.Helper()
	receiver, r := loadCompose(t).Services["spillway"], dockerfile(t)
	if receiver.User != r.user {
		t.Fatalf("the user is %s in the Dockerfile, and %s in compose.yaml", r.user, receiver.User)
	}
	c := &container{t: t, root: t.TempDir(), data: t.TempDir(), user: r.user,
		where: receiver.Environment["SPILLWAY_DATA"], listen: freeAddress(t)}
	c.environment = maps.Clone(r.environment)
	maps.Copy(c.environment, receiver.Environment)
	delete(c.environment, "PATH") // what lays out the container needs this machine's
	maps.Copy(c.environment, map[string]string{"SPILLWAY_LISTEN": c.listen, "SPILLWAY_ADMIN": freeAddress(t), "SPILLWAY_REDIS_ADDRS": "", "SPILLWAY_LOG_MIN_FREE": "0"})
	for _, folder := range []string{"usr/bin", "proc", c.where} {
		if err := os.MkdirAll(filepath.Join(c.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(spillway(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.root, "usr/bin/spillway"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	uid, gid := c.ids()
	if err := os.Chmod(c.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(c.data, uid, gid); err != nil {
		t.Skipf("giving the volume to another user needs privileges that are missing: %v", err)
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("mounts of its own need privileges that are missing: %s", out)
	}
	return c
}

func (c *container) ids() (uid, gid int) {
	user, group, _ := strings.Cut(c.user, ":")
	uid, errUser := strconv.Atoi(user)
	gid, errGroup := strconv.Atoi(group)
	if errUser != nil || errGroup != nil || uid == 0 || gid == 0 {
		c.t.Fatalf("the user is %s", c.user)
	}
	return uid, gid
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// command is the image's program with the arguments, within the container.
func (c *container) command(args ...string) *exec.Cmd {
	return command(c.t, c.environment, "unshare",
		append([]string{"--mount", "sh", "-ec", inRoot, "sh", c.root, c.data, c.where, c.user, "/usr/bin/spillway"}, args...)...)
}

// TestContainer: the program runs with the image's files alone, on a root that it
// cannot write, as a user that owns nothing but the volume; the image's health
// check says so, a webhook is kept, and it stops in order.
func TestContainer(t *testing.T) {
	if !strings.HasSuffix(dockerfile(t).healthcheck, `CMD ["spillway", "health"]`) {
		t.Fatalf("the health check is %s", dockerfile(t).healthcheck)
	}
	c := newContainer(t)
	if out, err := c.command("health").CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing listens at") {
		t.Fatalf("health before the start: %v\n%s", err, out)
	}
	if out, err := c.command("serve", "--data", "/elsewhere").CombinedOutput(); err == nil || !strings.Contains(string(out), "read-only file system") {
		t.Fatalf("data beside the volume: %v\n%s", err, out)
	}
	serve := c.command("serve", "--log-format", "json")
	var log bytes.Buffer
	serve.Stdout, serve.Stderr = &log, &log
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	stop := func() error {
		_ = serve.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err
		case <-time.After(stopTime):
			_ = serve.Process.Kill()
			return fmt.Errorf("it did not end within %s: %w", stopTime, <-ended)
		}
	}
	if err := c.healthy(); err != nil {
		t.Fatalf("%v; %v\n%s", err, stop(), log.String())
	}
	send := command(t, map[string]string{"SPILLWAY_APP_SECRET": testSecrets["SPILLWAY_APP_SECRET"]},
		spillway(t), "send", "--url", "http://"+c.listen, "--sample", "message")
	if out, err := send.CombinedOutput(); err != nil {
		t.Errorf("send: %v\n%s", err, out)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v\n%s", err, log.String())
	}
	c.wantOwned()
}

// healthy waits until both questions of health are answered with yes.
func (c *container) healthy() error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		alive, err := c.command("health").CombinedOutput()
		if err == nil {
			var ready []byte
			if ready, err = c.command("health", "--ready").CombinedOutput(); err == nil {
				return nil
			}
			alive = slices.Concat(alive, ready)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not healthy: %w\n%s", err, alive)
		}
	}
}

// wantOwned: what was written belongs to the user, and is in the volume.
func (c *container) wantOwned() {
	c.t.Helper()
	uid, gid := c.ids()
	entries, err := os.ReadDir(filepath.Join(c.data, "log"))
	if err != nil || len(entries) == 0 {
		c.t.Fatalf("the volume has no log: %v", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			c.t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != uid || int(stat.Gid) != gid {
			c.t.Errorf("%s belongs to %d:%d", entry.Name(), stat.Uid, stat.Gid)
		}
	}
}
