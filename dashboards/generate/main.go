// Generate writes Spillway's Grafana dashboards: one JSON file each, which
// loads by provisioning or by import, without an edit, in Grafana 11 and later.
// It also makes a page of the runbook, which Prometheus can serve.
//
// A dashboard is a list of rows, a row is a question with the panels that
// answer it: overview.go, log.go, dispatch.go and streams.go hold nothing else.
// How a panel is drawn, what an expression may leave out, and which colour a
// label value has everywhere is in panel.go, query.go and colours.go.
//
// Expressions need the classic buckets of histograms: a Prometheus that scrapes
// native ones has to keep both (always_scrape_classic_histograms).
//
// The files are committed. After a change, run make dashboards; a test compares.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// runbookURL is where compose.yaml's Prometheus serves the runbook.
const runbookURL = "http://127.0.0.1:9090/user/runbook.html"

// boards are all dashboards by the names of their files.
func boards() map[string]board {
	return map[string]board{
		"overview.json": overview(),
		"log.json":      logAndDisk(),
		"dispatch.json": dispatchAndRedis(),
		"streams.json":  streams(),
	}
}

func main() {
	out := flag.String("out", "dashboards/grafana", "the `folder` to write to")
	runbook := flag.String("runbook", runbookURL, "the `URL` of the runbook, which the dashboards link to")
	flag.Parse()
	if err := errors.Join(write(*out, *runbook), writeRunbook(runbookSource, runbookPage)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(folder, runbook string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder of dashboards: %w", err)
	}
	for name, b := range boards() {
		raw, err := b.json(runbook)
		if err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), raw, 0o644); err != nil {
			return fmt.Errorf("write dashboard: %w", err)
		}
	}
	return nil
}
