package campaign

import (
	"time"

	"spillway/bench/machine"
)

// Result is what came of a campaign, as it is printed with --json.
type Result struct {
	// Preset is empty where none was named.
	Preset string `json:"preset,omitempty"`
	// Receiver is the URL, or "own".
	Receiver string `json:"receiver"`
	// Subscription is how events were seen: "websocket" or "redis".
	Subscription string `json:"subscription"`
	// Version is of the program that ran the campaign.
	Version    string          `json:"version"`
	Machine    machine.Machine `json:"machine"`
	Seed       uint64          `json:"seed"`
	Recipients int             `json:"recipients"`
	// Rate is of messages sent a second, at the hold.
	Rate      float64   `json:"rate"`
	KillEvery float64   `json:"kill_every_seconds,omitempty"`
	Kills     int       `json:"kills,omitempty"`
	Began     time.Time `json:"began"`
	// Seconds is from the first send that was due to the last event.
	Seconds float64 `json:"seconds"`

	// Webhooks are the different bodies, Sent all posts: redeliveries and retries
	// too. Acked are the bodies that were answered 200, Unacked those that never
	// were. Rejected are posts with another answer, Unanswered those without one.
	Webhooks    int64 `json:"webhooks"`
	Sent        int64 `json:"sent"`
	Redelivered int64 `json:"redelivered"`
	Retried     int64 `json:"retried"`
	Acked       int64 `json:"acked"`
	Unacked     int64 `json:"unacked"`
	Rejected    int64 `json:"rejected"`
	Unanswered  int64 `json:"unanswered"`
	// Answers are posts by status.
	Answers map[int]int64 `json:"answers"`

	EventsExpected int64 `json:"events_expected"`
	EventsSeen     int64 `json:"events_seen"`
	Lost           int64 `json:"lost"`
	Duplicated     int64 `json:"duplicated"`
	OutOfOrder     int64 `json:"out_of_order"`

	// AckSeconds count from the time a post was due to its answer 200,
	// DeliverySeconds from the time a webhook was first due to each of its events.
	AckSeconds      Quantiles `json:"ack_seconds"`
	DeliverySeconds Quantiles `json:"delivery_seconds"`
	// OverSecond is the share of posts that were not answered within a second, of
	// those that were acked or not answered at all; what was not answered by a
	// receiver that had been killed does not count.
	OverSecond     float64        `json:"over_one_second"`
	BehindSchedule BehindSchedule `json:"behind_schedule"`
	// GeneratorCPU and ReceiverCPU are processor seconds; the receiver's is known
	// of an own one alone.
	GeneratorCPU float64 `json:"generator_cpu_seconds"`
	ReceiverCPU  float64 `json:"receiver_cpu_seconds,omitempty"`

	// Burst is there where the campaign had one.
	Burst *Burst `json:"burst,omitempty"`

	Verdict Verdict `json:"verdict"`

	// Series has a point for each second; Distributions are cumulative.
	Series               []Point  `json:"series"`
	AckDistribution      []Bucket `json:"ack_distribution"`
	DeliveryDistribution []Bucket `json:"delivery_distribution"`
}

// Quantiles are of latencies, in seconds; all are 0 where there was none.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// BehindSchedule tells how well the generator kept its own schedule.
type BehindSchedule struct {
	// Posts are those that began more than 10 ms after they were due.
	Posts int64 `json:"posts"`
	// Share is of all posts.
	Share float64 `json:"share"`
	// MaxSeconds is how late one was at most.
	MaxSeconds float64 `json:"max_seconds"`
}

// Verdict is whether the receiver held.
type Verdict struct {
	Passed bool `json:"passed"`
	// Breaches say each in a sentence what went wrong, Warnings what makes the
	// figures less certain.
	Breaches []string `json:"breaches"`
	Warnings []string `json:"warnings"`
}

// Point is one second of a campaign.
type Point struct {
	// Second counts from the first send that was due.
	Second   int   `json:"second"`
	Sent     int64 `json:"sent"`
	Acked    int64 `json:"acked"`
	Rejected int64 `json:"rejected"`
	// Seen are events.
	Seen int64 `json:"seen"`
	// InFlight are posts without an answer, Backlog events that were acked and
	// not seen, Lag the age in seconds of the oldest of them, at its end.
	InFlight int64   `json:"in_flight"`
	Backlog  int64   `json:"backlog"`
	Lag      float64 `json:"lag_seconds"`
	// Latencies in seconds of what was answered and seen in it; 0 where nothing was.
	AckP50      float64 `json:"ack_p50_seconds"`
	AckP99      float64 `json:"ack_p99_seconds"`
	DeliveryP50 float64 `json:"delivery_p50_seconds"`
	DeliveryP99 float64 `json:"delivery_p99_seconds"`
	// Killed is whether the receiver was killed in it.
	Killed bool `json:"killed,omitempty"`
}

// Bucket is a latency in seconds, and the share of all that did not exceed it.
type Bucket struct {
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
}
