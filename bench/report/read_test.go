package report

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"

	"spillway/bench/campaign"
)

func encode(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReadIsWhatCampaignPrints(t *testing.T) {
	for _, want := range []Run{passedRun(), failedRun(), pointRun(), emptyRun()} {
		got, err := Read(want.Name, strings.NewReader(encode(t, want.Result)+"\n"))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as another, %v", want.Name, err)
		}
	}
}

// changed is a result as JSON after a change to it.
func changed(t *testing.T, change func(*campaign.Result)) string {
	t.Helper()
	run := passedRun()
	change(&run.Result)
	return encode(t, run.Result)
}

func TestReadRefuses(t *testing.T) {
	whole := changed(t, func(*campaign.Result) {})
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "it is empty"},
		{"text", "sent 12 webhooks", "invalid character 's'"},
		{"cut", whole[:len(whole)/2], "unexpected EOF"},
		{"two", whole + whole, "one result a file"},
		{"a list", "[" + whole + "]", "cannot unmarshal array"},
		{"null", "null", "it lacks receiver, subscription"},
		{"another program's", `{"machine": {}, "rounds": 3, "cases": []}`, `unknown field "rounds"`},
		{"an older version's", strings.Replace(whole, `"lost":0,`, "", 1), "it lacks lost"},
		{"a wrong type", strings.Replace(whole, `"lost":0`, `"lost":"none"`, 1), "cannot unmarshal string"},
		{"seconds that go back", changed(t, func(r *campaign.Result) { r.Series[3].Second = 1 }), "series: point 3 is of second 1, after second 2"},
		{"seconds before the first", changed(t, func(r *campaign.Result) { r.Series[0].Second = -1 }), "series: point 0 is of second -1"},
		{"a share above one", changed(t, func(r *campaign.Result) { r.AckDistribution[2].Share = 1.5 }), "ack_distribution: bucket 2 has share 1.5"},
		{"latencies that fall", changed(t, func(r *campaign.Result) { r.DeliveryDistribution[2].Seconds = 0 }), "delivery_distribution: bucket 2"},
	} {
		_, err := Read("x", strings.NewReader(test.text))
		if err == nil || !strings.HasPrefix(err.Error(), "not a result of `bench campaign --json`: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
	}
}

// spaces never end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestReadIsBounded(t *testing.T) {
	if _, err := Read("x", io.Reader(spaces{})); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("got %v", err)
	}
}
