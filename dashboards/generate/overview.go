package main

// overview answers whether it is healthy, and where to look if it is not.
func overview() board {
	return board{
		uid: "spillway-overview", title: "Spillway / Overview",
		about: "Is Spillway healthy, and if not, where to look.",
		rows: []row{
			{"Is it healthy?", health()},
			{"Is Meta answered in time?", answered()},
			{"Is the log filling?", []panel{unreleased(), freeSpace(), timeUntilFullSeries(), logBytes().size(24, 7)}},
			{"Do events get out?", []panel{lagSeries(), deliverySeries(), outcomes()}},
			{"Who listens?", listeners()},
			{"How are the processes?", processes()},
		},
	}
}

func health() []panel {
	return []panel{
		single("Ready", "percentunit",
			q("(sum(spillway_ready{@}) or vector(0)) / count(up{@})", "")).
			about("The share of the receivers whose /readyz says yes; one that cannot be scraped does not count as ready.").
			limits(step{below, red}, step{0.01, yellow}, step{1, green}).
			says(new(1.0), nil, "all ready", green).says(nil, new(0.0), "NONE READY", red).
			empty("no receiver"),
		single("Firing alerts", "none",
			q(`count(ALERTS{alertname=~"Spillway.*",alertstate="firing"}) or vector(0)`, "")).
			about("Alerts of Spillway that fire now, whichever receivers are chosen above. They stand in the table below, and each has a section in the runbook.").
			steady(red),
		single("Ack, median", "s", q(quantiles("spillway_ingest_ack_seconds", "")[0].expr, "")).
			about("Half of the webhooks get their 200 within this time. Meta asks for 250 ms.").
			limits(step{0.1, yellow}, step{0.25, red}).empty("no webhooks"),
		single("Acks over 1 s", "percentunit", q(ackedOverOneSecond, "")).
			about("The share of webhooks that waited more than a second for their 200. Meta asks for at most 1 %.").
			limits(step{0.005, yellow}, step{0.01, red}).empty("no webhooks"),
		note("What to do when it is red", whenRed).size(8, 12),
		single("Refused with 503", "percentunit",
			q(`sum(rate(spillway_ingest_unavailable_total{@}[@]))
  / (sum(rate(spillway_ingest_unavailable_total{@}[@])) + sum(rate(spillway_ingest_ack_seconds_count{@}[@])) > 0)`, "")).
			about("The share of webhooks answered 503. None is lost: Meta sends them again, for up to 7 days. The objective is 0.1 %.").
			limits(step{0.001, yellow}, step{0.01, red}).empty("no webhooks"),
		expressLag(),
		timeUntilFull(),
		deadLetters("1h"),
		single("WebSockets", "none", q("sum(spillway_stream_sockets{@})", "")).
			about("WebSockets open, on all receivers."),
		single("Starts, 1h", "none", q("sum(changes(process_start_time_seconds{@}[1h]))", "")).
			about("Times a receiver has started again in the last hour.").
			limits(step{1, yellow}, step{3, red}),
		single("Version", "none", q("count by (version) (spillway_build_info{@})", "{{version}}")).
			about("The builds that run: more than one while a new one is rolled out.").named(),
		single("Certificate expires in", "s",
			q("min(spillway_ingest_certificate_expiry_timestamp_seconds{@}) - time()", "")).
			about("Until the first certificate expires; from then on Meta sends nothing. The file that `tls.cert` names is read again at SIGHUP.").
			limits(step{below, red}, step{3 * 86400, yellow}, step{14 * 86400, green}).
			empty("no TLS here"),
		list("Alerts that fire", map[string]string{
			"alertname": "Alert", "severity": "Severity", "job": "Job", "instance": "Receiver", "lane": "Lane",
		}, q(`count by (alertname, severity, job, instance, lane) (ALERTS{alertname=~"Spillway.*",alertstate="firing"})`, "")).
			about("Whichever receivers are chosen above. The runbook has a section for each.").
			empty("No alert fires."),
		series("Ready, by receiver", "none", q("spillway_ready{@}", "{{instance}}")).
			about("1 where /readyz says yes, 0 where it says no, and a gap where the receiver could not be scraped.").
			size(12, 6),
	}
}

const whenRed = `
- **Ready**: a receiver is down, starts, or its log takes nothing. SpillwayDown, SpillwayNotReady
- **Ack, Acks over 1 s**: the disk is slow, or too much comes in. *Log and disk*, "Is the disk fast enough?". SpillwayAcksSlow, SpillwayAckMedianSlow, SpillwayDiskSlow
- **Refused with 503**: "503 by reason" below says why: log, overload, in_flight, stopping. SpillwayWebhooksRejected
- **Lag**: the store is away or slow. *Dispatch and Redis*, "Does the store answer?". SpillwayExpressLag, SpillwayRedisAway, SpillwayStoreSlow
- **Time until full**: log: as for Lag. Disk: make room or enlarge it. SpillwayLogFillsUp, SpillwayDiskFillsUp
- **Dead letters**: Meta sent what is not understood; it is kept. SpillwayDeadLetters
- **Starts**: read the last lines of the log of the process. SpillwayRestarts
- **Certificate**: renew it, then SIGHUP. SpillwayCertificateExpires

Nothing acknowledged is lost while its disk lives: there is time to think.
`

