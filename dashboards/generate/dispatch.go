package main

// dispatchAndRedis answers whether events get out, and whether the store lets them.
func dispatchAndRedis() board {
	return board{
		uid: "spillway-dispatch", title: "Spillway / Dispatch and Redis",
		about: "Do events get out, does the store answer, was anything lost or done again.",
		rows: []row{
			{"Is the store there?", dispatchHealth()},
			{"Do events get out?", delivery()},
			{"Does the store answer?", storeCalls()},
			{"Was anything lost, or done again?", repairs()},
			{"Is Redis well? (Redis only: empty with the embedded store)", redis()},
			{"Do endpoints hear of events? (outgoing webhooks: empty without endpoints)", endpoints()},
			{"Do the consumer groups keep up? (Redis only: empty without groups)", groups()},
			{"Is the embedded store well? (embedded only: empty with Redis)", embedded()},
		},
	}
}

const (
	noRedis     = "embedded store: no Redis"
	noGroups    = "no consumer groups"
	noEmbedded  = "Redis: no embedded store"
	noEndpoints = "no endpoints"
)

func dispatchHealth() []panel {
	return []panel{
		expressLag(),
		single("Lag, bulk", "s", q(`max(spillway_dispatch_lag_seconds{@,lane="bulk"})`, "")).
			about("Age of the oldest status whose events are not out. Minutes are normal in a campaign.").
			limits(step{300, yellow}, step{900, red}),
		single("Partitions held", "none", q("max(spillway_dispatch_held_partitions{@})", "")).
			about("Partitions that wait to be tried again, since the store failed their last call. For more than moments: Redis is away, or a shard of it.").
			steady(red),
		single("Store calls, p99", "s",
			q(`max(histogram_quantile(0.99, sum by (le, op) (rate(spillway_store_seconds_bucket{@}[@]))) >= 0)`, "")).
			about("A hundredth of the calls of the slowest kind takes longer.").
			limits(step{0.1, yellow}, step{0.5, red}).empty("no calls"),
		note("What to do when it is red", whenDispatchRed).size(8, 8),
		single("Store errors, 15m", "none", q("sum(increase(spillway_store_errors_total{@}[15m]))", "")).
			about("Calls that failed in 15 minutes. They are made again; nothing is lost by that.").
			limits(step{1, yellow}, step{100, red}),
		single("Rewinds, 1h", "none", q("sum(instance:spillway_dispatch_rewinds:increase1h{@}) or sum(increase(spillway_dispatch_rewinds_total{@}[1h]))", "")).
			about("Partitions that were older than the store had confirmed: it lost writes, which were applied again.").steady(yellow),
		single("Records lost, 24h", "none", q("sum(max_over_time(instance:spillway_dispatch_gap_records:increase1h{@}[24h])) or sum(increase(spillway_dispatch_gap_records_total{@}[24h]))", "")).
			about("Webhooks that the store lacks and the log no longer holds. Their events do not come out.").steady(red),
		single("Redis warnings", "none", q("max(spillway_store_warnings{@})", "")).
			about("What the last look at Redis' settings warned of: eviction, no persistence, sets outgrown. `spillway check` says which.").
			steady(yellow).empty(noRedis),
	}
}

const whenDispatchRed = `
- **Lag, Partitions held, Store errors**: does Redis answer? redis-cli PING, INFO, CLUSTER INFO, and the log of the receiver. Webhooks are taken meanwhile; *Overview* says for how long. SpillwayRedisAway, SpillwayExpressLag, SpillwayStoreErrors
- **Store calls**: Redis' CPU, SLOWLOG, its disk; or the receiver's disk with the embedded store. SpillwayStoreSlow
- **Rewinds**: Redis lost writes, in a fail-over mostly. It mends itself. SpillwayRewinds
- **Records lost**: page whoever owns the data. SpillwayGapRecords
- **Redis warnings**: mend its settings. SpillwayRedisWarnings
- **An endpoint of users** does not take events, "Oldest delivery that waits, by endpoint": it is theirs to mend. SpillwayEndpointFailing
`

