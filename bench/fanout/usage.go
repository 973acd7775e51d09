package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"spillway/bench/ack"
)

// Process tells the usage of one by its private address, which serves Go's metrics
// and profiles, and Spillway's where it is one.
type Process struct {
	// Admin is host:port.
	Admin string
}

// Usage reads its metrics.
func (p Process) Usage(ctx context.Context) (Usage, error) {
	families, err := ack.Scrape(ctx, p.Admin)
	if err != nil {
		return Usage{}, err
	}
	value := func(name string) float64 {
		sum := 0.0
		for _, m := range families[name].GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return sum
	}
	return Usage{
		Processor: value("process_cpu_seconds_total"),
		Resident:  value("process_resident_memory_bytes"),
		Heap:      value("go_memstats_heap_inuse_bytes"),
		Stack:     value("go_memstats_stack_inuse_bytes"),
		Slow:      value("spillway_stream_slow_closes_total"),
		Overruns:  value("spillway_stream_overruns_total"),
	}, nil
}

// collectWithin bounds a collection of garbage.
const collectWithin = time.Minute

// Collect has it collect its garbage.
func (p Process) Collect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, collectWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	return nil
}
