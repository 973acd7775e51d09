package main

import (
	"fmt"
	"strings"
	"time"

	"spillway/bench/campaign"
)

// plainEvery is how often progress is told where there is no terminal.
const plainEvery = 5 * time.Second

// barWidth is of the progress bar, in characters.
const barWidth = 20

// campaignProgress shows how far a campaign is: as a bar on a terminal, as lines
// elsewhere.
type campaignProgress struct {
	job  *job
	told time.Duration
}

func newCampaignProgress(job *job) *campaignProgress { return &campaignProgress{job: job} }

func (p *campaignProgress) show(now campaign.Progress) {
	if p.job.terminal {
		p.job.progress("%s", progressLine(now))
		return
	}
	if now.Elapsed-p.told >= plainEvery {
		p.told = now.Elapsed
		p.job.note("%s", progressLine(now))
	}
}

func progressLine(now campaign.Progress) string {
	share := 1.0
	if whole := now.Elapsed + now.Left; whole > 0 {
		share = now.Elapsed.Seconds() / whole.Seconds()
	}
	done := min(barWidth, int(share*barWidth))
	left := now.Left.Round(time.Second).String() + " left"
	if now.Left == 0 {
		left = fmt.Sprintf("waiting for %d events", now.Backlog)
	}
	return fmt.Sprintf("[%s%s] %3.0f %%  %d posts/s, %d in flight, %d acked, %d events seen, lag %s, %s",
		strings.Repeat("#", done), strings.Repeat(".", barWidth-done), 100*share,
		now.Rate, now.InFlight, now.Acked, now.Seen, now.Lag.Round(time.Millisecond), left)
}
