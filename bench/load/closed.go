// Package load posts signed webhooks to a receiver and measures the answers.
//
//	Campaign ──▶ Writer ──request──▶ connection ──answer──▶ Result
//
// Closed keeps a number of connections busy, each with one request at a time:
// it finds what a receiver can take. Open sends at a rate whatever comes back,
// as Meta does: it finds what a receiver does with more than it can take. Each
// webhook is signed as it is sent and speaks of messages that none spoke of
// before.
package load

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Closed posts over a number of connections until the duration is over or ctx
// ends; each sends its next webhook when the last one was answered. It counts
// what was answered after warmup. A connection that fails ends.
func Closed(ctx context.Context, c *Campaign, address string, connections int, warmup, duration time.Duration) *Result {
	total := newResult()
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	from, until := began.Add(warmup), began.Add(warmup+duration)
	for range connections {
		group.Go(func() {
			r := newResult()
			if err := r.keepPosting(ctx, c, address, from, until); err != nil {
				r.Errors, r.Err = r.Errors+1, err
			}
			mu.Lock()
			defer mu.Unlock()
			total.merge(r)
		})
	}
	group.Wait()
	total.Elapsed = max(min(time.Since(from), duration), time.Nanosecond)
	return total
}

// keepPosting posts over one connection, and a new one where it was closed.
func (r *Result) keepPosting(ctx context.Context, c *Campaign, address string, from, until time.Time) error {
	writer := c.Writer()
	for ctx.Err() == nil {
		conn, err := dial(address, until.Add(answerTimeout))
		if err != nil {
			return err
		}
		done, err := r.postOver(ctx, conn, writer, from, until)
		conn.close()
		if done || err != nil {
			return err
		}
	}
	return nil
}

func (r *Result) postOver(ctx context.Context, conn *connection, writer *Writer, from, until time.Time) (done bool, err error) {
	for ctx.Err() == nil {
		request := writer.Next()
		sent := time.Now()
		a, err := conn.post(request)
		now := time.Now()
		switch {
		case now.After(until):
			return true, nil
		case err != nil:
			return false, err
		case now.After(from):
			r.count(a, now.Sub(sent), now.Sub(sent))
			if c := writer.campaign; c.acked != nil && a.status == http.StatusOK {
				c.acked(writer.serial)
			}
		}
		if !a.again {
			return false, nil
		}
	}
	return true, nil
}
