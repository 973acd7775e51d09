package main

// logAndDisk answers whether the log takes what comes: disk, space, database.
func logAndDisk() board {
	return board{
		uid: "spillway-log", title: "Spillway / Log and disk",
		about: "Is the disk fast enough, is the log filling, does its database keep up.",
		rows: []row{
			{"Does the log take what comes?", logHealth()},
			{"Is the disk fast enough?", commits()},
			{"Is the log filling?", filling()},
			{"Are there dead letters?", dead()},
			{"Do the databases keep up? (Pebble: under the log, and under the embedded store)", pebble()},
		},
	}
}

func logHealth() []panel {
	return []panel{
		single("Commit, p99", "s", q(p99("spillway_log_commit_seconds", "").expr, "")).
			about("A hundredth of the writes with sync takes longer than this. Every 200 waits for one.").
			limits(step{0.1, yellow}, step{0.25, red}).empty("no webhooks"),
		timeUntilFull(),
		single("Free space, least", "bytes", q("min(spillway_log_free_bytes{@} - spillway_log_min_free_bytes{@})", "")).
			about("What the fullest disk has left until `log.min_free`, where webhooks are refused.").
			limits(step{below, red}, step{1 << 30, yellow}, step{5 << 30, green}),
		single("Refused, 15m", "none", q("sum(increase(spillway_log_refused_total{@}[15m]))", "")).
			about("Records the log has refused in 15 minutes: their webhooks were answered 503.").steady(red),
		note("What to do when it is red", whenLogRed).size(8, 8),
		single("Not dispatched", "bytes", q("sum(spillway_log_unreleased_bytes{@})", "")).
			about("Bytes of records whose events are not durable in the store yet, on all receivers."),
		single("Writes stalled", "percentunit",
			q("max(rate(spillway_pebble_write_stall_seconds_total{@}[@]))", "")).
			about("The share of the time for which a database held up its writers, where it was longest.").
			limits(step{0.001, yellow}, step{0.05, red}),
		single("On the second disk", "percentunit", q("max(rate(spillway_log_failover_seconds_total{@}[@]))", "")).
			about("The share of the time in which commits went to `log.failover_dir`, as the log's own disk stalled. 0 without a second disk.").
			limits(step{0.001, yellow}, step{0.1, red}),
		deadLetters("24h"),
	}
}

const whenLogRed = `
- **Commit, Writes stalled**: the disk. See "Commit under way", and iostat on the host; other programs on it? SpillwayDiskSlow, SpillwayWriteStalls
- **Time until full, log**: events do not get out: *Dispatch and Redis*. SpillwayLogFillsUp, SpillwayLogFull
- **Time until full, disk; Free space**: delete what else is there, enlarge it, or lower log.max_bytes. SpillwayDiskFillsUp, SpillwayDiskFull
- **Refused**: "Refused by reason" says why. SpillwayWebhooksRejected
- **On the second disk**: the first one hangs. SpillwayFailoverInUse
- **Dead letters**: *spillway log dead* shows them. SpillwayDeadLetters
`

func commits() []panel {
	return []panel{
		series("Commits: p50, p99", "s", quantiles("spillway_log_commit_seconds", "")...).
			about("Time to write and sync one batch. A good SSD takes 1 ms or less, a network disk 5 ms. SpillwayDiskSlow").
			limits(step{0.05, yellow}, step{0.25, red}),
		heat("Commits, all of them", "s", buckets("spillway_log_commit_seconds", "")).
			about("How many commits took how long. A second band high above is a disk that stalls now and then."),
		series("Commits: p99, by receiver", "s", p99("spillway_log_commit_seconds", "instance")).
			about("Which receiver's disk is the slow one.").
			limits(step{0.05, yellow}, step{0.25, red}),
		series("Records in a batch: p50, p99", "none", quantiles("spillway_log_commit_records", "")...).
			about("All that wait are written with one sync: the slower the disk or the more comes in, the larger the batches."),
		series("Commits", "ops", q("sum by (instance) (rate(spillway_log_commit_seconds_count{@}[@]))", "{{instance}}")).
			about("Batches written and synced, by receiver. The disk does as many syncs."),
		series("Waiting for the next batch", "none",
			q("spillway_log_queue_requests{@}", "{{instance}}")).
			about("Requests in the log's queue. It is bounded: where it is full, webhooks are refused."),
		series("Commit under way", "s", q("spillway_log_commit_running_seconds{@}", "{{instance}}")).
			about("How long the batch that is being written and synced has taken so far; 0 without one. A line that climbs is a disk that hangs: the quantiles count a commit only at its end.").
			limits(step{1, yellow}, step{5, red}),
		series("Switches to the second disk, and back", "cps",
			q("sum by (instance) (rate(spillway_log_failover_switches_total{@}[@]))", "{{instance}}")).
			about("With `log.failover_dir` commits go there while the log's own disk stalls. 0 without it.").steady(yellow),
		series("Time on the second disk", "percentunit",
			q("rate(spillway_log_failover_seconds_total{@}[@])", "{{instance}}")).
			about("The share of the time in which commits went to `log.failover_dir`. 0 without it. SpillwayFailoverInUse").
			limits(step{0.001, yellow}, step{0.1, red}),
	}
}

