package fanout

import (
	"fmt"
	"time"
)

// A stuck socket must not make the p99 of the others more than worse times as much,
// unless that is below unharmed.
const (
	worse    = 2
	unharmed = 50 * time.Millisecond
)

// judge holds a result against the goals.
func judge(r *Result) Verdict {
	v := Verdict{Breaches: []string{}}
	breach := func(broken bool, format string, args ...any) {
		if broken {
			v.Breaches = append(v.Breaches, fmt.Sprintf(format, args...))
		}
	}
	if i := r.Idle; i != nil {
		breach(i.Resident > mostIdle, "idle: a socket costs %.1f KiB; the goal is %d", i.Resident/1024, mostIdle>>10)
	}
	if s := r.Reference; s != nil {
		breach(s.Fault != "", "reference: %s", s.Fault)
		breach(s.P99 > mostReference.Seconds(), "reference: p99 is %s; the goal is %s", text(s.P99), mostReference)
	}
	if r.Edge != nil {
		breach(r.Edge.Highest == nil, "edge: no rate was sustained")
		for _, s := range r.Edge.Steps { // whatever the rate: what a socket is not closed for it gets once
			breach(s.Doubled > 0, "edge: at %d events a second %d came twice", s.Rate, s.Doubled)
			breach(s.Lost > 0 && len(s.Closed) == 0, "edge: at %d events a second %d were lost at sockets that stayed open", s.Rate, s.Lost)
		}
	}
	for _, s := range r.Stuck {
		base := r.Stuck[0].P99
		breach(s.Fault != "", "stuck: with %d stuck sockets: %s", s.Stuck, s.Fault)
		breach(s.P99 > unharmed.Seconds() && s.P99 > worse*base, "stuck: with %d stuck sockets the p99 of the others is %s; without it is %s",
			s.Stuck, text(s.P99), text(base))
	}
	v.Passed = len(v.Breaches) == 0
	return v
}
