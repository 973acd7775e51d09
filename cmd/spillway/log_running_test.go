package main

import (
	"strings"
	"testing"
)

// TestLogOfWhoListens: where no folder is named and there is none, the receiver that
// listens is asked; a folder that is named is not taken for another.
func TestLogOfWhoListens(t *testing.T) {
	withoutData(t)
	buildBinary(t)
	t.Chdir(t.TempDir())
	p := start(t, t.TempDir())
	p.post(messageWebhook("wamid.a", "15550001001", "hello"))
	t.Setenv("SPILLWAY_ADMIN", p.admin)
	if got := spillway(t, "", "log", "stat", "--json"); got.code != exitOK || !strings.Contains(got.stdout, `"express"`) {
		t.Errorf("%+v, want the log of the receiver that listens", got)
	}
	if got := spillway(t, "", "log", "stat", "--data", "elsewhere"); got.code == exitOK || !strings.Contains(got.stderr, "there is no log in elsewhere/log") {
		t.Errorf("%+v, want that there is none", got)
	}
}
