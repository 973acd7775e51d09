// Package results makes a page of Markdown of what was measured. Nothing on it is
// written by hand, so that it can be made anew on any machine.
package results

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"spillway/bench/ack"
	"spillway/bench/campaign"
	"spillway/bench/peers/loss"
)

// Page is all that it is made of.
type Page struct {
	Began time.Time
	Took  time.Duration
	// Command made it.
	Command  string
	Versions []Version
	// Missing are the peers that were left out.
	Missing []Missing

	Body   int // bytes
	Report *ack.Report
	// Losses are by name.
	Losses          map[string]loss.Loss
	LossConnections int
	LossSeconds     float64

	Campaigns []*campaign.Result
	Stream    *Stream // nil where it was not measured
}

// Version is that of a program.
type Version struct{ Name, Version string }

// Missing is a peer, and what to install for it.
type Missing struct{ Name, Why string }

// Markdown writes the page.
func (p *Page) Markdown(out io.Writer) error {
	var page bytes.Buffer
	for _, section := range []func(io.Writer){p.head, p.acks, p.losses, p.campaigns, p.stream} {
		section(&page)
	}
	if _, err := out.Write(page.Bytes()); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

func (p *Page) head(out io.Writer) {
	fmt.Fprint(out, "# Results\n\nMade by `make bench`, all of it, with nothing added by hand. "+
		"Other machines differ: make your own.\n\n")
	fmt.Fprintf(out, "- Machine: %s\n", p.Report.Machine)
	for _, v := range p.Versions {
		fmt.Fprintf(out, "- %s: %s\n", v.Name, v.Version)
	}
	fmt.Fprintf(out, "- Command: `%s`\n", p.Command)
	fmt.Fprintf(out, "- Begun %s, took %s\n", p.Began.UTC().Format("2006-01-02 15:04 UTC"), p.Took.Round(time.Second))
}