func answered() []panel {
	return []panel{
		series("Answers by code", "reqps",
			q("sum by (code) (rate(spillway_ingest_requests_total{@}[@]))", "{{code}}")).
			about("Requests to the public listener by status code, WebSockets not counted. 401 and 403 are missing or wrong signatures: strangers, or a changed app secret. 503 is sent again by Meta.").stacked(),
		ackQuantiles(),
		series("Acks over 1 s", "percentunit", q(ackedOverOneSecond, "over 1 s")).
			about("The share of webhooks that waited more than a second for their 200. Meta asks for at most 1 %: the dashed line.").
			limits(step{0.01, red}),
		series("Webhooks by lane", "reqps",
			q("sum by (lane) (rate(spillway_log_appended_records_total{@}[@]))", "{{lane}}")).
			about("Webhooks written to the log: express holds customers' messages and all else, bulk those with statuses or history alone.").stacked(),
		heat("Time to the 200, all of it", "s", buckets("spillway_ingest_ack_seconds", "")).
			about("How many webhooks took how long: two bands mean two kinds of webhooks, or two receivers."),
		series("503 by reason", "reqps",
			q("sum by (reason) (rate(spillway_ingest_unavailable_total{@}[@]))", "{{reason}}")).
			about("log: it refused, see *Log and disk*. overload: the wait for the log was too long. in_flight: limits.in_flight bytes are held. stopping: the receiver shuts down.").stacked(),
		shares("How near to a limit", nearLimits()...).
			about("The receiver that is nearest to each limit. At 100 %: connections are refused, webhooks answered 503, WebSockets refused, or, without file descriptors, all of it.").
			limits(step{0.7, yellow}, step{0.9, red}),
		series("Webhooks in hand", "none",
			q("spillway_ingest_waiting{@}", "waiting {{instance}}"),
			q("spillway_ingest_connections{@}", "connections {{instance}}")).
			about("Webhooks that wait for the log, and open connections, by receiver. Many waiting means a slow disk."),
		series("Connections refused", "cps",
			q("sum by (instance) (rate(spillway_ingest_connections_refused_total{@}[@]))", "{{instance}}")).
			about("Connections closed at once since `limits.connections` are open. SpillwayConnectionsRefused").
			steady(red),
		series("Bodies taken", "Bps",
			q("sum by (instance) (rate(spillway_ingest_body_bytes_total{@}[@]))", "{{instance}}")).
			about("Bytes of webhooks that were answered 200, by receiver.").stacked().size(12, 7),
		series("Bodies in memory", "bytes",
			q("spillway_ingest_in_flight_bytes{@}", "{{instance}}"),
			q("max(spillway_ingest_in_flight_limit_bytes{@})", "limit: limits.in_flight")).
			about("Memory that holds bodies which are read or wait for the log. At the limit webhooks are answered 503.").size(12, 7),
	}
}

func nearLimits() []query {
	return []query{
		q("max(spillway_ingest_connections{@} / spillway_ingest_connections_limit{@})", "connections"),
		q("max(spillway_ingest_in_flight_bytes{@} / spillway_ingest_in_flight_limit_bytes{@})", "bodies in memory"),
		q("max(sum without (lane) (spillway_log_unreleased_bytes{@}) / spillway_log_limit_bytes{@})", "log not dispatched"),
		q("max(spillway_stream_sockets{@} / spillway_stream_sockets_limit{@})", "WebSockets"),
		q("max(process_open_fds{@} / process_max_fds{@})", "file descriptors"),
	}
}

func listeners() []panel {
	return []panel{
		socketSeries().size(12, 7),
		frameSeries().size(12, 7),
	}
}

func processes() []panel {
	return []panel{
		series("CPU", "none", q("rate(process_cpu_seconds_total{@}[@])", "{{instance}}")).
			about("Cores in use, by receiver: 1 is one core."),
		series("Memory", "bytes",
			q("process_resident_memory_bytes{@}", "{{instance}} resident"),
			q("go_memstats_heap_inuse_bytes{@}", "{{instance}} Go heap")).
			about("Resident memory; the Go heap is a part of it. The rest is mostly the block caches and memtables of the log."),
		series("Goroutines", "none", q("go_goroutines{@}", "{{instance}}")).
			about("Some per connection and WebSocket. What only ever grows is a leak."),
		series("Garbage collection: longest pause", "s",
			q(`max by (instance) (go_gc_duration_seconds{@,quantile=~"1|1.0"})`, "{{instance}}")).
			about("The longest of the last pauses of the Go runtime."),
		series("File descriptors", "percentunit", q("process_open_fds{@} / process_max_fds{@}", "{{instance}}")).
			about("Open, as a share of the limit (LimitNOFILE, ulimit -n). Without any left no connection is accepted. SpillwayFilesNearLimit").
			limits(step{0.7, yellow}, step{0.85, red}),
		series("Log lines by level", "cps",
			q("sum by (level) (rate(spillway_logger_lines_total{@}[@]))", "{{level}}"),
			q("sum(rate(spillway_logger_suppressed_lines_total{@}[@]))", "repeats not written")).
			about("Lines that the receivers log. The runbook says what each warning and error means. SpillwayErrorLines"),
		series("Config reloads", "none",
			q("sum by (result) (increase(spillway_config_reloads_total{@}[@]))", "{{result}}"),
			q("count(spillway_config_last_reload_successful{@} == 0) or vector(0)", "receivers whose last one failed")).
			about("SIGHUPs. A failed one changed nothing: the receiver goes on with the config it had. SpillwayReloadFailed"),
		series("Age of the config", "s",
			q("time() - spillway_config_last_reload_timestamp_seconds{@}", "{{instance}}")).
			about("Since the config was read with success, at the start or at a SIGHUP. Receivers far apart run with different configs."),
		series("Uptime", "s", q("time() - process_start_time_seconds{@}", "{{instance}}")).
			about("Since the process has started. A saw-tooth is one that ends again and again. SpillwayRestarts"),
		list("Builds", map[string]string{
			"job": "Job", "instance": "Receiver", "version": "Version", "commit": "Commit", "go_version": "Go",
		}, q("spillway_build_info{@}", "")).
			about("What runs where.").size(24, 5),
	}
}
