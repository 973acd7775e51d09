package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"spillway/wal"
)

// The paths of the log on the admin listener.
const (
	logStatPath    = "/log/stat"
	logRecordsPath = "/log/records"
	logDeadPath    = "/log/dead"
	logReplayPath  = "/log/replay"
)

// logLine is a line of an answer that is a stream. The last one has End or
// Error, so that an answer that was cut is told from one that is complete:
//
//	{"entry":{"lane":"express","seq":7,"last":9,"record":{…}}}
//	{"letter":{"lane":"bulk","seq":3,"item":0,…}}
//	{"replay":{"lane":"express","from":1,"to":9,"seq":4,…}}
//	{"delivery":{"at":"…","uid":"…",…}}
//	{"end":true}
//	{"error":"…"}
type logLine struct {
	Entry  *logEntry     `json:"entry,omitempty"`
	Letter *deadEntry    `json:"letter,omitempty"`
	Replay *replayResult `json:"replay,omitempty"`
	// Delivery is of the list of dead deliveries.
	Delivery *deadDelivery `json:"delivery,omitempty"`
	End      bool          `json:"end,omitempty"`
	Error    string        `json:"error,omitempty"`
}

// The names of a query's values.
const (
	queryLane  = "lane"
	queryFrom  = "from"
	queryTo    = "to"
	queryAfter = "after"
	querySince = "since"
	queryApp   = "app"
	queryWamid = "wamid"
	queryForce = "force"
)

// values writes the query; parseRecordQuery reads it.
func (q *recordQuery) values() url.Values {
	v := rangeValues(q.From, q.To, q.Since)
	for _, lane := range q.Lanes {
		v.Add(queryLane, lane.String())
	}
	if q.App != "" {
		v.Set(queryApp, q.App)
	}
	if q.Wamid != "" {
		v.Set(queryWamid, q.Wamid)
	}
	if q.After > 0 {
		v.Set(queryAfter, strconv.FormatUint(q.After, 10))
	}
	return v
}

// parseRecordQuery takes both lanes where none is named.
func parseRecordQuery(v url.Values) (q recordQuery, err error) {
	if err := refuseOthers(v, queryLane, queryFrom, queryTo, queryAfter, querySince, queryApp, queryWamid); err != nil {
		return q, err
	}
	if q.Lanes, err = parseLanes(v[queryLane]); err != nil {
		return q, err
	}
	q.App, q.Wamid = v.Get(queryApp), v.Get(queryWamid)
	if q.After, err = parseSequence(v, queryAfter); err != nil {
		return q, err
	}
	q.From, q.To, q.Since, err = parseRange(v)
	return q, err
}

func (q *replayQuery) values() url.Values {
	v := rangeValues(q.From, q.To, q.Since)
	v.Set(queryLane, q.Lane.String())
	if q.Force {
		v.Set(queryForce, "true")
	}
	return v
}

func parseReplayQuery(v url.Values) (q replayQuery, err error) {
	if err := refuseOthers(v, queryLane, queryFrom, queryTo, querySince, queryForce); err != nil {
		return q, err
	}
	if q.Lane, err = parseLane(v.Get(queryLane)); err != nil {
		return q, err
	}
	if q.Force, err = parseForce(v); err != nil {
		return q, err
	}
	q.From, q.To, q.Since, err = parseRange(v)
	return q, err
}

func parseForce(v url.Values) (bool, error) { return parseBool(v, queryForce) }

// parseBool gives false where there is none.
func parseBool(v url.Values, name string) (bool, error) {
	switch text := v.Get(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fmt.Errorf("%s %q is not allowed; allowed: true, false", name, text)
	}
}

// refuseOthers finds a misspelt value, which would else ask for everything.
func refuseOthers(v url.Values, known ...string) error {
	for name := range v {
		if !strings.Contains(","+strings.Join(known, ",")+",", ","+name+",") {
			return fmt.Errorf("%q is not known; allowed: %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

func rangeValues(from, to uint64, since time.Time) url.Values {
	v := url.Values{}
	if from > 0 {
		v.Set(queryFrom, strconv.FormatUint(from, 10))
	}
	if to > 0 {
		v.Set(queryTo, strconv.FormatUint(to, 10))
	}
	if !since.IsZero() {
		v.Set(querySince, since.UTC().Format(time.RFC3339Nano))
	}
	return v
}

func parseRange(v url.Values) (from, to uint64, since time.Time, err error) {
	if from, err = parseSequence(v, queryFrom); err != nil {
		return from, to, since, err
	}
	if to, err = parseSequence(v, queryTo); err != nil {
		return from, to, since, err
	}
	if text := v.Get(querySince); text != "" {
		since, err = parseSince(text, time.Now())
	}
	return from, to, since, err
}

// parseSequence gives 0 where there is none.
func parseSequence(v url.Values, name string) (seq uint64, err error) {
	text := v.Get(name)
	if text == "" {
		return 0, nil
	}
	if seq, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, fmt.Errorf("%s %q is not a sequence; allowed: a whole number", name, text)
	}
	return seq, nil
}

// parseSince reads a time, or how long before now it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	since, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return since, fmt.Errorf("since %q is not allowed; allowed: a duration such as 90s, 15m or 2h, or a time such as 2026-01-31T15:04:05Z", text)
	}
	return since, nil
}

// parseLanes takes all lanes where none is named.
func parseLanes(names []string) ([]wal.Lane, error) {
	if len(names) == 0 {
		return wal.Lanes[:], nil
	}
	var lanes []wal.Lane
	for _, lane := range wal.Lanes {
		for _, name := range names {
			named, err := parseLane(name)
			if err != nil {
				return nil, err
			}
			if named == lane {
				lanes = append(lanes, lane)
				break
			}
		}
	}
	return lanes, nil
}