func delivery() []panel {
	return []panel{
		lagSeries(), deliverySeries(), outcomes(),
		series("Lag by receiver", "s", q("spillway_dispatch_lag_seconds{@}", "{{lane}} {{instance}}")).
			about("Whether one receiver alone is behind, or all: then it is the store. SpillwayExpressLag, SpillwayBulkLag").
			limits(step{30, yellow}, step{900, red}),
		heat("Receipt until effect, express", "s", buckets("spillway_dispatch_delivery_seconds", `,lane="express"`)).
			about("How many batches of customers' messages took how long."),
		series("Events by type", "eps", q("sum by (type) (rate(spillway_events_total{@}[@]))", "{{type}}")).
			about("All outcomes together.").stacked(),
		series("Duplicates and stale", "percentunit",
			q(`sum by (outcome) (rate(spillway_events_total{@,outcome=~"duplicate|stale"}[@]))
  / on () group_left () (sum(rate(spillway_events_total{@}[@])) > 0)`, "{{outcome}}")).
			about("As shares of all events. Many duplicates: Meta sends again what was answered too late or with 503, or the store was rewound.").
			size(24, 7).empty("no events"),
	}
}

func storeCalls() []panel {
	return []panel{
		series("Calls: p50, p99, by operation", "s", quantiles("spillway_store_seconds", "op")...).
			about("apply writes events and cursor, claim gives contacts their ids, cursors are read once a second.").
			limits(step{0.1, yellow}, step{0.5, red}),
		series("Calls by operation", "ops", q("sum by (op) (rate(spillway_store_seconds_count{@}[@]))", "{{op}}")).
			about("Calls to the store, of all receivers.").stacked(),
		series("Errors by operation", "cps", q("sum by (op) (rate(spillway_store_errors_total{@}[@]))", "{{op}}")).
			about("Calls that failed. SpillwayStoreErrors").steady(red),
		heat("Calls to apply, all of them", "s", buckets("spillway_store_seconds", `,op="apply"`)).
			about("How many batches of events took how long. A second band is a second, slower shard."),
		series("Retries by lane", "ops", q("sum by (lane) (rate(spillway_dispatch_retries_total{@}[@]))", "{{lane}}")).
			about("Calls that are made again after an error, with growing pauses.").steady(yellow),
		series("Partitions held", "none",
			q("spillway_dispatch_held_partitions{@}", "{{lane}} {{instance}}")).
			about("Partitions that wait to be tried again. All of them: the store is away. Some: a shard of it. SpillwayRedisAway").steady(red),
	}
}

// repairs are counts and no rates: most of them come before a receiver is first
// scraped, where a rate does not see them.
func repairs() []panel {
	return []panel{
		series("Rewinds, by lane", "none", q("sum by (lane) (spillway_dispatch_rewinds_total{@})", "{{lane}}")).
			about("Times a partition was older than the store had confirmed, since the receivers' starts. SpillwayRewinds").steady(yellow).size(6, 7),
		series("Events applied again, by lane", "none",
			q("sum by (lane) (spillway_dispatch_reapplied_events_total{@})", "{{lane}}")).
			about("Events that the store had confirmed and then lost, since the starts. They have the same uids as before.").size(6, 7),
		series("Records lost, by lane", "none",
			q("sum by (lane) (spillway_dispatch_gap_records_total{@})", "{{lane}}")).
			about("Webhooks that the store lacks and the log no longer holds, since the starts. SpillwayGapRecords").steady(red).size(6, 7),
		series("Log renewed", "none",
			q("sum by (instance) (spillway_dispatch_log_renewals_total{@})", "{{instance}}")).
			about("Times the store's cursor was not of this log, since the starts: it lost its end, is an older copy, or a clone. All of it is applied again. SpillwayLogRenewed").steady(red).size(6, 7),
	}
}

