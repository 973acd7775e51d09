package ack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Processes are a process and all that descend from it; of a server that is none,
// process 0, there are none.
func Processes(pid int) ([]int, error) {
	if pid == 0 {
		return nil, nil
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	children := map[int][]int{}
	for _, process := range all {
		if stat, err := process.Stat(); err == nil { // else it has ended
			children[stat.PPID] = append(children[stat.PPID], process.PID)
		}
	}
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family, nil
}

// ProcessorTime is what a process, all that descend from it, and those of them
// that have ended have used, in seconds: a Redis rewrites its file in a process of
// its own, and PostgreSQL has one for each connection.
func ProcessorTime(pid int) (float64, error) {
	family, err := Processes(pid)
	if err != nil {
		return 0, err
	}
	seconds := 0.0
	for _, member := range family {
		process, err := procfs.NewProc(member)
		if err == nil {
			var stat procfs.ProcStat
			if stat, err = process.Stat(); err == nil {
				stat.UTime += uint(stat.CUTime)
				stat.STime += uint(stat.CSTime)
				seconds += stat.CPUTime()
			}
		}
		if err != nil && (member == pid || !ended(err)) {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
	}
	return seconds, nil
}

// forgetPeaks has peakMemory count from now on, where the system lets it.
func forgetPeaks(pids ...int) {
	for _, pid := range pids {
		family, _ := Processes(pid) // peakMemory will say so
		for _, member := range family {
			_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", member), []byte("5"), 0)
		}
	}
}

// peakMemory is the most that processes and their descendants had resident, in
// bytes. What several share is counted once, as it is now: of a PostgreSQL with
// many processes and one cache, the sum of what each has resident says nothing.
func peakMemory(pids ...int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		family, err := Processes(pid)
		if err != nil {
			return 0, err
		}
		for _, member := range family {
			peak, err := peakOf(member)
			if err != nil && (member == pid || !ended(err)) {
				return 0, fmt.Errorf("read resident memory: %w", err)
			}
			sum += peak
		}
	}
	return sum, nil
}

// peakOf is a process's share of what is resident now, and by how much its peak
// was above that.
func peakOf(pid int) (int64, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	status, err := process.NewStatus()
	if err != nil {
		return 0, err
	}
	maps, err := process.ProcSMapsRollup()
	if err != nil {
		return 0, err
	}
	return int64(maps.Pss) + int64(status.VmHWM) - int64(status.VmRSS), nil
}

// ended is whether an error says that there is no such process any more.
func ended(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }
