package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"spillway/bench/campaign"
)

// maxResult bounds a file: the result of a day has a third of it.
const maxResult = 64 << 20

// Read reads one result, as `bench campaign --json` prints it, and calls it name.
// What is not one, or is one of another version with other fields, is an error
// that says why.
func Read(name string, in io.Reader) (Run, error) {
	run := Run{Name: name}
	data, err := io.ReadAll(io.LimitReader(in, maxResult+1))
	if err != nil {
		return Run{}, fmt.Errorf("read result: %w", err)
	}
	err = parse(data, &run.Result)
	if err == nil {
		err = check(&run.Result)
	}
	if err != nil {
		return Run{}, fmt.Errorf("not a result of `bench campaign --json`: %w", err)
	}
	return run, nil
}

func parse(data []byte, result *campaign.Result) error {
	if len(data) > maxResult {
		return fmt.Errorf("it is larger than %d MiB", maxResult>>20)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(result); errors.Is(err, io.EOF) {
		return errors.New("it is empty")
	} else if err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more follows its first object; allowed: one result a file")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	if absent := absentFields(fields); len(absent) > 0 {
		return fmt.Errorf("it lacks %s", strings.Join(absent, ", "))
	}
	return nil
}

// absentFields are those that every result has, and this one has not.
func absentFields(fields map[string]json.RawMessage) []string {
	var absent []string
	for _, field := range reflect.VisibleFields(reflect.TypeFor[campaign.Result]()) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if _, ok := fields[name]; !ok && options != "omitempty" {
			absent = append(absent, name)
		}
	}
	return absent
}

// check wants series and distributions in their order, as they are drawn.
func check(result *campaign.Result) error {
	last := -1
	for i, point := range result.Series {
		if point.Second <= last {
			return fmt.Errorf("series: point %d is of second %d, after second %d", i, point.Second, last)
		}
		last = point.Second
	}
	for _, distribution := range []struct {
		name    string
		buckets []campaign.Bucket
	}{{"ack_distribution", result.AckDistribution}, {"delivery_distribution", result.DeliveryDistribution}} {
		var last campaign.Bucket
		for i, b := range distribution.buckets {
			if b.Seconds < last.Seconds || b.Share < last.Share || b.Share > 1 {
				return fmt.Errorf("%s: bucket %d has share %g at %g s, after share %g at %g s",
					distribution.name, i, b.Share, b.Seconds, last.Share, last.Seconds)
			}
			last = b
		}
	}
	return nil
}
