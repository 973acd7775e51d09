package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwner: root leaves no files of its own among those of a receiver that runs as
// somebody else.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can write into the folders of others")
	}
	data := t.TempDir()
	p := start(t, data)
	p.post(messageWebhook("wamid.a", "15550001001", "hello"))
	p.terminate(shutdownTimeout)
	owned := func(uid int) {
		t.Helper()
		if err := filepath.WalkDir(data, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, uid)
		}); err != nil {
			t.Fatal(err)
		}
	}
	replay := func() (string, error) {
		cmd := exec.Command(buildBinary(t), "log", "replay", "--again", "--data", data)
		cmd.Env = serveEnv(data)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	owned(65534)
	out, err := replay()
	if err == nil || !strings.Contains(out, "runuser -u nobody") {
		t.Errorf("%v: %s; want the owner named", err, out)
	}
	if err := filepath.WalkDir(data, func(path string, entry os.DirEntry, err error) error {
		if err == nil {
			err = checkOwner(path)
		}
		if err == nil {
			t.Errorf("%s is root's", path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	owned(0)
	if out, err := replay(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
