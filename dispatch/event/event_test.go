package event

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestRank(t *testing.T) {
	tests := []struct {
		status Status
		rank   int
		higher []string
	}{
		{Status{Wamid: "w", Name: "sent"}, 1, []string{"w:delivered", "w:read", "w:played"}},
		{Status{Wamid: "w", Name: "delivered"}, 2, []string{"w:read", "w:played"}},
		{Status{Wamid: "w", Name: "read", Participant: "p"}, 3, []string{"w:played:p"}},
		{Status{Wamid: "w", Name: "played"}, 4, []string{}},
		{Status{Wamid: "w", Name: "failed"}, 0, nil},
		{Status{Wamid: "w", Name: "Sent"}, 0, nil},
		{Status{Wamid: "w"}, 0, nil},
	}
	for _, test := range tests {
		if got := test.status.Rank(); got != test.rank {
			t.Errorf("rank of %q is %d, want %d", test.status.Name, got, test.rank)
		}
		if got := test.status.Higher(); !reflect.DeepEqual(got, test.higher) {
			t.Errorf("higher than %q are %q, want %q", test.status.Name, got, test.higher)
		}
	}
}

func TestCustomerIDs(t *testing.T) {
	tests := []struct {
		customer  Customer
		primary   string
		candidate uuid.UUID
	}{
		{Customer{WABA: "W", WaID: "1"}, "1", ContactID("W", "1")},
		{Customer{WABA: "W", UserID: "US.1"}, "US.1", ContactID("W", "US.1")},
		{Customer{WABA: "W", WaID: "1", UserID: "US.1"}, "US.1", ContactID("W", "1")},
	}
	for _, test := range tests {
		if got := test.customer.Primary(); got != test.primary {
			t.Errorf("primary of %+v is %q, want %q", test.customer, got, test.primary)
		}
		if got := test.customer.Candidate(); got != test.candidate {
			t.Errorf("candidate of %+v is %s, want %s", test.customer, got, test.candidate)
		}
	}
}

func TestSetContact(t *testing.T) {
	first, second := ContactID("W", "1"), ContactID("W", "2")
	rest := `,"wamid":"w"}`
	e := Event{Customer: &Customer{Contact: first}, Payload: append(AppendContact(nil, first), rest...)}
	for _, contact := range []uuid.UUID{first, second, first} {
		e.SetContact(contact)
		if want := `{"contact_id":"` + contact.String() + `"` + rest; string(e.Payload) != want || e.Customer.Contact != contact {
			t.Errorf("contact %s, payload %s, want %s", e.Customer.Contact, e.Payload, want)
		}
	}
}

func TestSetContactWithoutCustomer(t *testing.T) {
	payload := []byte(`{"waba_id":"W"}`)
	e := Event{Payload: bytes.Clone(payload)}
	if e.SetContact(ContactID("W", "1")); !bytes.Equal(e.Payload, payload) {
		t.Errorf("payload %s", e.Payload)
	}
}

func TestAppendUUID(t *testing.T) {
	for i := range 100 {
		id := MessageID(fmt.Sprint(i))
		if got := string(AppendUUID([]byte("id "), id)); got != "id "+id.String() {
			t.Errorf("%s, want %s", got, id)
		}
	}
}

// The partitions that keys have are kept in stores: they must never change.
func TestPartition(t *testing.T) {
	tests := []struct {
		key        string
		partitions int
		want       int
	}{
		{"", 32, 2},
		{"15550001008", 1, 0},
		{"15550001008", 8, 4},
		{"15550001008", 32, 20},
		{"US.13491208655302741918", 32, 24},
		{"wamid.HBgLMTU1NTAwMDEwMDgVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA", 32, 4},
		{"wamid.HBgLMTU1NTAwMDEwMDgVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA", 99, 52},
	}
	for _, test := range tests {
		if got := Partition(test.key, test.partitions); got != test.want {
			t.Errorf("{%q, %d, %d},", test.key, test.partitions, got)
		}
	}
}

func TestPartitionsAreEven(t *testing.T) {
	const partitions, keys = 32, 32000
	var counts [partitions]int
	for i := range keys {
		counts[Partition(fmt.Sprintf("1555%07d", i), partitions)]++
	}
	for partition, count := range counts {
		if count < 800 || count > 1200 {
			t.Errorf("partition %d has %d of %d keys", partition, count, keys)
		}
	}
}

func TestDedupeTime(t *testing.T) {
	const window = 8 * 24 * time.Hour
	received := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name string
		at   time.Time
		own  bool
	}{
		{"none", time.Time{}, false},
		{"just before", received.Add(-time.Second), true},
		{"the window's edge", received.Add(-window), true},
		{"before the window", received.Add(-window - 1), false},
		{"a day ahead", received.Add(24 * time.Hour), true},
		{"more than a day ahead", received.Add(24*time.Hour + 1), false},
	} {
		e := Event{Time: test.at, Received: received}
		want := received
		if test.own {
			want = test.at
		}
		if at, own := e.DedupeTime(window); at != want || own != test.own {
			t.Errorf("%s: got %v, %t", test.name, at, own)
		}
	}
}