func redis() []panel {
	each := func(title, unit string, queries ...query) panel {
		return series(title, unit, queries...).size(6, 7).empty(noRedis)
	}
	return []panel{
		each("Time-outs by operation", "cps", q("sum by (op) (rate(spillway_store_timeouts_total{@}[@]))", "{{op}}")).
			about("Calls that Redis did not answer in time. Whether they took effect is told by the cursor.").steady(red),
		each("Connections", "none", q("spillway_store_connections{@}", "{{instance}}")).
			about("Connections to Redis, by receiver."),
		each("Connections made", "cps", q("sum by (instance) (rate(spillway_store_dials_total{@}[@]))", "{{instance}}")).
			about("New connections. Many of them: Redis or something between closes them."),
		each("No connection in time", "cps", q("sum by (instance) (rate(spillway_store_pool_timeouts_total{@}[@]))", "{{instance}}")).
			about("Calls that waited in vain for a connection of the pool.").steady(red),
		each("Scripts loaded", "cps", q("sum by (instance) (rate(spillway_store_script_loads_total{@}[@]))", "{{instance}}")).
			about("Times a server did not know the script: it has started anew, or was flushed."),
		each("Calls built again", "cps", q("sum by (instance) (rate(spillway_store_conflicts_total{@}[@]))", "{{instance}}")).
			about("Batches and claims that were built again, as another receiver had changed the same contact or seen the same message meanwhile. Some are normal."),
		each("Contacts guessed", "cps", q("sum by (instance) (rate(spillway_store_contact_guesses_total{@}[@]))", "{{instance}}")).
			about("Statuses and echoes whose contact could not be looked up for long, and that carry the one of a first sight. Their contact_id may be wrong.").steady(yellow),
		each("Warnings of Redis' settings", "none", q("spillway_store_warnings{@}", "{{instance}}")).
			about("Eviction, no persistence, sets outgrown: `spillway check` and the log say which. SpillwayRedisWarnings").steady(yellow),
	}
}

func groups() []panel {
	return []panel{
		series("Lag by group", "s", q("max by (group) (spillway_stream_group_lag_seconds{@})", "{{group}}")).
			about("Age of the oldest event in the streams that a consumer group of another program was not given. SpillwayGroupBehind").
			limits(step{60, yellow}, step{300, red}).empty(noGroups).size(12, 7),
		series("Partitions with lost events, by group", "none",
			q("max by (group) (spillway_stream_group_lost_partitions{@})", "{{group}}")).
			about("Partitions whose oldest events were trimmed before the group was given them. They are in the log for `log.retain`. SpillwayGroupLostEvents").
			steady(red).empty(noGroups).size(12, 7),
	}
}

