package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/deliver"
	"spillway/dispatch/store"
)

// deliverPath is where the admin listener answers for outgoing webhooks.
const deliverPath = "/deliver"

// The names of a query's values, beside queryAfter.
const (
	queryLimit   = "limit"
	queryPayload = "payload"
	queryAll     = "all"
)

// endpointName is what an endpoint may be called: nothing else gets to the store,
// whose keys have it.
var endpointName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// endpointList is the answer that lists endpoints.
type endpointList struct {
	Endpoints []deliver.Status `json:"endpoints"`
}

// testResult is what came of a test.
type testResult struct {
	Endpoint string `json:"endpoint"`
	// Result is one of testResults.
	Result string `json:"result"`
	// Code is the status that the endpoint answered, 0 where it answered none.
	Code    int     `json:"code"`
	Seconds float64 `json:"seconds"`
	Reason  string  `json:"reason,omitempty"`
}

const resultDelivered = "delivered"

// pauseResult is what an endpoint was set to.
type pauseResult struct {
	Endpoint string `json:"endpoint"`
	Paused   bool   `json:"paused"`
}

// deadRetryRequest names dead deliveries.
type deadRetryRequest struct {
	UIDs []uuid.UUID `json:"uids"`
}

// deadRetryResult is how many dead deliveries wait again.
type deadRetryResult struct {
	Endpoint string `json:"endpoint"`
	Retried  int    `json:"retried"`
}

// deadDelivery is a delivery that was given up.
type deadDelivery struct {
	// At is where it stands in the list, for queryAfter; no more than that.
	At        string    `json:"at,omitempty"`
	UID       uuid.UUID `json:"uid"`
	Type      string    `json:"type"`
	Partition int       `json:"partition"`
	Attempts  uint32    `json:"attempts"`
	Reason    string    `json:"reason"`
	// First is when it was first tried, Died when it was given up.
	First time.Time `json:"first"`
	Died  time.Time `json:"died"`
	// Payload is the event's, where it was asked for.
	Payload json.RawMessage `json:"payload,omitempty"`
}

func deadDeliveryOf(d *store.Dead, withPayload bool) deadDelivery {
	out := deadDelivery{
		At: formatAt(d), UID: d.Entry.UID, Type: d.Entry.Type, Partition: d.Partition, Attempts: d.Attempts,
		Reason: d.Reason, First: d.First.UTC(), Died: d.Died.UTC(),
	}
	if withPayload {
		out.Payload = d.Entry.Payload
	}
	return out
}

// formatAt writes what orders dead deliveries: partition, place, and when it died.
func formatAt(d *store.Dead) string {
	return fmt.Sprintf("%d-%d-%d-%d", d.Partition, d.Parked.Place.Ms, d.Parked.Place.Seq, d.Died.UnixNano())
}

var atForm = regexp.MustCompile(`^(\d{1,9})-(\d{1,20})-(\d{1,20})-(-?\d{1,19})$`)

// parseAt gives as much of a dead delivery as a list goes on after, nil for the
// beginning.
func parseAt(endpoint, text string) (*store.Dead, error) {
	if text == "" {
		return nil, nil
	}
	var numbers [4]uint64
	var died int64
	parts := atForm.FindStringSubmatch(text)
	ok := parts != nil
	for i := 0; ok && i < 3; i++ {
		var err error
		numbers[i], err = strconv.ParseUint(parts[i+1], 10, 64)
		ok = err == nil
	}
	if ok {
		var err error
		died, err = strconv.ParseInt(parts[4], 10, 64)
		ok = err == nil
	}
	if !ok {
		return nil, fmt.Errorf("after %q is not allowed; allowed: the at of a dead delivery", text)
	}
	place := store.Place{Ms: numbers[1], Seq: numbers[2]}
	return &store.Dead{
		Share:  store.Share{Endpoint: endpoint, Partition: int(numbers[0])},
		Parked: store.Parked{Place: place}, Entry: store.Entry{Place: place}, Died: time.Unix(0, died),
	}, nil
}

// deadQuery says which dead deliveries are wanted.
type deadQuery struct {
	// After is the At of the one before, empty for the beginning.
	After string
	// Limit is how many are wanted at most, 0 for all.
	Limit   int
	Payload bool
}

func (q *deadQuery) values() url.Values {
	v := url.Values{}
	if q.After != "" {
		v.Set(queryAfter, q.After)
	}
	if q.Limit > 0 {
		v.Set(queryLimit, strconv.Itoa(q.Limit))
	}
	if q.Payload {
		v.Set(queryPayload, "true")
	}
	return v
}

func parseDeadQuery(v url.Values) (q deadQuery, err error) {
	if err := refuseOthers(v, queryAfter, queryLimit, queryPayload); err != nil {
		return q, err
	}
	q.After = v.Get(queryAfter)
	if text := v.Get(queryLimit); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 {
			return q, fmt.Errorf("limit %q is not allowed; allowed: 1 and more", text)
		}
	}
	q.Payload, err = parseBool(v, queryPayload)
	return q, err
}
