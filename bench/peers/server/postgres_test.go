package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFindPostgres: the PATH comes first, and what is not there is said.
func TestFindPostgres(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if found, err := FindPostgres(); found == dir || err != nil && !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("found %q, %v", found, err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := FindPostgres(); found != dir || err != nil {
		t.Errorf("found %q, %v", found, err)
	}
	for folder, want := range map[string]int{"/usr/lib/postgresql/9/bin": 9, "/usr/lib/postgresql/15/bin": 15, "/usr/bin": 0} {
		if got := version(folder); got != want {
			t.Errorf("version of %s is %d", folder, got)
		}
	}
}
