package main

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// pebbleWait is how long a scrape waits for a database's figures. They are read under
// its lock, which it may hold while the disk stalls: then the last ones are shown,
// for that is when somebody looks.
const pebbleWait = 200 * time.Millisecond

// pebbleFigures collects what one of the databases tells of itself.
type pebbleFigures struct {
	// read gives nil where there is nothing to read.
	read    func() *pebble.Metrics
	figures []pebbleFigure

	mu   sync.Mutex
	last *pebble.Metrics
	// reading is closed when the read under way ends, nil without one.
	reading chan struct{}

	stallsMu   sync.Mutex
	stalls     int
	stalled    time.Duration
	stallBegan time.Time // zero while there is none
}

type pebbleFigure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*pebble.Metrics) float64
}

// newPebbleFigures are those of the database db, which is the label. read has to be
// set before they are collected.
func newPebbleFigures(db string) *pebbleFigures {
	p := &pebbleFigures{}
	labels := prometheus.Labels{"db": db}
	add := func(kind prometheus.ValueType, name, help string, value func(*pebble.Metrics) float64) {
		p.figures = append(p.figures, pebbleFigure{prometheus.NewDesc("spillway_"+name, help, nil, labels), kind, value})
	}
	gauge := func(name, help string, value func(*pebble.Metrics) float64) {
		add(prometheus.GaugeValue, "pebble_"+name, help, value)
	}
	counter := func(name, help string, value func(*pebble.Metrics) float64) {
		add(prometheus.CounterValue, "pebble_"+name, help, value)
	}
	gauge("disk_bytes", "Disk space the database takes.", func(m *pebble.Metrics) float64 {
		return float64(m.DiskSpaceUsage() + walBytes(m) - m.WAL.PhysicalSize)
	})
	gauge("wal_bytes", "Size of the database's write-ahead log files.", func(m *pebble.Metrics) float64 { return float64(walBytes(m)) })
	counter("wal_written_bytes_total", "Bytes written to the database's write-ahead log.", func(m *pebble.Metrics) float64 { return float64(m.WAL.BytesWritten) })
	counter("flushes_total", "Memtables written to tables.", func(m *pebble.Metrics) float64 { return float64(m.Flush.Count) })
	counter("flushed_bytes_total", "Bytes written by flushes.", func(m *pebble.Metrics) float64 {
		return float64(m.Levels[0].TableBytesFlushed + m.Levels[0].BlobBytesFlushed)
	})
	counter("compactions_total", "Compactions done.", func(m *pebble.Metrics) float64 { return float64(m.Compact.Count) })
	counter("compacted_bytes_total", "Bytes written by compactions.", func(m *pebble.Metrics) float64 {
		sum := uint64(0)
		for i := range m.Levels {
			sum += m.Levels[i].TableBytesCompacted + m.Levels[i].BlobBytesCompacted
		}
		return float64(sum)
	})
	gauge("compactions_running", "Compactions under way.", func(m *pebble.Metrics) float64 { return float64(m.Compact.NumInProgress) })
	gauge("compaction_debt_bytes", "Bytes to compact until the tables are in order.", func(m *pebble.Metrics) float64 { return float64(m.Compact.EstimatedDebt) })
	gauge("memtable_bytes", "Memory of the memtables.", func(m *pebble.Metrics) float64 { return float64(m.MemTable.Size) })
	gauge("l0_sublevels", "Layers of tables in level 0: they grow where compactions are behind.", func(m *pebble.Metrics) float64 { return float64(m.Levels[0].Sublevels) })
	gauge("read_amplification", "Tables a read may have to look into.", func(m *pebble.Metrics) float64 { return float64(m.ReadAmp()) })
	gauge("block_cache_bytes", "Memory of the block cache.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Size) })
	counter("block_cache_hits_total", "Blocks found in the cache.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Hits) })
	counter("block_cache_misses_total", "Blocks read from disk.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Misses) })
	counter("write_stalls_total", "Times the database held up writes, since flushes or compactions were behind.", func(*pebble.Metrics) float64 {
		stalls, _ := p.stallsSoFar()
		return float64(stalls)
	})
	counter("write_stall_seconds_total", "How long the database held up writes.", func(*pebble.Metrics) float64 {
		_, stalled := p.stallsSoFar()
		return stalled.Seconds()
	})
	return p
}

// walBytes is the size of the write-ahead log files. Of the one that is written
// PhysicalSize has only what it took when it was opened.
func walBytes(m *pebble.Metrics) uint64 { return max(m.WAL.PhysicalSize, m.WAL.Size) }

// withFailover adds what a log with log.failover_dir tells; without one it is 0.
func (p *pebbleFigures) withFailover() *pebbleFigures {
	p.figures = append(p.figures,
		pebbleFigure{prometheus.NewDesc("spillway_log_failover_switches_total", "Times commits went over to log.failover_dir or back.", nil, nil),
			prometheus.CounterValue, func(m *pebble.Metrics) float64 { return float64(m.WAL.Failover.DirSwitchCount) }},
		pebbleFigure{prometheus.NewDesc("spillway_log_failover_seconds_total", "How long commits went to log.failover_dir.", nil, nil),
			prometheus.CounterValue, func(m *pebble.Metrics) float64 { return m.WAL.Failover.SecondaryWriteDuration.Seconds() }})
	return p
}

// onStall is told when writes begin and end to be held up.
func (p *pebbleFigures) onStall(begins bool) {
	p.stallsMu.Lock()
	defer p.stallsMu.Unlock()
	if begins {
		p.stalls++
		p.stallBegan = time.Now()
		return
	}
	p.stalled += time.Since(p.stallBegan)
	p.stallBegan = time.Time{}
}

// stallsSoFar counts the stall under way, too.
func (p *pebbleFigures) stallsSoFar() (count int, held time.Duration) {
	p.stallsMu.Lock()
	defer p.stallsMu.Unlock()
	held = p.stalled
	if !p.stallBegan.IsZero() {
		held += time.Since(p.stallBegan)
	}
	return p.stalls, held
}

// Describe implements prometheus.Collector.
func (p *pebbleFigures) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range p.figures {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (p *pebbleFigures) Collect(ch chan<- prometheus.Metric) {
	m := p.current()
	if m == nil {
		return
	}
	for _, f := range p.figures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(m))
	}
}

// current gives new figures, or after pebbleWait the last ones. One read is under way
// at a time, whoever asks.
func (p *pebbleFigures) current() *pebble.Metrics {
	p.mu.Lock()
	reading := p.reading
	if reading == nil {
		reading = make(chan struct{})
		p.reading = reading
		go func() {
			m := p.read()
			p.mu.Lock()
			defer p.mu.Unlock()
			if m != nil {
				p.last = m
			}
			p.reading = nil
			close(reading)
		}()
	}
	p.mu.Unlock()
	timer := time.NewTimer(pebbleWait)
	defer timer.Stop()
	select {
	case <-reading:
	case <-timer.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}
