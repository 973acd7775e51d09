package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"spillway/bench/ack"
	"spillway/bench/load"
)

// TestOverload sends twice what a receiver takes, over many connections. It must
// go on taking, answer nothing but 200 and 503 with Retry-After, need no more
// memory, and take all again once less comes.
func TestOverload(t *testing.T) {
	const connections, most = 2000, 512 << 20
	bodies, duration := []int{20 << 10}, 3*time.Second
	if full() {
		bodies, duration = []int{600, 20 << 10}, 20*time.Second
	}
	for _, size := range bodies {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			p := startTargetProcess(t, ack.Paused, t.TempDir())
			c := newLoad(t, size, p)
			capacity := acksOf(t, p, c, 256, duration/2)
			t.Logf("capacity: %s", capacity)
			before := p.acksWithin()
			r := load.Open(context.Background(), c, p.public, load.OpenConfig{
				Rate: max(int(2*capacity.Rate()), 1), Connections: connections, Duration: duration,
			})
			within := p.acksWithin()
			t.Logf("at twice that: %s", r)
			quick, all := within[0]-before[0], within[2]-before[2]
			t.Logf("%.1f %% of the acks within 250 ms of the header, %.1f %% within 1 s; %d MiB resident",
				100*quick/all, 100*(within[1]-before[1])/all, p.residentBytes()>>20)
			for status := range r.Answers {
				if status != http.StatusOK && status != http.StatusServiceUnavailable {
					t.Errorf("answers %d", status)
				}
			}
			if r.Errors > 0 || r.Unsaid > 0 {
				t.Errorf("%d connections failed (%v), %d answers 503 without Retry-After", r.Errors, r.Err, r.Unsaid)
			}
			if got := p.number(`spillway_ingest_unavailable_total{reason="overload"}`); got < float64(r.Answers[503]) {
				t.Errorf("%.0f refusals counted, %d seen", got, r.Answers[503])
			}
			// A busy machine is slower; a queue without bounds is much slower.
			if quick < 0.5*all || within[1]-before[1] < 0.95*all {
				t.Errorf("of %.0f acks %.0f came within 250 ms, %.0f within 1 s", all, quick, within[1]-before[1])
			}
			if r.Rate() < 0.2*capacity.Rate() {
				t.Errorf("%.0f acks/s at twice the load that %.0f/s were taken of", r.Rate(), capacity.Rate())
			}
			if resident := p.residentBytes(); resident > most {
				t.Errorf("%d MiB resident", resident>>20)
			}
			time.Sleep(time.Second) // what stood in the way of new ones is gone then
			acksOf(t, p, c, 16, duration/4)
		})
	}
}

// acksWithin is how many webhooks were acked within 250 ms of their header,
// within a second, and in all.
func (p *process) acksWithin() [3]float64 {
	const series = `spillway_ingest_ack_seconds_bucket{le=%q}`
	return [3]float64{p.number(fmt.Sprintf(series, "0.25")), p.number(fmt.Sprintf(series, "1")), p.number(fmt.Sprintf(series, "+Inf"))}
}
