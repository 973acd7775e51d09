package main

// streams answers whether WebSockets get their events, and why they go.
func streams() board {
	return board{
		uid: "spillway-streams", title: "Spillway / Streams",
		about: "Do WebSockets get their events, and why do they go.",
		rows: []row{
			{"Do listeners get their events?", streamHealth()},
			{"Is there room for more?", []panel{
				socketSeries(), socketShare(),
				series("WebSockets refused", "cps",
					q("sum by (instance) (rate(spillway_stream_refused_total{@}[@]))", "{{instance}}")).
					about("Refused with 503, since `stream.sockets` are open or the receiver shuts down. SpillwaySocketsRefused").
					steady(red),
			}},
			{"Do events get out in time?", writing()},
			{"Why do WebSockets go?", leaving()},
			{"Is the store's stream whole?", feed()},
		},
	}
}

func streamHealth() []panel {
	return []panel{
		share("WebSockets, of the limit", q("max(spillway_stream_sockets{@} / spillway_stream_sockets_limit{@})", "")).
			about("Of the receiver that is nearest to `stream.sockets`.").
			limits(step{0.7, yellow}, step{0.9, red}),
		single("Write delay, p99", "s", q(p99("spillway_stream_write_delay_seconds", "").expr, "")).
			about("From when an event was read from the store until it was written to WebSockets: a hundredth takes longer.").
			limits(step{0.25, yellow}, step{1, red}).empty("no events"),
		single("Too slow, 1h", "none", q("sum(increase(spillway_stream_slow_closes_total{@}[1h]))", "")).
			about("WebSockets closed with 4008 in the last hour, as their readers did not keep up.").
			limits(step{1, yellow}, step{100, red}),
		single("Refused, 1h", "none", q("sum(increase(spillway_stream_refused_total{@}[1h]))", "")).
			about("WebSockets refused with 503 in the last hour.").steady(red),
		note("What to do when it is red", whenStreamsRed).size(8, 8),
		single("Feed errors, 15m", "none", q("sum(increase(spillway_stream_feed_errors_total{@}[15m]))", "")).
			about("Times following the store failed and was begun again. Meanwhile no WebSocket gets events.").
			limits(step{1, yellow}, step{3, red}),
		single("Catching up", "none", q("sum(spillway_stream_catching_up{@})", "")).
			about("WebSockets that read from the store what they missed. Many of them for long load the store."),
		single("Rewinds, 1h", "none", q("sum(increase(spillway_stream_rewinds_total{@}[1h]))", "")).
			about("Times the store had lost the end of its stream in the last hour, so that WebSockets read it again.").steady(yellow),
		single("Events kept", "short", q("max(spillway_stream_entries{@})", "")).
			about("Events the streams hold, to resume from. With Redis all receivers see the same streams."),
	}
}

const whenStreamsRed = `
- **WebSockets, Refused**: raise stream.sockets and LimitNOFILE, or add a receiver. SpillwaySocketsRefused
- **Write delay**: CPU or network of the receiver: "Bytes sent" here, "CPU" on *Overview*.
- **Too slow**: readers do not keep up: narrow their filters, or let them read from Redis. They resume where they were. SpillwaySlowSubscribers
- **Feed errors**: the store does not answer: *Dispatch and Redis*, "Does the store answer?". SpillwayFeedErrors
- **Rewinds**: Redis failed over and lost writes; they are applied again. SpillwayRewinds
`

func socketSeries() panel {
	return series("WebSockets by receiver", "none",
		q("spillway_stream_sockets{@}", "{{instance}}"),
		q("max(spillway_stream_sockets_limit{@})", "limit: stream.sockets")).
		about("WebSockets open. At the limit of a receiver more are refused with 503.")
}

func socketShare() panel {
	return series("WebSockets, of the limit", "percentunit",
		q("spillway_stream_sockets{@} / spillway_stream_sockets_limit{@}", "{{instance}}")).
		about("Open, as a share of `stream.sockets`, by receiver: uneven where what balances the load does not spread them.").
		limits(step{0.7, yellow}, step{0.9, red})
}

func frameSeries() panel {
	return series("Events sent", "eps",
		q("sum by (instance) (rate(spillway_stream_frames_total{@}[@]))", "{{instance}}")).
		about("Events written to WebSockets: each as often as there are WebSockets that want it.").stacked()
}

func writing() []panel {
	return []panel{
		frameSeries(),
		series("Bytes sent", "Bps",
			q("sum by (instance) (rate(spillway_stream_sent_bytes_total{@}[@]))", "{{instance}}")).
			about("Bytes written to WebSockets, after compression.").stacked(),
		series("Write delay: p50, p99", "s", quantiles("spillway_stream_write_delay_seconds", "")...).
			about("From when an event was read from the store until it was written to WebSockets.").
			limits(step{0.25, yellow}, step{1, red}),
		heat("Write delay, all of it", "s", buckets("spillway_stream_write_delay_seconds", "")).
			about("How many events waited how long."),
		series("Queues: p50, p99", "none", quantiles("spillway_stream_queue_frames", "")...).
			about("Events in a WebSocket's queue when its writer looked. At `stream.queue` it is overrun."),
		series("Catching up", "none", q("spillway_stream_catching_up{@}", "{{instance}}")).
			about("WebSockets that read from the store what they missed, after a reconnect with `since` or an overrun."),
	}
}

func leaving() []panel {
	return []panel{
		series("Closes by code", "cps",
			q("sum by (code) (rate(spillway_stream_closes_total{@}[@]))", "{{code}}")).
			about("1000, 1001: the reader left. 1006: its connection broke. 1012: the receiver shuts down. 1013: too many with one token, or the store cannot be read. 4001: token bad or expired. 4008: too slow. 4009: `since` is older than what is kept.").stacked(),
		series("Closed as too slow", "cps",
			q("sum by (instance) (rate(spillway_stream_slow_closes_total{@}[@]))", "{{instance}}")).
			about("Readers that did not keep up with what they subscribed to (4008). They resume from the store. SpillwaySlowSubscribers").
			steady(red),
		series("Queues overrun", "cps",
			q("sum by (instance) (rate(spillway_stream_overruns_total{@}[@]))", "{{instance}}")).
			about("Times a WebSocket's queue ran full: the reader catches up from the store, and is closed where it cannot.").
			steady(yellow),
	}
}

func feed() []panel {
	return []panel{
		series("Events kept", "short", q("spillway_stream_entries{@}", "{{instance}}")).
			about("Events the streams hold, to resume from: up to `stream.retain`, and `stream.retain_bytes` in all. With Redis all receivers see the same."),
		series("Feed errors", "cps",
			q("sum by (instance) (rate(spillway_stream_feed_errors_total{@}[@]))", "{{instance}}")).
			about("Times following the store failed and was begun again. SpillwayFeedErrors").steady(red),
		series("Rewinds of the stream", "cps",
			q("sum by (instance) (rate(spillway_stream_rewinds_total{@}[@]))", "{{instance}}")).
			about("Times the store had lost the end of its stream, a fail-over of Redis mostly, so that WebSockets read again.").steady(yellow),
	}
}
