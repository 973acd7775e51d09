package dispatch

import (
	"log/slog"
	"sync"
	"time"

	"spillway/wal"
)

// rewound follows the partitions of a lane that were found older than they had
// confirmed, until they have been applied again what they lost. They come in
// flocks, so two lines tell of a flock: one when it begins, one when all are done.
type rewound struct {
	logger  *slog.Logger
	metrics *metrics
	lane    string

	mu sync.Mutex
	// until has by partition the last record that was confirmed.
	until map[int]uint64
	// events were applied again, and most partitions were behind, since began.
	events uint64
	most   int
	began  time.Time
}

func newRewound(logger *slog.Logger, m *metrics, lane wal.Lane) *rewound {
	return &rewound{logger: logger, metrics: m, lane: lane.String(), until: make(map[int]uint64)}
}

// found notes a partition of which the store has no more than stored.
func (r *rewound) found(partition int, confirmed, stored uint64) {
	r.metrics.rewinds.WithLabelValues(r.lane).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.until) == 0 {
		r.events, r.most, r.began = 0, 0, time.Now()
		r.logger.Warn("the store is older than it was: applying again; other partitions may be older, too",
			"partition", partition, "confirmed", confirmed, "stored", stored)
	}
	r.until[partition] = max(r.until[partition], confirmed)
	r.most = max(r.most, len(r.until))
}

// applied notes a step of a partition that ends at record to, with the records of
// its events.
func (r *rewound) applied(partition int, seqs []uint64, to uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, lost := r.until[partition]
	if !lost {
		return
	}
	n := 0
	for n < len(seqs) && seqs[n] <= until {
		n++
	}
	r.events += uint64(n)
	r.metrics.reapplied.WithLabelValues(r.lane).Add(float64(n))
	if to < until {
		return
	}
	if delete(r.until, partition); len(r.until) == 0 {
		r.logger.Info("the store has again what it lost", "partitions", r.most, "events", r.events,
			"took", time.Since(r.began).Round(time.Millisecond))
	}
}
