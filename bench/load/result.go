package load

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept between these bounds, to one percent.
const (
	minLatency = time.Microsecond
	maxLatency = 10 * answerTimeout
	digits     = 2
)

// Result is what came of a run. Its histograms are in microseconds.
type Result struct {
	// Elapsed is the time that was measured.
	Elapsed time.Duration
	// Answers counts answers by status.
	Answers map[int]int64
	// Errors counts connections that failed; Err is one of their errors.
	Errors int64
	Err    error
	// Acks holds the latencies of the answers 200, Refusals of the answers 503:
	// from the time a webhook should have been sent, which is the time it was
	// sent where there is no schedule.
	Acks, Refusals *hdrhistogram.Histogram
	// SentAcks and SentRefusals are the same from the time it was sent.
	SentAcks, SentRefusals *hdrhistogram.Histogram
	// Unsaid counts the answers 503 that did not say when to come again.
	Unsaid int64
	// Late is how far a send fell behind its schedule, at most; Unsent how many
	// were due and not sent when the time was over.
	Late   time.Duration
	Unsent int64
}

func newResult() *Result {
	return &Result{
		Answers: map[int]int64{},
		Acks:    newHistogram(), Refusals: newHistogram(), SentAcks: newHistogram(), SentRefusals: newHistogram(),
	}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatency.Microseconds(), maxLatency.Microseconds(), digits)
}

// count takes an answer in that came so long after it was due, and was sent.
func (r *Result) count(a answer, sinceDue, sinceSent time.Duration) {
	r.Answers[a.status]++
	switch a.status {
	case http.StatusOK:
		record(r.Acks, sinceDue)
		record(r.SentAcks, sinceSent)
	case http.StatusServiceUnavailable:
		record(r.Refusals, sinceDue)
		record(r.SentRefusals, sinceSent)
		if !a.retryAfter {
			r.Unsaid++
		}
	}
}

func record(h *hdrhistogram.Histogram, latency time.Duration) {
	_ = h.RecordValue(min(max(latency, minLatency), maxLatency).Microseconds()) // never out of bounds
}

// fail counts a connection that failed.
func (r *Result) fail(err error) {
	r.Errors++
	if r.Err == nil {
		r.Err = err
	}
}

// merge adds what another goroutine counted.
func (r *Result) merge(o *Result) {
	for status, n := range o.Answers {
		r.Answers[status] += n
	}
	r.Errors += o.Errors
	if r.Err == nil {
		r.Err = o.Err
	}
	r.Acks.Merge(o.Acks)
	r.Refusals.Merge(o.Refusals)
	r.SentAcks.Merge(o.SentAcks)
	r.SentRefusals.Merge(o.SentRefusals)
	r.Unsaid += o.Unsaid
	r.Late = max(r.Late, o.Late)
	r.Unsent += o.Unsent
}

// Rate is the answers 200 a second.
func (r *Result) Rate() float64 { return float64(r.Answers[http.StatusOK]) / r.Elapsed.Seconds() }

// Quantile is the latency that a share of the acks, in percent, did not exceed.
func (r *Result) Quantile(percent float64) time.Duration { return Quantile(r.Acks, percent) }

// Quantile is the latency that a share, in percent, of a Result's histogram did
// not exceed; 0 where it is empty.
func Quantile(h *hdrhistogram.Histogram, percent float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(percent)) * time.Microsecond
}

// Clean is an error where anything but 200 came.
func (r *Result) Clean() error {
	if r.Err != nil {
		return r.Err
	}
	for status := range r.Answers {
		if status != http.StatusOK {
			return errors.New("webhooks were refused")
		}
	}
	return nil
}

// String tells all of it in a line or two.
func (r *Result) String() string {
	return fmt.Sprintf("%.0f acks/s, answers %v, %d errors (%v), late by %s at most, %d unsent; "+
		"acks p50 %s p99 %s, from the send p50 %s p99 %s; 503 p50 %s p99 %s, from the send p50 %s p99 %s, %d without Retry-After",
		r.Rate(), r.Answers, r.Errors, r.Err, r.Late, r.Unsent,
		Quantile(r.Acks, 50), Quantile(r.Acks, 99), Quantile(r.SentAcks, 50), Quantile(r.SentAcks, 99),
		Quantile(r.Refusals, 50), Quantile(r.Refusals, 99), Quantile(r.SentRefusals, 50), Quantile(r.SentRefusals, 99), r.Unsaid)
}
