package trace

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// sampler takes the events whose uid is at or above a bound, by OpenTelemetry's
// rules for consistent sampling: the last 56 bits of a trace id are its random
// part, and in a UUID they are. (The SDK's TraceIDRatioBased reads a UUID's variant
// too, which is not random: it would take none below a ratio of a half, and all
// from three quarters on.) The bound goes with each span as its tracestate,
// "ot=th:…", so that a backend can tell how many events a trace stands for.
type sampler struct {
	bound uint64
	state otel.TraceState
}

const (
	randomBits = 56
	randomMask = 1<<randomBits - 1
)

func newSampler(ratio float64) (sampler, error) {
	if !(ratio >= 0 && ratio <= 1) {
		return sampler{}, fmt.Errorf("sample traces: ratio %v: must be from 0 to 1", ratio)
	}
	s := sampler{bound: uint64(math.Round((1 - ratio) * (1 << randomBits)))}
	if s.bound > randomMask {
		return s, nil // it takes none: there is no state for that
	}
	digits := strings.TrimRight(fmt.Sprintf("%014x", s.bound), "0")
	if digits == "" {
		digits = "0"
	}
	var err error
	s.state, err = s.state.Insert("ot", "th:"+digits)
	return s, err
}

// takes is asked for every event.
func (s *sampler) takes(id [16]byte) bool {
	return binary.BigEndian.Uint64(id[8:])&randomMask >= s.bound
}

// ShouldSample is for the SDK.
func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	if !s.takes(p.TraceID) {
		return sdk.SamplingResult{Decision: sdk.Drop}
	}
	return sdk.SamplingResult{Decision: sdk.RecordAndSample, Tracestate: s.state}
}

// Description is for the SDK.
func (s sampler) Description() string { return "SpillwayUID" }
