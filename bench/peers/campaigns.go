package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"spillway/bench/campaign"
)

// endDelay is how long a benchmark may take to end once it is called off.
const endDelay = 30 * time.Second

// runCampaigns runs each preset, and keeps its JSON where a folder is named.
func (o *options) runCampaigns(ctx context.Context, stderr io.Writer) ([]*campaign.Result, error) {
	var all []*campaign.Result
	for _, preset := range o.campaigns {
		fmt.Fprintf(stderr, "campaign %s\n", preset)
		out, err := o.runSpillway(ctx, []string{"bench", "campaign", "--preset", preset, "--json"}, stderr)
		if err != nil {
			return nil, fmt.Errorf("campaign %s: %w", preset, err)
		}
		if err := o.keepJSON(preset, out); err != nil {
			return nil, fmt.Errorf("keep campaign %s: %w", preset, err)
		}
		var result campaign.Result
		if err := json.Unmarshal(out, &result); err != nil {
			return nil, fmt.Errorf("campaign %s: %w", preset, err)
		}
		all = append(all, &result)
	}
	return all, nil
}

// runSpillway gives the JSON of a benchmark, whatever its verdict.
func (o *options) runSpillway(ctx context.Context, args []string, stderr io.Writer) ([]byte, error) {
	cmd := exec.CommandContext(ctx, o.spillway, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+o.config.Dir) // its data too go with the folder
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has a receiver to end
	cmd.WaitDelay = endDelay
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.ExitCode() == 1 && ctx.Err() == nil && len(bytes.TrimSpace(out)) > 0 {
		return out, nil // the verdict is in it
	}
	return out, err
}

func (o *options) keepJSON(preset string, out []byte) error {
	if o.keep == "" {
		return nil
	}
	if err := os.MkdirAll(o.keep, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.keep, preset+".json"), out, 0o644)
}
