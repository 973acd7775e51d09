package fanout

import (
	"time"

	"spillway/bench/machine"
	"spillway/bench/subscribers"
)

// The goals, on two cores with the subscribers beside the receiver.
const (
	mostIdle      = 20 << 10 // bytes a socket
	mostReference = 50 * time.Millisecond
	mostEdge      = time.Second
)

// Result is what was measured; of a phase that did not run there is nothing.
type Result struct {
	Machine   machine.Machine `json:"machine"`
	Receiver  string          `json:"receiver"`
	Version   string          `json:"version"`
	Sockets   int             `json:"sockets"`
	Body      int             `json:"body_bytes"`
	Idle      *IdleResult     `json:"idle,omitempty"`
	Reference *Step           `json:"reference,omitempty"`
	Edge      *EdgeResult     `json:"edge,omitempty"`
	Stuck     []*Step         `json:"stuck,omitempty"`
	Verdict   Verdict         `json:"verdict"`
}

// IdleResult is what a socket costs that gets nothing. All but Resident is after a
// collection, and over what there was before the sockets.
type IdleResult struct {
	Sockets int `json:"sockets"`
	// OpenSeconds is how long it took to open them.
	OpenSeconds float64 `json:"open_seconds"`
	// Resident, Heap and Stack are of the receiver, in bytes a socket. They are 0
	// where its metrics could not be read.
	Resident float64 `json:"resident_bytes_per_socket"`
	Heap     float64 `json:"heap_bytes_per_socket"`
	Stack    float64 `json:"stack_bytes_per_socket"`
}

// EdgeResult is the search for the highest rate that is sustained.
type EdgeResult struct {
	// Highest is the step with it; nil where not even the first was.
	Highest *Step   `json:"highest,omitempty"`
	Steps   []*Step `json:"steps"`
}

// Step is one rate that was held for some time.
type Step struct {
	// Rate is of events a second as planned, Seconds from the first post to when the
	// last event came.
	Rate    int     `json:"rate"`
	Sockets int     `json:"sockets"`
	Stuck   int     `json:"stuck"`
	Seconds float64 `json:"seconds"`
	// Events were acked, Refused were answered otherwise or not at all, Unsent were due
	// and not posted. Late is how late a post began at most, in seconds.
	Events  int64   `json:"events"`
	Refused int64   `json:"refused"`
	Unsent  int64   `json:"unsent"`
	Late    float64 `json:"late_seconds"`
	// Frames are the events that came, at each socket once, Messages and Bytes all that
	// the subscribers read. A frame may be several to a message: see Target.
	Frames          int64   `json:"frames"`
	Messages        int64   `json:"messages"`
	Bytes           int64   `json:"bytes"`
	FramesPerSecond float64 `json:"frames_per_second"`
	// Latencies, in seconds, are from the begin of a post to when a subscriber had
	// the event.
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
	Max float64 `json:"max_seconds"`
	// Lost counts each event that was acked and did not come at a socket, Short such
	// sockets, Doubled what came again. Closed are sockets by close code.
	Lost    int64                      `json:"lost"`
	Short   int64                      `json:"short_sockets"`
	Doubled int64                      `json:"doubled"`
	Closed  map[int]subscribers.Closed `json:"closed,omitempty"`
	// Slow and Overruns are by the receiver's own count, with those of stuck sockets.
	Slow     int64 `json:"slow_closes"`
	Overruns int64 `json:"overruns"`
	// Processor times are in seconds, Resident in bytes at the end. Those of the
	// receiver are 0 where its metrics could not be read.
	ReceiverCPU  float64 `json:"receiver_cpu_seconds"`
	GeneratorCPU float64 `json:"generator_cpu_seconds"`
	PerMillion   float64 `json:"receiver_cpu_seconds_per_million_frames"`
	// OtherCPU is of all that ran beside both, without what the kernel did for the network.
	OtherCPU float64 `json:"other_cpu_seconds"`
	Resident float64 `json:"receiver_resident_bytes"`
	// Fault is why the rate was not sustained; empty where it was.
	Fault string `json:"fault,omitempty"`
}

// Verdict is whether the receiver held.
type Verdict struct {
	Passed bool `json:"passed"`
	// Breaches say each in a sentence what went wrong.
	Breaches []string `json:"breaches"`
}