// endpoints are one for all receivers, each of which delivers some partitions.
func endpoints() []panel {
	each := func(title, unit string, queries ...query) panel {
		return series(title, unit, queries...).size(6, 7).empty(noEndpoints)
	}
	return []panel{
		each("Requests by result", "reqps", q("sum by (result) (rate(spillway_deliver_requests_total{@}[@]))", "{{result}}")).
			about("To all endpoints. retry: tried again later; refused: a dead delivery at once; gone: 410, which pauses the endpoint.").stacked(),
		each("Requests that fail, by endpoint", "percentunit",
			q(`sum by (endpoint) (rate(spillway_deliver_requests_total{@,result!="delivered"}[@]))
  / (sum by (endpoint) (rate(spillway_deliver_requests_total{@}[@])) > 0)`, "{{endpoint}}")).
			about("As a share of its requests. While its breaker is open there are few: probes alone. SpillwayEndpointFailing").
			limits(step{0.1, yellow}, step{0.5, red}),
		each("Status by endpoint", "reqps", q("sum by (endpoint, class) (rate(spillway_deliver_requests_total{@}[@]))", "{{endpoint}} {{class}}xx")).
			about("0xx: no answer, since nothing listens, it took too long, or its address is not allowed."),
		each("Time of a request: p50, p99, by endpoint", "s", quantiles("spillway_deliver_seconds", "endpoint")...).
			about("Until the endpoint has answered. A slow one delays itself alone."),
		each("Deliveries that wait, by endpoint", "short", q("sum by (endpoint) (spillway_deliver_waiting{@})", "{{endpoint}}")).
			about("Put aside to be tried later, on all receivers: up to its max_waiting, beyond which the oldest are given up.").logScale(),
		each("Oldest delivery that waits, by endpoint", "s", q("max by (endpoint) (spillway_deliver_oldest_seconds{@})", "{{endpoint}}")).
			about("How long ago the first event that still waits was first tried. After retry_for it is given up. SpillwayEndpointFailing").
			limits(step{300, yellow}, step{3600, red}),
		each("Put aside, by endpoint", "eps", q("sum by (endpoint) (rate(spillway_deliver_parked_total{@}[@]))", "{{endpoint}}")).
			about("Events that were not delivered as they came, and wait with their payload beside the cursor."),
		each("Breaker open, by endpoint", "none", q("sum by (endpoint) (spillway_deliver_breaker_open{@})", "{{endpoint}}")).
			about("Receivers that let an endpoint alone, since its requests fail, but for a probe now and then.").steady(yellow),
		each("Paused, by endpoint", "none", q("max by (endpoint) (spillway_deliver_paused{@})", "{{endpoint}}")).
			about("1 where nothing is sent, by `spillway deliver pause` or after a 410. SpillwayEndpointPaused").steady(yellow).size(4, 7),
		each("Given up, by endpoint", "cps", q("sum by (endpoint) (rate(spillway_deliver_dead_total{@}[@]))", "{{endpoint}}")).
			about("Deliveries that were refused, failed for retry_for, or were too many. SpillwayDeliveriesDead").steady(red).size(5, 7),
		each("Dead deliveries kept, by endpoint", "short", q("max by (endpoint) (spillway_deliver_dead{@})", "{{endpoint}}")).
			about("What was given up and is kept: `spillway deliver dead list` shows it, `dead retry` sends it again.").steady(yellow).size(5, 7),
		each("Missed, by endpoint", "none", q("sum by (endpoint) (spillway_deliver_trimmed_total{@})", "{{endpoint}}")).
			about("Times events were trimmed from a partition before the endpoint was told of them, since the starts.").steady(red).size(5, 7),
		each("Leases lost", "none", q("sum by (instance) (increase(spillway_deliver_fenced_total{@}[15m]))", "{{instance}}")).
			about("In 15 minutes: partitions found to be another receiver's, or the store to have gone back. Some are normal when receivers come and go. Events may be sent twice, with the same id.").size(5, 7),
		each("Partitions delivered, by receiver", "none", q("sum by (instance) (spillway_deliver_shares{@})", "{{instance}}")).
			about("Of all endpoints: each partition of each is one receiver's at a time. Fewer in all than endpoints times partitions, for longer than moments: some are nobody's.").size(5, 7),
	}
}

func embedded() []panel {
	return []panel{
		series("Events kept", "short", q("spillway_stream_entries{@}", "{{instance}}")).
			about("Events the streams hold, with Redis as well: up to `stream.retain`.").size(8, 7),
		series("Size of the events", "bytes", q("spillway_stream_bytes{@}", "{{instance}}")).
			about("Bytes of the events kept, before compression: up to `stream.retain_bytes`.").empty(noEmbedded).size(8, 7),
		series("Size of the store on disk", "bytes", q(`spillway_pebble_disk_bytes{@,db="store"}`, "{{instance}}")).
			about("Streams, contacts and what was seen. *Log and disk* has more of this database.").empty(noEmbedded).size(8, 7),
	}
}
