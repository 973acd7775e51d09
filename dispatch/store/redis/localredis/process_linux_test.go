package localredis

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const childEnv = "LOCALREDIS_TEST_CHILD"

// TestServersEndWithTheirParent kills a process that has started a server.
func TestServersEndWithTheirParent(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		s, err := Start(testContext(t), Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("process", s.PID())
		select {} // until it is killed
	}
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^TestServersEndWithTheirParent$", "-test.timeout=1m")
	child.Env = append(os.Environ(), childEnv+"="+t.TempDir())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = child.Process.Kill()
	_ = child.Wait()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "process ")))
	if err != nil {
		t.Fatal(err)
	}
	for ctx := testContext(t); !gone(pid); time.Sleep(askEvery) {
		if ctx.Err() != nil {
			t.Fatal("the server outlives its parent")
		}
	}
}

// gone says whether a process has ended; one nobody has waited for yet has.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && strings.Contains(string(status), "State:\tZ")
}
