package results

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"spillway/bench/ack"
	"spillway/bench/campaign"
)

// The goals of campaigns.
const (
	ackGoal      = 25 * time.Millisecond  // p99 at 1000mps
	deliveryGoal = 250 * time.Millisecond // p99 at 1000mps
	coreGoal     = 1. / 3                 // of the generator, at 1000mps
	recoveryGoal = 2                      // lengths of the burst, until delivery is normal again
)

// The presets that have goals.
const (
	steadyPreset = "1000mps"
	burstPreset  = "burst10x"
	// steadyPosts is how many a second the steady preset is named for.
	steadyPosts = 3300
)

// campaigns is the section of Spillway's own campaigns.
func (p *Page) campaigns(out io.Writer) {
	if len(p.Campaigns) == 0 {
		fmt.Fprint(out, "## Campaigns\n\nNone was run.\n\n")
		return
	}
	fmt.Fprint(out, `## Campaigns

`+"`spillway bench campaign`"+` sends what a campaign brings, on a schedule and whatever comes back, against all of Spillway on the same
cores, and subscribes like any user. Latencies count from the time that a webhook was due. Ack p50 and p99, delivery p50 and p99.

`)
	var rows [][]string
	for _, c := range p.Campaigns {
		rows = append(rows, []string{
			c.Preset, thousands(float64(c.Recipients)), fmt.Sprintf("%.0f s", c.Seconds),
			thousands(float64(c.Sent)), thousands(float64(c.Redelivered)), thousands(float64(c.Rejected)),
			thousands(float64(c.EventsSeen)), fmt.Sprintf("%d, %d, %d", c.Lost, c.Duplicated, c.OutOfOrder),
			seconds(c.AckSeconds.P50) + ", " + seconds(c.AckSeconds.P99),
			seconds(c.DeliverySeconds.P50) + ", " + seconds(c.DeliverySeconds.P99),
			cores(c.GeneratorCPU, c.Seconds), cores(c.ReceiverCPU, c.Seconds),
			percent(c.BehindSchedule.Share), verdict(c.Verdict),
		})
	}
	table(out, []string{
		"", "recipients", "took", "posts", "redelivered", "rejected", "events", "lost, doubled, out of order",
		"ack", "delivery", "generator, cores", "receiver, cores", "behind schedule", "verdict",
	}, rows)
	p.campaignGoals(out)
}

func seconds(s float64) string { return ack.Rounded(time.Duration(s * float64(time.Second))) }

func cores(processor, elapsed float64) string {
	if elapsed <= 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", processor/elapsed)
}

func verdict(v campaign.Verdict) string {
	text := "passed"
	if !v.Passed {
		text = "**failed**: " + strings.Join(v.Breaches, "; ")
	}
	if len(v.Warnings) > 0 {
		text += " (" + strings.Join(v.Warnings, "; ") + ")"
	}
	return text
}

// campaignGoals sets figures beside goals.
func (p *Page) campaignGoals(out io.Writer) {
	var rows [][]string
	for _, c := range p.Campaigns {
		for _, g := range goalsOf(c) {
			rows = append(rows, []string{c.Preset, g.name, g.measured, met(g.met)})
		}
	}
	if len(rows) > 0 {
		table(out, []string{"", "goal", "measured", ""}, rows)
	}
}

// goal is one of a campaign, and what came of it.
type goal struct {
	name, measured string
	met            bool
}

func goalsOf(c *campaign.Result) []goal {
	switch c.Preset {
	case steadyPreset:
		share := math.Inf(1)
		if c.Sent > 0 {
			share = c.GeneratorCPU / float64(c.Sent) * steadyPosts
		}
		return []goal{
			{"0 lost, 0 doubled", fmt.Sprintf("%d, %d", c.Lost, c.Duplicated), c.Lost == 0 && c.Duplicated == 0},
			atMost("ack p99", c.AckSeconds.P99, ackGoal),
			atMost("delivery p99", c.DeliverySeconds.P99, deliveryGoal),
			{"the generator below a third of a core at 3,300 posts a second", fmt.Sprintf("%.2f", share), share < coreGoal},
		}
	case burstPreset:
		return []goal{{"no rejection", thousands(float64(c.Rejected)), c.Rejected == 0}, recoveryOf(c.Burst)}
	}
	return nil
}

// recoveryOf counts from the begin of a burst, the stricter reading.
func recoveryOf(b *campaign.Burst) goal {
	g := goal{name: fmt.Sprintf("delivery normal within %d lengths of the burst, from its begin", recoveryGoal), measured: "the burst was not reached"}
	switch {
	case b == nil:
	case b.RecoveredAfter < 0:
		g.measured = fmt.Sprintf("burst of %.0f s, never below %s again", b.Seconds, seconds(b.NormalSeconds))
	default:
		after := b.Seconds + b.RecoveredAfter
		g.measured = fmt.Sprintf("burst of %.0f s, p99 below %s again %.0f s after its begin", b.Seconds, seconds(b.NormalSeconds), after)
		g.met = after <= recoveryGoal*b.Seconds
	}
	return g
}

func atMost(name string, measured float64, limit time.Duration) goal {
	return goal{fmt.Sprintf("%s at most %s", name, limit), seconds(measured), measured <= limit.Seconds()}
}
