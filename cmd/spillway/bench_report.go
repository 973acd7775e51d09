package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"spillway/bench/report"
)

func newBenchReportCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "report FILE…",
		Short: "Make a web page of campaign results",
		Long: `Report reads what "bench campaign --json" printed, one result a file, and writes
one HTML page that needs nothing else: the verdict, what was run, the figures, and
charts of rate, latency, backlog and lag. Several results, six at most, lie over
one another in the same charts. - is standard input.`,
		Example: `  spillway bench campaign --preset 100k --json > 100k.json
  spillway bench report 100k.json
  spillway bench report before.json after.json -o compared.html
  spillway bench campaign --preset small --json | spillway bench report -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("no FILE is given; see %s --help", cmd.CommandPath())
			}
			return makeReport(args, output, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "report.html", "the `file` to write, - for standard output")
	return cmd
}

func makeReport(paths []string, output string, stdin io.Reader, stdout io.Writer) error {
	runs, err := readRuns(paths, stdin)
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := report.Write(&page, runs); err != nil {
		return usageError("%w", err)
	}
	if output == "-" {
		_, err := page.WriteTo(stdout)
		return err
	}
	return replaceFile(output, page.Bytes())
}

// readRuns reads the results that are named, and names each run after its file.
func readRuns(paths []string, stdin io.Reader) ([]report.Run, error) {
	var runs []report.Run
	for _, path := range paths {
		run, err := readRun(path, stdin)
		if err != nil {
			return nil, usageError("%s: %w", path, err)
		}
		runs = append(runs, run)
	}
	shortNames(runs)
	return runs, nil
}

func readRun(path string, stdin io.Reader) (report.Run, error) {
	if path == "-" {
		return report.Read(path, stdin)
	}
	file, err := os.Open(path)
	if err != nil {
		var pathError *fs.PathError
		if errors.As(err, &pathError) { // it would say the path again
			err = pathError.Err
		}
		return report.Run{}, err
	}
	defer file.Close()
	return report.Read(path, file)
}

// shortNames takes the folder and .json off the names where they still differ.
func shortNames(runs []report.Run) {
	seen := map[string]int{}
	short := func(name string) string {
		if name == "-" {
			return "standard input"
		}
		return strings.TrimSuffix(filepath.Base(name), ".json")
	}
	for _, run := range runs {
		seen[short(run.Name)]++
	}
	for i := range runs {
		if name := short(runs[i].Name); seen[name] == 1 {
			runs[i].Name = name
		}
	}
}

// replaceFile writes a file whole or leaves the one that is there. What is no
// file, such as a pipe, is written to.
func replaceFile(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, data, 0o644)
	}
	fresh := path + ".new"
	err := os.WriteFile(fresh, data, 0o644)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		os.Remove(fresh) // it may not be there
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
