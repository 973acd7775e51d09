package results

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"spillway/bench/ack"
	"spillway/bench/fanout"
	"spillway/bench/machine"
	"spillway/bench/peers/contest"
)

// Stream is what its section is made of. It can be measured alone, and so says for
// itself where and when.
type Stream struct {
	Machine  machine.Machine
	Versions []Version
	Command  string
	Began    time.Time
	Took     time.Duration

	Bench   *fanout.Result
	Contest *contest.Result
}

const streamHeading = "## The stream\n"

// stream is the section of what goes out to WebSockets.
func (p *Page) stream(out io.Writer) {
	if p.Stream == nil {
		fmt.Fprint(out, streamHeading+"\nIt was not measured.\n")
		return
	}
	p.Stream.section(out)
}

// Markdown writes the section alone.
func (s *Stream) Markdown(out io.Writer) error {
	if _, err := out.Write(s.In(nil)); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// In is a page with this section in the place of the one that it has, or at its end.
func (s *Stream) In(page []byte) []byte {
	var section bytes.Buffer
	s.section(&section)
	before, after := page, []byte(nil)
	if at := bytes.Index(page, []byte(streamHeading)); at >= 0 {
		before = page[:at]
		if next := bytes.Index(page[at+len(streamHeading):], []byte("\n## ")); next >= 0 {
			after = page[at+len(streamHeading)+next:]
		}
	}
	if before = bytes.TrimRight(before, "\n"); len(before) > 0 {
		before = append(slices.Clip(before), "\n\n"...)
	}
	return bytes.Join([][]byte{before, section.Bytes(), after}, nil)
}

func (s *Stream) section(out io.Writer) {
	fmt.Fprintf(out, streamHeading+"\n- Machine: %s\n", s.Machine)
	for _, v := range s.Versions {
		fmt.Fprintf(out, "- %s: %s\n", v.Name, v.Version)
	}
	fmt.Fprintf(out, "- Command: `%s`\n", s.Command)
	fmt.Fprintf(out, "- Begun %s, took %s\n", s.Began.UTC().Format("2006-01-02 15:04 UTC"), s.Took.Round(time.Second))
	s.alone(out)
	s.contest(out)
}

// alone is what spillway bench stream found.
func (s *Stream) alone(out io.Writer) {
	fmt.Fprintf(out, `
### Spillway alone

`+"`spillway bench stream`"+` opens WebSockets, posts webhooks of %d bytes with one status each, and holds what comes at every socket against
what was acked. A frame is one event at one socket; latencies are from the begin of a post to when a socket has the event, and processor
times those of all of Spillway. A rate is sustained when all came, once, no socket was closed, and the p99 is at most a second.
Stuck sockets are not read, and are closed; the figures are of the others.

`, s.Bench.Body)
	var rows [][]string
	add := func(phase string, steps ...*fanout.Step) {
		for _, step := range steps {
			if step != nil {
				rows = append(rows, stepRow(phase, step))
			}
		}
	}
	add(fanout.Reference, s.Bench.Reference)
	if s.Bench.Edge != nil {
		add(fanout.Edge, s.Bench.Edge.Steps...)
	}
	add(fanout.Stuck, s.Bench.Stuck...)
	table(out, []string{
		"", "sockets", "stuck", "events/s", "frames/s", "p50", "p99", "lost, doubled",
		"CPU s/million", "receiver, cores", "clients, cores", "others, cores", "resident, MiB", "came of it",
	}, rows)
	streamGoals(out, s.Bench)
}

func stepRow(phase string, s *fanout.Step) []string {
	fault := s.Fault
	if fault == "" {
		fault = "sustained"
	}
	return []string{
		phase, thousands(float64(s.Sockets)), fmt.Sprint(s.Stuck), thousands(float64(s.Rate)), thousands(s.FramesPerSecond),
		seconds(s.P50), seconds(s.P99), fmt.Sprintf("%d, %d", s.Lost, s.Doubled), fmt.Sprintf("%.2f", s.PerMillion),
		cores(s.ReceiverCPU, s.Seconds), cores(s.GeneratorCPU, s.Seconds), cores(s.OtherCPU, s.Seconds), thousands(s.Resident / (1 << 20)), fault,
	}
}

// The goals of the stream alone.
const (
	idleGoal      = 20 << 10 // bytes a socket
	referenceGoal = 50 * time.Millisecond
	edgeGoal      = time.Second
)

// streamGoals sets figures beside goals.
func streamGoals(out io.Writer, r *fanout.Result) {
	var goals []goal
	if i := r.Idle; i != nil {
		goals = append(goals, goal{
			fmt.Sprintf("at most %d KiB for each of %s idle sockets", idleGoal>>10, thousands(float64(i.Sockets))),
			fmt.Sprintf("%.1f KiB resident, of it heap %.1f, stacks %.1f", i.Resident/1024, i.Heap/1024, i.Stack/1024), i.Resident <= idleGoal,
		})
	}
	if s := r.Reference; s != nil {
		g := atMost(fmt.Sprintf("%s events a second to %d sockets: p99", thousands(float64(s.Rate)), s.Sockets), s.P99, referenceGoal)
		g.met = g.met && s.Fault == ""
		goals = append(goals, g)
	}
	if r.Edge != nil {
		g := goal{name: fmt.Sprintf("the edge of %s sockets: p99 at most %s, none lost", thousands(float64(r.Sockets)), edgeGoal), measured: "no rate was sustained"}
		if s := r.Edge.Highest; s != nil {
			g.measured = fmt.Sprintf("%s events a second, %s frames a second, p99 %s", thousands(float64(s.Rate)), thousands(s.FramesPerSecond), seconds(s.P99))
			g.met = s.P99 <= edgeGoal.Seconds() && s.Lost == 0
		}
		goals = append(goals, g)
	}
	var rows [][]string
	for _, g := range goals {
		rows = append(rows, []string{g.name, g.measured, met(g.met)})
	}
	if len(rows) > 0 {
		table(out, []string{"goal", "measured", ""}, rows)
	}
	if r.Verdict.Passed {
		fmt.Fprint(out, "Verdict: passed.\n")
	} else {
		fmt.Fprintf(out, "Verdict: **failed**: %s.\n", strings.Join(r.Verdict.Breaches, "; "))
	}
}

// peerGoal is how many times as good as the library Spillway's stream should be.
const peerGoal = 1.2

// The figures of the contest; of the edge they are 0 where no rate was sustained.
var (
	edgeFrames = ofEdge(func(s *fanout.Step) float64 { return s.FramesPerSecond })
	edgeCost   = ofEdge(func(s *fanout.Step) float64 { return s.PerMillion })
	edgeP99    = ofEdge(func(s *fanout.Step) float64 { return s.P99 })
	heldP50    = ofHeld(func(s *fanout.Step) float64 { return s.P50 })
	heldP99    = ofHeld(func(s *fanout.Step) float64 { return s.P99 })
	heldCost   = ofHeld(func(s *fanout.Step) float64 { return s.PerMillion })
)

func ofHeld(of func(*fanout.Step) float64) func(contest.Sample) float64 {
	return func(s contest.Sample) float64 { return of(s.Held) }
}

func ofEdge(of func(*fanout.Step) float64) func(contest.Sample) float64 {
	return func(s contest.Sample) float64 {
		if s.Edge == nil {
			return 0
		}
		return of(s.Edge)
	}
}

// contest is Spillway beside the library.
func (s *Stream) contest(out io.Writer) {
	c := s.Contest
	fmt.Fprintf(out, `
### Beside the centrifuge library

The same webhooks at the same rates, and the same sockets, against servers that run as processes of their own on the same cores and are
measured in turn: %d rounds, in each a rate that all are to sustain, held for %.3g s, and the edge as above, each rate held for %.3g s.
Figures are medians of the rounds with the least and the largest; ratios are of the same round, and above 1 where Spillway is better.

`, c.Rounds, c.Seconds, c.Step)
	for _, one := range c.Cases {
		contestCase(out, one)
	}
	fmt.Fprint(out, "What they are:\n\n")
	for _, kind := range contest.Kinds {
		fmt.Fprintf(out, "- *%s*: %s\n", kind.Name, kind.What)
	}
	fmt.Fprint(out, `
All clients speak JSON, one connection each, without compression, and are subscribed to all events, of the same bytes. The library keeps
its events in memory and answers a webhook once its event is published, by as many goroutines as there are requests; it has a pool of write
buffers, `+"`ProcessCommandsOffReadLoop`"+`, a queue of 8 MB a socket and 30 s for a write, so that it closes no reader here, and WebSocket's own pings.
`)
}

func contestCase(out io.Writer, c *contest.Case) {
	fmt.Fprintf(out, "#### %s sockets\n\n", thousands(float64(c.Sockets)))
	cell := func(text func(ack.Spread) string, spread ack.Spread, found bool) string {
		if !found {
			return "none"
		}
		return text(spread)
	}
	var rows [][]string
	for _, kind := range contest.Kinds {
		figure := func(text func(ack.Spread) string, of func(contest.Sample) float64) string {
			spread, found := c.Figure(kind.Name, of)
			return cell(text, spread, found)
		}
		row := []string{
			kind.Name, figure(rate, edgeFrames), figure(ofSeconds, edgeP99), figure(ack.Spread.String, edgeCost),
			figure(ofSeconds, heldP50), figure(ofSeconds, heldP99), figure(ack.Spread.String, heldCost),
		}
		for _, r := range peerRatios {
			if kind.Name == contest.Spillway {
				row = append(row, "")
				continue
			}
			spread, found := r.of(c, kind.Name)
			row = append(row, cell(ack.Spread.String, spread, found))
		}
		rows = append(rows, row)
	}
	at := fmt.Sprintf("at %s frames/s: ", thousands(float64(c.Rate*c.Sockets)))
	head := []string{"", "edge: frames/s", "p99", "CPU s/million", at + "p50", "p99", "CPU s/million"}
	for _, r := range peerRatios {
		head = append(head, r.name)
	}
	table(out, head, rows)
	faults(out, c)
	peerGoals(out, c)
}

func ofSeconds(s ack.Spread) string { return seconds(s.Median) }

// peerRatio is one of Spillway to another, above 1 where Spillway is better.
type peerRatio struct {
	name string
	of   func(c *contest.Case, peer string) (ack.Spread, bool)
}

var peerRatios = []peerRatio{
	{"frames/s, spillway / it", func(c *contest.Case, peer string) (ack.Spread, bool) {
		return c.Ratio(contest.Spillway, peer, edgeFrames)
	}},
	{"CPU at the edge, it / spillway", func(c *contest.Case, peer string) (ack.Spread, bool) {
		return c.Ratio(peer, contest.Spillway, edgeCost)
	}},
	{"CPU at the same rate, it / spillway", func(c *contest.Case, peer string) (ack.Spread, bool) {
		return c.Ratio(peer, contest.Spillway, heldCost)
	}},
}

// faults tells which rounds did not sustain the rate that all should.
func faults(out io.Writer, c *contest.Case) {
	for _, kind := range contest.Kinds {
		for round, s := range c.Samples[kind.Name] {
			if s.Held.Fault != "" {
				fmt.Fprintf(out, "In round %d %s did not sustain that rate: %s.\n\n", round+1, kind.Name, s.Held.Fault)
			}
		}
	}
}

func peerGoals(out io.Writer, c *contest.Case) {
	for _, kind := range contest.Kinds {
		if kind.Name == contest.Spillway {
			continue
		}
		var reached []string
		for _, r := range peerRatios {
			if spread, found := r.of(c, kind.Name); found {
				reached = append(reached, fmt.Sprintf("%s %s, %s", r.name, spread, met(spread.Median >= peerGoal)))
			}
		}
		if len(reached) == 0 {
			reached = append(reached, "there is nothing to compare")
		}
		fmt.Fprintf(out, "Goal: %.1f times %s: %s.\n\n", peerGoal, kind.Name, strings.Join(reached, "; "))
	}
}
