package results

import (
	"fmt"
	"io"

	"spillway/bench/peers/peer"
)

// losses is the section of what kill -9 cost.
func (p *Page) losses(out io.Writer) {
	fmt.Fprintf(out, `
## Acked, but lost by kill -9

Each receiver is loaded over %d connections. After %.3g s it and its server are killed with -9 at the same instant, under the load,
and started again; then all that was kept is read back, and the webhooks that were acked and are not among it are counted.

This shows what a crash of the processes costs. Power was not cut. What is written and not yet synced survives a kill, since the system
keeps it, and not a loss of power: what that costs is said in words, from the documentation of each. So a 0 below does not make one durable.

`, p.LossConnections, p.LossSeconds)
	var rows [][]string
	for _, one := range peer.All {
		if l, ok := p.Losses[one.Name]; ok {
			rows = append(rows, []string{
				one.Name, thousands(float64(l.Acked)), thousands(float64(l.Lost)), percent(l.Share()), one.Survives,
			})
		}
	}
	table(out, []string{"", "acked", "lost", "share", "an ack survives"}, rows)
}

// lost is a cell of the tables of rates.
func (p *Page) lost(one peer.Peer) string {
	l, ok := p.Losses[one.Name]
	switch {
	case !one.Keeps():
		return "all"
	case !ok:
		return "not measured"
	}
	return fmt.Sprintf("%s of %s", thousands(float64(l.Lost)), thousands(float64(l.Acked)))
}
