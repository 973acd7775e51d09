package ack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"
)

// The series of a receiver that are read.
const (
	batchRecords = "spillway_log_commit_records"
	lagSeconds   = "spillway_dispatch_lag_seconds"
	// UnreleasedRecords is 0 where a receiver that dispatches is level.
	UnreleasedRecords = "spillway_log_unreleased_records"
)

const (
	// lagEvery is how often the lag is looked at, as often as it is measured.
	lagEvery = time.Second
	// syncs are how many syncs of the disk are timed at a time.
	syncs = 200
)

var client = &http.Client{Timeout: 10 * time.Second}

// watch follows a receiver from outside while it is measured.
type watch struct {
	target *Target

	processor, server float64 // processor time, in seconds
	records, syncs    float64

	stop context.CancelFunc
	done sync.WaitGroup
	lags []float64 // written by one goroutine until done
}

func newWatch(t *Target) *watch { return &watch{target: t} }

func (w *watch) begin(ctx context.Context) (err error) {
	forgetPeaks(w.target.PID, w.target.ServerPID)
	if w.processor, w.server, err = w.processors(); err != nil {
		return err
	}
	if w.records, w.syncs, err = w.batches(ctx); err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(ctx)
	if w.target.Dispatches {
		w.done.Go(func() { w.follow(ctx) })
	}
	return nil
}

// follow notes the lag until ctx ends.
func (w *watch) follow(ctx context.Context) {
	ticker := time.NewTicker(lagEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if families, err := Scrape(ctx, w.target.Admin); err == nil {
				w.lags = append(w.lags, largest(families[lagSeconds]))
			}
		}
	}
}

// close ends the following, if it was begun; it may be called twice.
func (w *watch) close() {
	if w.stop != nil {
		w.stop()
	}
	w.done.Wait()
}

// end fills in what the receiver used and did for the webhooks acked.
func (w *watch) end(s *Sample, acked int64) error {
	w.close()
	processor, server, err := w.processors()
	if err != nil {
		return err
	}
	records, syncs, err := w.batches(context.Background())
	if err != nil {
		return err
	}
	s.ProcessorPerMillion = (processor - w.processor) / float64(acked) * 1e6
	s.ServerPerMillion = (server - w.server) / float64(acked) * 1e6
	if syncs > w.syncs {
		s.RecordsPerSync = (records - w.records) / (syncs - w.syncs)
	}
	s.Lags = w.lags
	s.Memory, err = peakMemory(w.target.PID, w.target.ServerPID)
	return err
}

// processors gives the processor time of the receiver and of its server, 0
// without one.
func (w *watch) processors() (receiver, server float64, err error) {
	if receiver, err = ProcessorTime(w.target.PID); err == nil && w.target.ServerPID != 0 {
		server, err = ProcessorTime(w.target.ServerPID)
	}
	return receiver, server, err
}

// batches gives the records and the syncs so far, 0 without a log.
func (w *watch) batches(ctx context.Context) (records, syncs float64, err error) {
	if w.target.Admin == "" {
		return 0, 0, nil
	}
	families, err := Scrape(ctx, w.target.Admin)
	if err != nil {
		return 0, 0, err
	}
	for _, m := range families[batchRecords].GetMetric() {
		records += m.GetHistogram().GetSampleSum()
		syncs += float64(m.GetHistogram().GetSampleCount())
	}
	return records, syncs, nil
}

// settle waits until all that was acked is dispatched.
func (w *watch) settle(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		families, err := Scrape(ctx, w.target.Admin)
		if err != nil {
			return err
		}
		if families[UnreleasedRecords] == nil {
			return fmt.Errorf("no series %s", UnreleasedRecords)
		}
		if largest(families[UnreleasedRecords]) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("dispatching is not level after %s: %w", limit, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Scrape reads the metrics of a receiver at its private address.
func Scrape(ctx context.Context, address string) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return families, nil
}

func largest(family *dto.MetricFamily) float64 {
	value := 0.0
	for _, m := range family.GetMetric() {
		value = max(value, m.GetGauge().GetValue())
	}
	return value
}

// timeSync is the median time of appending size bytes to a file with fdatasync.
func timeSync(dir string, size int) (_ time.Duration, err error) {
	path := filepath.Join(dir, "sync-time")
	file, err := os.Create(path)
	if err != nil {
		return 0, fmt.Errorf("time sync: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(path)) }()
	data := make([]byte, size)
	times := make([]time.Duration, syncs)
	for i := range times {
		began := time.Now()
		if _, err := file.Write(data); err != nil {
			return 0, fmt.Errorf("time sync: %w", err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return 0, fmt.Errorf("time sync: %w", err)
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
