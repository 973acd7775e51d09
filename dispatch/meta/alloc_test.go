package meta

import "testing"

// What decoding allocates is what the events are made of: the payload, the
// names, the customer. All else is reused.
func TestAllocations(t *testing.T) {
	tests := []struct {
		name  string
		body  []byte
		limit float64
	}{
		{"status", []byte(campaignStatus), 9},
		{"text", []byte(textMessage), 8},
		{"100 statuses", statuses(100), 6*100 + 2},
	}
	for _, test := range tests {
		d := new(decoder)
		allocations := testing.AllocsPerRun(100, func() {
			d.events, d.dead = nil, nil
			if fault := d.parse(test.body); fault != "" {
				t.Fatal(fault)
			}
			d.webhook()
		})
		if len(d.events) == 0 || len(d.dead) != 0 {
			t.Fatalf("%s: %d events, dead letters %q", test.name, len(d.events), d.dead)
		}
		if allocations > test.limit {
			t.Errorf("%s: %v allocations, want at most %v", test.name, allocations, test.limit)
		}
	}
}
