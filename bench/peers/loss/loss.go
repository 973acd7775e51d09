// Package loss counts the webhooks that a receiver acked and does not have after a
// kill -9: it is loaded, all its processes are killed at once under the load, they
// are started again, and what they kept is read back.
package loss

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"spillway/bench/ack"
	"spillway/bench/load"
)

// Receiver is one that runs.
type Receiver interface {
	// Public is where it takes webhooks, host:port.
	Public() string
	// Kill ends all its processes with SIGKILL at once, Restart starts them anew.
	Kill() error
	Restart(ctx context.Context) error
	// Kept gives each webhook that it kept, or what was made of it.
	Kept(ctx context.Context, each func(webhook []byte)) error
}

// Config says how it is loaded.
type Config struct {
	Body, Connections int
	// Duration is the time from the first webhook to the kill.
	Duration time.Duration
}

// Loss is what was found.
type Loss struct {
	Acked int `json:"acked"`
	// Lost were acked and are not there after the kill.
	Lost int `json:"lost"`
}

// Share is that of the acks, 0 to 1.
func (l Loss) Share() float64 { return float64(l.Lost) / float64(max(1, l.Acked)) }

// loadLimit bounds the load where the kill does not end it.
const loadLimit = time.Minute

// Measure loads a receiver, kills it and counts. It leaves it running anew.
func Measure(ctx context.Context, cfg Config, r Receiver) (Loss, error) {
	campaign, err := load.NewCampaign(cfg.Body, ack.Secret, r.Public())
	if err != nil {
		return Loss{}, err
	}
	acked, err := loadAndKill(ctx, cfg, r, campaign)
	if err != nil {
		return Loss{}, err
	}
	if err := r.Restart(ctx); err != nil {
		return Loss{}, fmt.Errorf("start again: %w", err)
	}
	loss := Loss{Acked: len(acked)}
	err = r.Kept(ctx, func(webhook []byte) {
		if serial, ok := campaign.Serial(webhook); ok {
			delete(acked, serial)
		}
	})
	loss.Lost = len(acked)
	return loss, err
}

// loadAndKill gives the serials that were acked.
func loadAndKill(ctx context.Context, cfg Config, r Receiver, campaign *load.Campaign) (map[uint64]struct{}, error) {
	var mu sync.Mutex
	acked := map[uint64]struct{}{} // under mu until the load has ended
	campaign.OnAck(func(serial uint64) {
		mu.Lock()
		defer mu.Unlock()
		acked[serial] = struct{}{}
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, address := make(chan *load.Result, 1), r.Public()
	go func() {
		ended <- load.Closed(ctx, campaign, address, cfg.Connections, 0, cfg.Duration+loadLimit)
	}()
	select {
	case result := <-ended:
		return nil, fmt.Errorf("the load ended before the kill: %s", result)
	case <-time.After(cfg.Duration):
	}
	err := r.Kill()
	cancel()
	<-ended // every connection has failed
	if err == nil && len(acked) == 0 {
		err = errors.New("nothing was acked")
	}
	return acked, err
}
