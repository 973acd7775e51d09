package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spillway/wal"
)

// replayOptions are what `log replay` was told.
type replayOptions struct {
	log          logOptions
	records      rangeFlags
	toURL        string
	again, force bool
	concurrency  int
	retryFor     time.Duration
}

func newLogReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Dispatch records again, or post them to another receiver",
		Long: `Replay runs records of the log again, in one of two ways.

--again dispatches them once more. What the store has seen is dropped, so it
repairs what a store lost and changes nothing else. What is older than
dedupe.window needs --force, by the receipt of the record or by the event's own
time: those events come out whether seen or not, with "replayed": true and the
uids they had, and leave contacts as they are. It ends where dispatching is: what
lies beyond comes out by itself, in order. Give the --config of the receiver where
it does not run.

--to-url posts the bodies as they came in, with the signatures they came with, to
another receiver, which needs the same app secret. It sends --concurrency of them
at a time, those of one customer and of one message in their order; 5xx, 429 and a
connection that fails are tried again for --retry-for, then it stops and says
where to go on. Any other answer but 2xx is counted. It prints one JSON line a
lane.`,
		Example: `  spillway log replay --again --since 2h
  spillway log replay --again --lane express --from 1000 --to 1999
  spillway log replay --to-url https://other.example.com --lane bulk --from 1000`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.log.addFlags(cmd)
	o.records.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.toURL, "to-url", "", "post to the receiver at this `URL`")
	flags.BoolVar(&o.again, "again", false, "dispatch again, in this receiver")
	flags.BoolVar(&o.force, "force", false, "with --again: what is older than dedupe.window, too")
	flags.IntVar(&o.concurrency, "concurrency", 16, "with --to-url: that many `webhooks` at a time")
	flags.DurationVar(&o.retryFor, "retry-for", time.Minute, "with --to-url: how `long` to try one webhook again")
	return cmd
}

func (o *replayOptions) run(cmd *cobra.Command) error {
	query, err := o.check(cmd)
	if err != nil {
		return err
	}
	if o.again {
		return o.log.do(cmd, true, func(ctx context.Context, source logSource, j *job) error {
			return o.dispatchAgain(ctx, source, query, j, func(r replayResult) error { return printJSON(cmd.OutOrStdout(), r) })
		})
	}
	target, err := baseURL(o.toURL, "http", webhookPath)
	if err != nil {
		return err
	}
	return o.log.do(cmd, false, func(ctx context.Context, source logSource, j *job) error {
		return o.post(ctx, source, query, target, j, func(r postResult) error { return printJSON(cmd.OutOrStdout(), r) })
	})
}

// check finds flags that do not belong together.
func (o *replayOptions) check(cmd *cobra.Command) (recordQuery, error) {
	changed := cmd.Flags().Changed
	switch {
	case o.again == (o.toURL != ""):
		return recordQuery{}, usageError("give one of --again and --to-url URL; see %s --help", cmd.CommandPath())
	case o.force && !o.again:
		return recordQuery{}, usageError("--force goes with --again alone")
	case o.again && (changed("concurrency") || changed("retry-for")):
		return recordQuery{}, usageError("--concurrency and --retry-for go with --to-url alone")
	case o.concurrency < 1 || o.concurrency > 1024:
		return recordQuery{}, usageError("--concurrency %d is not allowed; allowed: 1 to 1024", o.concurrency)
	case o.retryFor < 0:
		return recordQuery{}, usageError("--retry-for %s is not allowed; allowed: 0s and more", o.retryFor)
	}
	return o.records.query(cmd)
}

// dispatchAgain replays lane by lane. How far one came is given where it
// failed, too.
func (o *replayOptions) dispatchAgain(ctx context.Context, source logSource, query recordQuery, j *job, give func(replayResult) error) error {
	for _, lane := range query.Lanes {
		one := replayQuery{Lane: lane, From: query.From, To: query.To, Since: query.Since, Force: o.force}
		result, err := source.Replay(ctx, one, func(p replayResult) {
			j.progress("%s: record %d of %d, %d fresh, %d known", lane, p.Seq, p.To, p.Fresh, p.Duplicate)
		})
		j.clear()
		if err == nil && result.Undispatched > 0 {
			j.note("%s: left out the last %d records, which are not known to be dispatched: their events come out without a replay", lane, result.Undispatched)
		}
		if err == nil || result.Records > 0 {
			err = errors.Join(give(result), err)
		}
		next := uint64(0)
		if result.Records > 0 {
			next = result.Seq + 1
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("%w; %s", errInterrupted, query.resume(lane, next))
		case err != nil:
			return err
		}
	}
	return nil
}

// resume says how to go on where a run ended in a lane, before record next; that
// is 0 where nothing of the lane was done.
func (q *recordQuery) resume(lane wal.Lane, next uint64) string {
	left := q.Lanes[slices.Index(q.Lanes, lane):]
	if next == 0 && len(left) == len(q.Lanes) {
		return "run it again"
	}
	var parts []string
	for _, l := range left {
		flags := "--lane " + l.String()
		switch {
		case l == lane && next > 0:
			flags += fmt.Sprintf(" --from %d", next)
			if q.To > 0 {
				flags += fmt.Sprintf(" --to %d", q.To)
			}
		case !q.Since.IsZero():
			flags += " --since " + q.Since.UTC().Format(time.RFC3339)
		}
		parts = append(parts, flags)
	}
	return "go on with " + strings.Join(parts, ", then ")
}

// post posts lane by lane.
func (o *replayOptions) post(ctx context.Context, source logSource, query recordQuery, target *url.URL, j *job, give func(postResult) error) error {
	refused, missing := 0, false
	for _, lane := range query.Lanes {
		one := query
		one.Lanes = []wal.Lane{lane}
		p := newReposter(target, o.concurrency, o.retryFor)
		err := source.Records(ctx, one, func(e logEntry) error {
			if e.Gap != nil {
				missing = true
				j.note("%s", e.gapText())
			}
			j.progress("%s: record %d of %d, %d refused", e.Lane, e.Seq, e.Last, p.result.Refused)
			return p.take(ctx, &e)
		})
		result, err := p.finish(lane.String(), err)
		j.clear()
		if err := give(result); err != nil {
			return err
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return query.stopped(errInterrupted, lane, result)
		case err != nil:
			return query.stopped(err, lane, result)
		}
		refused += result.Refused
		if result.Answers["403"] > 0 {
			j.note("%d webhooks were answered 403: that receiver lacks the app secret they are signed with", result.Answers["403"])
		}
	}
	switch {
	case refused > 0:
		return fmt.Errorf("%d webhooks were refused", refused)
	case missing:
		return errors.New("not all records could be posted")
	}
	return nil
}

// stopped says with an error how to go on, where that may help.
func (q *recordQuery) stopped(err error, lane wal.Lane, result postResult) error {
	hint := q.resume(lane, result.Next)
	switch {
	case result.Next > 0:
		return fmt.Errorf("stopped at %s record %d: %w; %s", lane, result.Next, err, hint)
	case errors.Is(err, errInterrupted), lane != q.Lanes[0]:
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}
