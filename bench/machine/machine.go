// Package machine says what a benchmark ran on.
package machine

import (
	"fmt"
	"runtime"

	"github.com/prometheus/procfs"
)

// Machine is what it was measured on.
type Machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	System    string `json:"system"`
	Go        string `json:"go"`
}

// This is the machine that the program runs on.
func This() Machine {
	m := Machine{Processor: "unknown processor", Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if info, err := fs.CPUInfo(); err == nil && len(info) > 0 {
			m.Processor = info[0].ModelName
		}
	}
	return m
}

// String is all of it in a line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s", m.Processor, m.Cores, m.System, m.Go)
}
