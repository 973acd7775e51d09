package ack

import (
	"bufio"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestProcesses: what a process's children use is its own.
func TestProcesses(t *testing.T) {
	const busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
	cmd := exec.Command("sh", "-c", "("+busy+"); ("+busy+"; echo ready; read end); exit")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", strings.TrimSpace(line), err)
	}
	family, err := Processes(cmd.Process.Pid)
	if err != nil || len(family) < 2 || family[0] != cmd.Process.Pid || slices.Contains(family, 1) {
		t.Errorf("processes %v of %d, %v", family, cmd.Process.Pid, err)
	}
	own, err := ProcessorTime(family[len(family)-1])
	if err != nil || own <= 0 {
		t.Errorf("the child used %v s, %v", own, err)
	}
	if all, err := ProcessorTime(cmd.Process.Pid); err != nil || all < 1.5*own {
		t.Errorf("all used %v s, one child %v s, %v", all, own, err)
	}
	forgetPeaks(cmd.Process.Pid)
	one, err := peakMemory(family[1])
	if err != nil || one <= 0 {
		t.Errorf("the child has %d bytes, %v", one, err)
	}
	if all, err := peakMemory(cmd.Process.Pid, 0); err != nil || all <= one {
		t.Errorf("all have %d bytes, one child %d, %v", all, one, err)
	}
	if _, err := peakMemory(1 << 30); err == nil {
		t.Error("process " + strconv.Itoa(1<<30) + " has memory")
	}
}
