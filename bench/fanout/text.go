package fanout

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// text is a time in seconds to three digits.
func text(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 100*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

const mib = 1 << 20

// noteStep tells a step as soon as it is over.
func (b *bench) noteStep(phase string, s *Step) {
	fault := s.Fault
	if fault == "" {
		fault = "sustained"
	}
	b.note("%s: %d events a second at %d sockets: %.0f frames a second, p99 %s: %s", phase, s.Rate, s.Sockets, s.FramesPerSecond, text(s.P99), fault)
}

// Text writes the result for a person to read, the verdict last.
func (r *Result) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	line("machine", "%s", r.Machine)
	line("receiver", "%s, webhooks of %d bytes", r.Receiver, r.Body)
	if i := r.Idle; i != nil {
		line("idle", "%d sockets, opened in %.1f s: %.1f KiB resident a socket (heap %.1f, stacks %.1f)",
			i.Sockets, i.OpenSeconds, i.Resident/1024, i.Heap/1024, i.Stack/1024)
	}
	if s := r.Reference; s != nil {
		line("reference", "%d sockets, %d events/s: p50 %s, p99 %s, max %s; receiver %.2f of a core, generator %.2f; %d lost, %d doubled",
			s.Sockets, s.Rate, text(s.P50), text(s.P99), text(s.Max), s.ReceiverCPU/s.Seconds, s.GeneratorCPU/s.Seconds, s.Lost, s.Doubled)
	}
	if r.Edge != nil && r.Edge.Highest != nil {
		s := r.Edge.Highest
		line("edge", "%d sockets, %d events/s: %.0f frames/s, %.1f MiB/s, p50 %s, p99 %s; receiver %.2f of a core, %.2f s a million frames, %.0f MiB; generator %.2f of a core",
			s.Sockets, s.Rate, s.FramesPerSecond, float64(s.Bytes)/s.Seconds/mib, text(s.P50), text(s.P99),
			s.ReceiverCPU/s.Seconds, s.PerMillion, s.Resident/mib, s.GeneratorCPU/s.Seconds)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := r.steps(out); err != nil {
		return err
	}
	if r.Verdict.Passed {
		fmt.Fprintln(out, "\nPASSED: the goals are met")
	} else {
		fmt.Fprintln(out, "\nFAILED")
	}
	for _, breach := range r.Verdict.Breaches {
		fmt.Fprintln(out, "  "+breach)
	}
	return nil
}

// steps writes the table of all steps.
func (r *Result) steps(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out)
	fmt.Fprintln(w, "phase\tsockets\tstuck\tevents/s\tframes/s\tMiB/s\tp50\tp99\tmax\tlost\tdoubled\toverruns\tslow\tcores\tper 10⁶\tgenerator\tothers\tRSS MiB\t  came of it")
	row := func(phase string, s *Step) {
		fault := s.Fault
		if fault == "" {
			fault = "sustained"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.0f\t%.1f\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%.2f\t%.2f s\t%.2f\t%.2f\t%.0f\t  %s\n",
			phase, s.Sockets, s.Stuck, s.Rate, s.FramesPerSecond, float64(s.Bytes)/s.Seconds/mib, text(s.P50), text(s.P99), text(s.Max),
			s.Lost, s.Doubled, s.Overruns, s.Slow, s.ReceiverCPU/s.Seconds, s.PerMillion, s.GeneratorCPU/s.Seconds, s.OtherCPU/s.Seconds, s.Resident/mib, fault)
	}
	if r.Reference != nil {
		row(Reference, r.Reference)
	}
	if r.Edge != nil {
		for _, s := range r.Edge.Steps {
			row(Edge, s)
		}
	}
	for _, s := range r.Stuck {
		row(Stuck, s)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
