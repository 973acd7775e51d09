package results

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"spillway/bench/ack"
	"spillway/bench/peers/peer"
)

// durableGoal is how many times the rate of the best durable peer Spillway should
// reach.
const durableGoal = 1.5

// figure is a column that one receiver is best in.
type figure struct {
	name string
	of   func(ack.Sample) float64
	// text writes it; more is whether more is better.
	text func(ack.Spread) string
	more bool
}

var figures = []figure{
	{"acks/s", func(s ack.Sample) float64 { return s.Rate }, rate, true},
	{"p50", func(s ack.Sample) float64 { return float64(s.P50) }, latency, false},
	{"p99", func(s ack.Sample) float64 { return float64(s.P99) }, latency, false},
	{"p99.9", func(s ack.Sample) float64 { return float64(s.P999) }, latency, false},
	{"CPU s/million", func(s ack.Sample) float64 { return s.ProcessorPerMillion + s.ServerPerMillion }, oneDigit, false},
	{"resident, MiB", func(s ack.Sample) float64 { return float64(s.Memory) / (1 << 20) }, whole, false},
}

func rate(s ack.Spread) string {
	return fmt.Sprintf("%s (%s–%s)", thousands(s.Median), thousands(s.Min), thousands(s.Max))
}
func latency(s ack.Spread) string  { return ack.Rounded(time.Duration(s.Median)) }
func oneDigit(s ack.Spread) string { return fmt.Sprintf("%.1f", s.Median) }
func whole(s ack.Spread) string    { return thousands(s.Median) }

// acks is the section of what was measured in rounds.
func (p *Page) acks(out io.Writer) {
	fmt.Fprintf(out, `
## Acknowledgements

Each receiver checks signatures and answers 200 once a webhook is kept as its row says. All run as processes of their own, with their
data on one disk, and are measured in turn by one generator on the same cores: %d rounds of %.3g s, webhooks of %d bytes, each of a
message that was never seen before. Figures are medians of the rounds, of rates with the least and the largest; ratios are of rates of
the same round. Processor time and memory (the most that was resident, what processes share counted once) are of the receiver and its server.

In each column **bold** is the best of all that keep webhooks, and *italic* the best of those whose ack survives a loss of power.

`, p.Report.Rounds, p.Report.Seconds, p.Body)
	for _, c := range p.Report.Cases {
		p.acksOf(out, c)
	}
	fmt.Fprintln(out, "What they are:")
	fmt.Fprintln(out)
	for _, peer := range peer.All {
		fmt.Fprintf(out, "- *%s*: %s\n", peer.Name, peer.What)
	}
	for _, m := range p.Missing {
		fmt.Fprintf(out, "\n**%s was left out**: %s\n", m.Name, m.Why)
	}
}

// measured are the peers that a case has, in their order.
func measured(c *ack.Case) []peer.Peer {
	return slices.DeleteFunc(slices.Clone(peer.All), func(p peer.Peer) bool { return !c.Has(p.Name) })
}

func (p *Page) acksOf(out io.Writer, c *ack.Case) {
	fmt.Fprintf(out, "### %d connections\n\n", c.Connections)
	peers := measured(c)
	head := []string{""}
	for _, f := range figures {
		head = append(head, f.name)
	}
	head = append(head, peer.Paused+" / it", peer.Spillway+" / it", "an ack survives", "lost by kill -9")
	var rows [][]string
	for _, one := range peers {
		row := []string{one.Name}
		for _, f := range figures {
			row = append(row, f.marked(c, peers, one))
		}
		row = append(row, ratio(c, peer.Paused, one.Name), ratio(c, peer.Spillway, one.Name), one.Survives, p.lost(one))
		rows = append(rows, row)
	}
	table(out, head, rows)
	winners(out, c, peers)
	goals(out, c, peers)
}

// ratio is empty where one was not measured, or both are the same.
func ratio(c *ack.Case, kind, base string) string {
	if kind == base || !c.Has(kind) {
		return ""
	}
	return c.Ratio(kind, base).String()
}

// best is the peer that is best in a figure, of those that keep webhooks, or of
// the durable ones; empty where there is none.
func (f figure) best(c *ack.Case, peers []peer.Peer, durable bool) string {
	name, least := "", 0.0
	for _, p := range peers {
		if !p.Keeps() || durable && !p.Durable {
			continue
		}
		value := c.Figure(p.Name, f.of).Median
		if f.more {
			value = -value
		}
		if name == "" || value < least {
			name, least = p.Name, value
		}
	}
	return name
}

func (f figure) marked(c *ack.Case, peers []peer.Peer, p peer.Peer) string {
	text := f.text(c.Figure(p.Name, f.of))
	if f.best(c, peers, true) == p.Name {
		text = "*" + text + "*"
	}
	if f.best(c, peers, false) == p.Name {
		text = "**" + text + "**"
	}
	return text
}

// winners says in words who is best.
func winners(out io.Writer, c *ack.Case, peers []peer.Peer) {
	for _, group := range []struct {
		durable bool
		of      string
	}{{false, "all that keep webhooks"}, {true, "those whose ack survives a loss of power"}} {
		var best []string
		for _, f := range figures {
			if name := f.best(c, peers, group.durable); name != "" {
				best = append(best, f.name+": "+name)
			}
		}
		if len(best) > 0 {
			fmt.Fprintf(out, "Best of %s: %s.\n\n", group.of, strings.Join(best, "; "))
		}
	}
}

// goals sets Spillway beside the best of the durable peers, with and without those
// that hardly anybody runs.
func goals(out io.Writer, c *ack.Case, peers []peer.Peer) {
	for _, rare := range []bool{false, true} {
		others := slices.DeleteFunc(slices.Clone(peers), func(p peer.Peer) bool {
			return p.Name == peer.Paused || p.Name == peer.Spillway || p.Rare && !rare
		})
		base := figures[0].best(c, others, true)
		if base == "" || !c.Has(peer.Paused) && !c.Has(peer.Spillway) || rare && !slices.ContainsFunc(others, func(p peer.Peer) bool { return p.Rare }) {
			continue
		}
		group := "that people run"
		if rare {
			group = "of all here"
		}
		var reached []string
		for _, ours := range []string{peer.Paused, peer.Spillway} {
			if c.Has(ours) {
				r := c.Ratio(ours, base)
				reached = append(reached, fmt.Sprintf("%s %s, %s", ours, r, met(r.Median >= durableGoal)))
			}
		}
		fmt.Fprintf(out, "Goal: %.1f times the best durable peer %s, %s: %s.\n\n", durableGoal, group, base, strings.Join(reached, "; "))
	}
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "**not met**"
}
