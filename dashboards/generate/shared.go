package main

// Panels that stand on more than one dashboard.

// week is the longest time until full that is told; a flat line is longer.
const week = 7 * 86400.0

// logTimeLeft and diskTimeLeft are the seconds until webhooks are refused, by
// the slope of the last 15 minutes and of the last hour, a week at most. What is
// not released alone makes the log full: all else in it may go when room is
// needed. The disk is asked for longer, as a campaign's burst takes of it at
// once what is then the log's for a day.
const (
	logTimeLeft = `clamp(
  (spillway_log_limit_bytes{@} - sum without (lane) (spillway_log_unreleased_bytes{@}))
    / clamp_min(sum without (lane) (deriv(spillway_log_unreleased_bytes{@}[15m])), 1),
  0, 604800)`
	diskTimeLeft = `clamp(
  (spillway_log_free_bytes{@} - spillway_log_min_free_bytes{@})
    / clamp_min(-deriv(spillway_log_free_bytes{@}[1h]), 1),
  0, 604800)`
)

func timeUntilFull() panel {
	return single("Time until full", "s",
		q("min("+logTimeLeft+")", "log"),
		q("min("+diskTimeLeft+")", "disk")).
		about("Until the first receiver refuses webhooks with 503: because what is not dispatched reaches `log.max_bytes`, as the last 15 minutes went (log), or because free space reaches `log.min_free`, as the last hour went (disk). A log that grows up to `log.max_bytes` takes space as it should: see whether the disk has room for that.").
		limits(step{below, red}, step{3600, yellow}, step{6 * 3600, green}).
		says(new(week), nil, "not filling", green)
}

func timeUntilFullSeries() panel {
	return series("Time until full, by receiver", "s",
		q(logTimeLeft, "log {{instance}}"),
		q(diskTimeLeft, "disk {{instance}}")).
		about("Until webhooks are refused with 503: at `log.max_bytes` of what is not dispatched, as the last 15 minutes went (log), or at `log.min_free` of free space, as the last hour went (disk). Seven days, the top, means that it does not fill.").
		limits(step{below, red}, step{3600, yellow}, step{6 * 3600, green}).
		says(new(week), nil, "not filling", green)
}

func ackQuantiles() panel {
	return series("Time to the 200: p50, p99", "s", quantiles("spillway_ingest_ack_seconds", "")...).
		about("From the header of a webhook until its 200, the disk's sync included. Meta asks for a median under 250 ms, and for at most 1 % above 1 s: the dashed lines.").
		limits(step{0.25, yellow}, step{1, red})
}

const ackedOverOneSecond = `1 - sum(rate(spillway_ingest_ack_seconds_bucket{@,le=~"1|1.0"}[@]))
  / (sum(rate(spillway_ingest_ack_seconds_count{@}[@])) > 0)`

func lagSeries() panel {
	return series("Lag, by lane", "s",
		q("max by (lane) (spillway_dispatch_lag_seconds{@})", "{{lane}}")).
		about("Age of the oldest webhook whose events are not out, on the receiver that is furthest behind; 0 where all are. Express holds customers' messages and should stay under 5 s; bulk holds a campaign's statuses and may take minutes.").
		limits(step{30, yellow}, step{900, red})
}

func deliverySeries() panel {
	return series("Receipt until effect: p50, p99, by lane", "s",
		quantiles("spillway_dispatch_delivery_seconds", "lane")...).
		about("From the receipt of a webhook until its events are in the store: the longest of each batch. What is not out yet does not count here, but as lag.").
		limits(step{5, yellow}, step{300, red}).logScale()
}

func expressLag() panel {
	return single("Lag, express", "s", q(`max(spillway_dispatch_lag_seconds{@,lane="express"})`, "")).
		about("Age of the oldest customer's message whose events are not out, on the receiver furthest behind.").
		limits(step{5, yellow}, step{30, red})
}

func deadLetters(hour string) panel {
	return single("Dead letters, "+hour, "none",
		q(`sum(increase(spillway_events_total{@,outcome="dead"}[`+hour+`]))`, "")).
		about("Items of webhooks that could not be decoded. They are kept for `log.dead_retain`: `spillway log dead` shows them.").
		steady(yellow)
}

func logBytes() panel {
	return series("Size of the log, by lane", "bytes",
		q("sum by (lane) (spillway_log_bytes{@})", "{{lane}}")).
		about("Bytes of all records kept, of all receivers: those dispatched stay for `log.retain`, for replays.").stacked()
}

func unreleased() panel {
	return series("Not dispatched yet, of log.max_bytes", "percentunit",
		q("sum without (lane) (spillway_log_unreleased_bytes{@}) / spillway_log_limit_bytes{@}", "{{instance}}")).
		about("Bytes of records whose events are not durable in the store, as a share of `log.max_bytes`, by receiver. At 100 % webhooks are refused with 503; records that are dispatched make room by themselves.").
		limits(step{0.5, yellow}, step{0.9, red})
}

func freeSpace() panel {
	return series("Free space of the log's disk", "bytes",
		q("spillway_log_free_bytes{@}", "{{instance}}"),
		q("max(spillway_log_min_free_bytes{@})", "limit: log.min_free")).
		about("Below the dashed line webhooks are refused with 503. What else is on that disk counts, too.")
}

func outcomes() panel {
	return series("Events by outcome", "eps",
		q("sum by (outcome) (rate(spillway_events_total{@}[@]))", "{{outcome}}")).
		about("Fresh took effect. Duplicate was seen before: Meta's retries, or a rewind. Stale is a status older than one already seen. Dead could not be decoded.").stacked()
}