func filling() []panel {
	return []panel{
		unreleased(), freeSpace(), timeUntilFullSeries(),
		series("Not dispatched yet, by lane", "bytes",
			q("sum by (lane) (spillway_log_unreleased_bytes{@})", "{{lane}}")).
			about("Bytes of records whose events are not durable in the store, of all receivers. A campaign makes bulk grow for a while.").stacked(),
		series("Webhooks not dispatched yet, by lane", "short",
			q("sum by (lane) (spillway_log_unreleased_records{@})", "{{lane}}")).
			about("The same in records, one a webhook.").stacked(),
		logBytes(),
		series("Webhooks kept, by lane", "short", q("sum by (lane) (spillway_log_records{@})", "{{lane}}")).
			about("All records of the log, dispatched or not.").stacked(),
		series("Oldest webhook kept, by lane", "s",
			q("max by (lane) (spillway_log_oldest_seconds{@})", "{{lane}}")).
			about("How far back a replay reaches: `log.retain`, or less where `log.max_bytes` is reached before."),
		series("Refused by reason", "cps",
			q("sum by (reason) (rate(spillway_log_refused_total{@}[@]))", "{{reason}}")).
			about("full: `log.max_bytes` are not dispatched. disk: free space is below `log.min_free`. queue: too many wait. closed: it shuts down. failed: the disk failed, and the process ends.").stacked(),
		series("Webhooks written, by lane", "reqps",
			q("sum by (lane) (rate(spillway_log_appended_records_total{@}[@]))", "{{lane}}")).
			about("Records appended, of all receivers.").stacked().size(12, 7),
		series("Bytes written, by lane", "Bps",
			q("sum by (lane) (rate(spillway_log_appended_bytes_total{@}[@]))", "{{lane}}")).
			about("Bytes of records appended. Times `log.retain` this is the space that the log wants, before compression.").stacked().size(12, 7),
	}
}

func dead() []panel {
	return []panel{
		series("Dead letters kept", "none", q("spillway_log_dead_letters{@}", "{{instance}}")).
			about("For `log.dead_retain`. `spillway log dead` shows each with its reason. SpillwayDeadLetters"),
		series("Size of the dead letters", "bytes", q("spillway_log_dead_letters_bytes{@}", "{{instance}}")).
			about("Bytes of the dead letters kept, by receiver."),
		series("Dead letters by type", "cps",
			q(`sum by (type) (rate(spillway_events_total{@,outcome="dead"}[@]))`, "{{type}}")).
			about("What could not be decoded, by the type of event that it would have been; unknown where that could not be told.").steady(red),
	}
}

func pebble() []panel {
	each := func(title, unit, expr string) panel {
		return series(title, unit, q(expr, "{{db}} {{instance}}")).size(6, 7)
	}
	return []panel{
		each("Size on disk", "bytes", "spillway_pebble_disk_bytes{@}").
			about("Tables and write-ahead logs. Records that were deleted take space until a compaction."),
		each("Write-ahead log", "bytes", "spillway_pebble_wal_bytes{@}").
			about("Size of the write-ahead log. It is read at the start: large ones start slowly."),
		each("Written ahead", "Bps", "rate(spillway_pebble_wal_written_bytes_total{@}[@])").
			about("Bytes written to the write-ahead log."),
		each("Memtables", "bytes", "spillway_pebble_memtable_bytes{@}").
			about("Memory of what is not flushed yet."),
		each("Flushed", "Bps", "rate(spillway_pebble_flushed_bytes_total{@}[@])").
			about("Bytes written from memtables to tables."),
		each("Compacted", "Bps", "rate(spillway_pebble_compacted_bytes_total{@}[@])").
			about("Bytes that compactions write. Divided by what is flushed this is the amplification of writes."),
		series("Flushes and compactions", "ops",
			q("rate(spillway_pebble_flushes_total{@}[@])", "{{db}} {{instance}} flushes"),
			q("rate(spillway_pebble_compactions_total{@}[@])", "{{db}} {{instance}} compactions")).
			about("How often tables are written and merged.").size(6, 7),
		each("Compactions running", "none", "spillway_pebble_compactions_running{@}").
			about("Compactions at this moment."),
		each("Compaction debt", "bytes", "spillway_pebble_compaction_debt_bytes{@}").
			about("Bytes that wait for a compaction. What only grows ends in stalls."),
		each("Sublevels of L0", "none", "spillway_pebble_l0_sublevels{@}").
			about("Layers of tables that compactions have not merged. Writes are stalled at some 20 and more."),
		each("Reads: tables looked at", "none", "spillway_pebble_read_amplification{@}").
			about("Tables a read may have to look into: compactions keep this low."),
		each("Write stalls", "cps", "rate(spillway_pebble_write_stalls_total{@}[@])").
			about("Times a database held up its writers, since flushes or compactions are behind.").steady(red),
		each("Time stalled", "percentunit", "rate(spillway_pebble_write_stall_seconds_total{@}[@])").
			about("The share of the time in which writers were held up. SpillwayWriteStalls").
			limits(step{0.05, red}),
		series("Blocks read", "ops",
			q("sum by (instance, db) (rate(spillway_pebble_block_cache_hits_total{@}[@]))", "{{db}} from memory {{instance}}"),
			q("sum by (instance, db) (rate(spillway_pebble_block_cache_misses_total{@}[@]))", "{{db}} from disk {{instance}}")).
			about("Where the databases found what was read of their tables: in the block cache, or not.").size(6, 7),
		each("Block cache", "bytes", "spillway_pebble_block_cache_bytes{@}").
			about("Memory of the block cache. It is bounded."),
		series("Commits to both, p99", "s",
			p99("spillway_log_commit_seconds", ""),
			q(`histogram_quantile(0.99, sum by (le) (rate(spillway_store_seconds_bucket{@,op="apply"}[@]))) >= 0`, "p99 store apply")).
			about("The log's commits beside the calls to the store: with the embedded store both are on one disk.").size(6, 7),
	}
}
