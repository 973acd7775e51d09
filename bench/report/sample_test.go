package report

import (
	"math"
	"math/rand/v2"
	"time"

	"spillway/bench/campaign"
	"spillway/bench/machine"
)

// sampleRun makes up a campaign of a number of seconds: it ramps up, holds, and
// ebbs away.
func sampleRun(name string, seed uint64, seconds int, rate, median float64) Run {
	random := rand.New(rand.NewPCG(seed, 1))
	r := campaign.Result{
		Preset: "1000mps", Receiver: "own", Subscription: "websocket", Version: "v0.5.0-12-g646ffce",
		Machine: machine.Machine{Processor: "AMD EPYC 7B13", Cores: 2, System: "linux/amd64", Go: "go1.26.8"},
		Seed:    seed, Recipients: 100_000, Rate: rate,
		Began: time.Date(2026, 11, 25, 9, 30, 0, 0, time.UTC), Seconds: float64(seconds) + 0.4,
		GeneratorCPU: 0.2 * float64(seconds), ReceiverCPU: 0.9 * float64(seconds),
		OverSecond: 0.0002, BehindSchedule: campaign.BehindSchedule{Posts: 213, Share: 0.0003, MaxSeconds: 0.0123},
		AckSeconds: sampleQuantiles(median), DeliverySeconds: sampleQuantiles(8 * median),
		AckDistribution: sampleDistribution(median), DeliveryDistribution: sampleDistribution(8 * median),
		Verdict: campaign.Verdict{Passed: true},
	}
	for second := range seconds {
		p := samplePoint(random, second, seconds, rate, median)
		r.Sent, r.Acked, r.EventsSeen = r.Sent+p.Sent, r.Acked+p.Acked, r.EventsSeen+p.Seen
		r.Series = append(r.Series, p)
	}
	r.Redelivered, r.Webhooks = r.Sent/10, r.Sent-r.Sent/10
	r.Acked, r.EventsExpected, r.Answers = r.Webhooks, r.EventsSeen, map[int]int64{200: r.Sent}
	return Run{Name: name, Result: r}
}

func samplePoint(random *rand.Rand, second, seconds int, rate, median float64) campaign.Point {
	share := math.Min(1, float64(second+1)/(0.1*float64(seconds)))
	if ebb := float64(seconds-second) / (0.3 * float64(seconds)); ebb < 1 {
		share = math.Pow(ebb, 2)
	}
	sent := int64(3.3 * rate * share * (0.97 + 0.06*random.Float64()))
	noise := func() float64 { return math.Exp(random.NormFloat64() / 6) }
	return campaign.Point{
		Second: second, Sent: sent, Acked: sent, Seen: int64(1.4 * float64(sent) * (0.95 + 0.1*random.Float64())),
		InFlight: int64(4 * share), Backlog: int64(30 * share * noise()), Lag: 8 * median * noise(),
		AckP50: median * noise(), AckP99: 5 * median * noise(),
		DeliveryP50: 8 * median * noise(), DeliveryP99: 30 * median * noise(),
	}
}

func sampleQuantiles(median float64) campaign.Quantiles {
	return campaign.Quantiles{P50: median, P90: 2 * median, P99: 5 * median, P999: 13 * median, Max: 32 * median}
}

func sampleDistribution(median float64) []campaign.Bucket {
	var buckets []campaign.Bucket
	for left := 1.0; left > 1e-5; left *= 0.8 {
		buckets = append(buckets, campaign.Bucket{Seconds: median * (0.45 + 1.9*math.Pow(-math.Log10(left), 1.6)), Share: 1 - left})
	}
	return append(buckets, campaign.Bucket{Seconds: 40 * median, Share: 1})
}

// failedRun is one whose receiver is killed each minute, and which loses events.
func failedRun() Run {
	run := sampleRun("kills", 7, 240, 600, 0.012)
	r := &run.Result
	r.Preset, r.KillEvery, r.Kills, r.Subscription = "", 60, 3, "redis"
	r.Lost, r.OutOfOrder, r.Unanswered, r.Rejected = 12, 1, 1_204, 87
	r.EventsSeen -= r.Lost
	r.AckSeconds.P50, r.OverSecond = 0.31, 0.0231
	r.Answers[503] = r.Rejected
	r.Verdict = campaign.Verdict{
		Breaches: []string{"12 events of acknowledged webhooks were never seen.", "2.31 % of the posts were not answered within a second; Meta allows 1 %."},
		Warnings: []string{"1.2 % of the posts began late: the machine was too busy for the generator."},
	}
	for i := range r.Series {
		p := &r.Series[i]
		p.Killed = p.Second%60 == 0 && p.Second > 0
		if down := p.Second % 60; p.Second > 59 && down < 3 {
			p.Acked, p.Seen, p.InFlight, p.Lag = 0, 0, p.Sent, float64(down+1)
			p.AckP50, p.AckP99, p.DeliveryP50, p.DeliveryP99 = 0, 0, 0, 0
			p.Backlog = 4_000 * int64(down+1)
		} else if p.Second > 59 && down < 10 {
			p.AckP99, p.DeliveryP99, p.Backlog, p.Lag = 2.1/float64(down), 3.3/float64(down-2), 12_000/int64(down-2), 3/float64(down-2)
		}
	}
	return run
}

// emptyRun saw nothing at all.
func emptyRun() Run {
	run := sampleRun("empty", 9, 0, 10, 0.001)
	r := &run.Result
	r.AckDistribution, r.DeliveryDistribution, r.Answers = nil, nil, nil
	r.AckSeconds, r.DeliverySeconds = campaign.Quantiles{}, campaign.Quantiles{}
	return run
}

func passedRun() Run { return sampleRun("1000mps", 42, 300, 1_000, 0.0021) }

// pointRun is over within its first second.
func pointRun() Run { return sampleRun("point", 3, 1, 50, 0.0008) }
