package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"spillway/bench/ack"
	"spillway/bench/campaign"
)

// ownTarget is a receiver that a campaign started, and may kill.
type ownTarget struct {
	start func(ctx context.Context, public, admin string) (*ack.Target, error)

	mu sync.Mutex
	// target is nil where it did not start again.
	target *ack.Target
	// used is the processor time, in seconds, of those that were killed.
	used float64
}

// startReceiver starts a receiver of its own.
func (o *campaignOptions) startReceiver(ctx context.Context, stderr io.Writer) (r campaign.Receiver, end func() error, err error) {
	place, err := makePlace(o.dir, "spillway-campaign-", o.redis)
	if err != nil {
		return r, nil, err
	}
	args, remove := place.args, place.remove
	if place.redis != nil {
		r.Subscription = campaign.Streams{Client: place.redis, Prefix: place.prefix}
	}
	own := &ownTarget{start: func(ctx context.Context, public, admin string) (*ack.Target, error) {
		return runTarget(ctx, append(args, "--listen", public, "--admin", admin), stderr, func() error { return nil })
	}}
	// It is stopped by end, and not before what it wrote was read.
	if own.target, err = own.start(context.WithoutCancel(ctx), anyPort, anyPort); err != nil {
		return r, nil, errors.Join(fmt.Errorf("start receiver: %w", err), remove())
	}
	end = func() error { return errors.Join(own.stop(), remove()) }
	r.URL = &url.URL{Scheme: "http", Host: own.target.Public, Path: webhookPath}
	r.Secret, r.Kill, r.Processor = benchSecret, own.kill, own.processor
	if len(o.redis) == 0 {
		if r.Subscription, err = socketOf(r.URL, ack.StreamSecret); err != nil {
			return r, nil, errors.Join(err, end())
		}
	}
	return r, end, nil
}

// kill kills the receiver with -9 and starts another over its folder, at the
// same addresses.
func (o *ownTarget) kill(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used += o.processorLocked()
	if err := syscall.Kill(o.target.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill receiver: %w", err)
	}
	killed := o.target
	_ = killed.Stop() // it says that it was killed
	var err error
	o.target, err = o.start(ctx, killed.Public, killed.Admin)
	return err
}

func (o *ownTarget) stop() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.target == nil {
		return nil
	}
	return o.target.Stop()
}

func (o *ownTarget) processor() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.used + o.processorLocked()
}

// processorLocked is that of the one that runs; 0 where it cannot be read.
func (o *ownTarget) processorLocked() float64 {
	if o.target == nil {
		return 0
	}
	used, _ := ack.ProcessorTime(o.target.PID)
	return used
}

// removeWithin bounds removing a campaign's keys.
const removeWithin = time.Minute

// removeKeys removes what a campaign left in Redis, on every primary.
func removeKeys(client goredis.UniversalClient, prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeWithin)
	defer cancel()
	remove := func(ctx context.Context, node goredis.Cmdable) error {
		keys := node.Scan(ctx, 0, prefix+":*", 1000).Iterator()
		for keys.Next(ctx) {
			if err := node.Unlink(ctx, keys.Val()).Err(); err != nil {
				return err
			}
		}
		return keys.Err()
	}
	var err error
	if cluster, is := client.(*goredis.ClusterClient); is {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error { return remove(ctx, node) })
	} else {
		err = remove(ctx, client)
	}
	if err != nil {
		return fmt.Errorf("remove keys %s:*: %w", prefix, err)
	}
	return nil
}
