package event

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

// The ids are kept in stores and by whoever reads the events: they must never
// change.
func TestIDs(t *testing.T) {
	const wamid = "wamid.HBgLMTU1NTAwMDEwMDgVAgASGBQzQTdGNEM2RkQ1RTBBMjQxRDlFRgA="
	tests := []struct {
		name string
		got  uuid.UUID
		want string
	}{
		{"message", MessageID(wamid), "6bc142cb-d504-54a5-9ed6-d52c3764ce0c"},
		{"contact", ContactID("215589313241560883", "15550001008"), "8e7521f0-8263-55dc-b952-fa9d6b663e71"},
		{"uid of a message", UID(MessageNew, wamid), "33927506-cc7d-581d-9831-ab16675605bc"},
		{"uid of an echo", UID(MessageNew, EchoIdentity(wamid)), "32d3030f-5b77-5750-9f19-a84d28a30432"},
		{"uid of a status", UID(MessageStatus, StatusIdentity(wamid, "read", "")), "93259acc-079b-501a-9fc4-4861d2c7c8e7"},
		{"uid of a change", UID("webhook:flows", "change:x"), "1c095582-7cb3-566f-99bf-254859c802b6"},
		{"a long name", MessageID(strings.Repeat("m", 1000)), "43dc9f8e-c823-5473-883f-db4b0e927d52"},
	}
	for _, test := range tests {
		if test.got.String() != test.want {
			t.Errorf("%s is %s, want %s", test.name, test.got, test.want)
		}
	}
}

// stable must give what the uuid package gives.
func TestStableIsVersion5(t *testing.T) {
	for _, name := range []string{"", "w", strings.Repeat("é", 500)} {
		if got, want := MessageID(name), uuid.NewSHA1(namespace, []byte("message:"+name)); got != want {
			t.Errorf("MessageID(%.10q) = %s, want %s", name, got, want)
		}
		if got, want := UID("t:u", name), uuid.NewSHA1(namespace, []byte("event:t:u:"+name)); got != want {
			t.Errorf("UID(%.10q) = %s, want %s", name, got, want)
		}
		if got, want := ContactID("W", name), uuid.NewSHA1(namespace, []byte("contact:W:"+name)); got != want {
			t.Errorf("ContactID(%.10q) = %s, want %s", name, got, want)
		}
	}
	if version := MessageID("w").Version(); version != 5 {
		t.Errorf("version %d", version)
	}
}

func TestIdentities(t *testing.T) {
	value := []byte(`{"event":"PIN_CHANGED"}`)
	tests := []struct{ name, got, want string }{
		{"echo", EchoIdentity("w"), "echo:w"},
		{"status", StatusIdentity("w", "sent", ""), "w:sent"},
		{"status of a participant", StatusIdentity("w", "read", "1555"), "w:read:1555"},
		{"contact", ContactIdentity(uuid.Nil, "w"), "00000000-0000-0000-0000-000000000000:w"},
		{"change", ChangeIdentity("W", "security", "1767323045", value), "change:236d76a6-0e4e-f885-18a6-473264fc3e2e"},
		{"change without anything", ChangeIdentity("", "", "", nil), "change:f21da334-f286-9f1b-eb5d-658bb22f286b"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s is %q, want %q", test.name, test.got, test.want)
		}
	}
}

// Each part counts, and so does where it ends.
func TestChangeIdentityParts(t *testing.T) {
	seen := map[string]bool{}
	for _, parts := range [][4]string{
		{"W", "f", "1", "v"}, {"Wf", "", "1", "v"}, {"", "Wf", "1", "v"}, {"W", "f1", "", "v"}, {"W", "f", "", "1v"},
		{"X", "f", "1", "v"}, {"W", "g", "1", "v"}, {"W", "f", "2", "v"}, {"W", "f", "1", "w"},
	} {
		seen[ChangeIdentity(parts[0], parts[1], parts[2], []byte(parts[3]))] = true
	}
	if len(seen) != 9 {
		t.Errorf("9 changes have %d identities", len(seen))
	}
}

func TestIDsAllocateNothing(t *testing.T) {
	const wamid = "wamid.HBgLMTU1NTAwMDEwMDgVAgASGBQzQTdGNEM2RkQ1RTBBMjQxRDlFRgA="
	if n := testing.AllocsPerRun(100, func() { MessageID(wamid); UID(MessageStatus, wamid); ContactID("W", "1555") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
