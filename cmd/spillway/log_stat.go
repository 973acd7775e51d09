package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"spillway/wal"
)

func newLogStatCommand() *cobra.Command {
	var o logOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat",
		Short: "Show how full the log is and how far it was dispatched",
		Long: `Stat shows both lanes: the first record kept and the last one, the last one
released, how many records dispatching is behind, their bytes and ages, and how
many came in the last minute; then dead letters, space, and what was written to
the disk for each byte appended, since the log was opened.

A record is behind until its events are known to be durable in the store; it is
released when it may go by log.retain.`,
		Example: `  spillway log stat
  spillway log stat --json | jq '.lanes[] | {lane, behind}'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd, false, func(ctx context.Context, source logSource, _ *job) error {
				stat, err := source.Stat(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), stat)
				}
				return printStat(cmd.OutOrStdout(), &stat, time.Now())
			})
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// printStat prints what a person reads.
func printStat(out io.Writer, s *logStat, now time.Time) error {
	state := "no receiver runs on it"
	if s.Running {
		state = "a receiver runs on it"
	}
	fmt.Fprintf(out, "log         %s, %s\nidentity    %s\n\n", s.Folder, state, s.Node)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(laneStat) string) {
		fmt.Fprint(table, name)
		for _, lane := range wal.Lanes {
			fmt.Fprintf(table, "\t%s", cell(s.Lanes[lane]))
		}
		fmt.Fprintln(table, "\t")
	}
	row("", func(l laneStat) string { return l.Lane })
	row("first", func(l laneStat) string { return fmt.Sprint(l.First) })
	row("head", func(l laneStat) string { return fmt.Sprint(l.Head) })
	row("released", func(l laneStat) string { return fmt.Sprint(l.Released) })
	row("behind", func(l laneStat) string { return fmt.Sprint(l.Behind) })
	row("records", func(l laneStat) string { return fmt.Sprint(l.Records) })
	row("bytes", func(l laneStat) string { return bytesText(l.Bytes) })
	row("not released", func(l laneStat) string { return bytesText(l.UnreleasedBytes) })
	row("oldest", func(l laneStat) string { return ageText(l.Oldest, now) })
	row("newest", func(l laneStat) string { return ageText(l.Newest, now) })
	row("last minute", func(l laneStat) string { return fmt.Sprintf("%.2f/s", float64(l.LastMinute)/60) })
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	_, err := fmt.Fprintf(out, "\ndead letters   %d, %s\nrecords        %s of log.max_bytes %s\ndisk           %s taken, %s free, log.min_free %s\nwritten        %s\n",
		s.DeadLetters, bytesText(s.DeadBytes), bytesText(s.Lanes[0].Bytes+s.Lanes[1].Bytes), bytesText(s.MaxBytes),
		bytesText(s.DiskBytes), bytesText(s.FreeBytes), bytesText(s.MinFree), writtenText(s))
	return err
}

func writtenText(s *logStat) string {
	if s.AppendedBytes == 0 {
		return "nothing appended since it was opened"
	}
	return fmt.Sprintf("%s for %s appended since it was opened, write amplification %.2f",
		bytesText(s.WrittenBytes), bytesText(s.AppendedBytes), s.WriteAmplification)
}

// bytesText writes a size with three digits or four; -1 is not known.
func bytesText(n int64) string {
	if n < 0 {
		return "?"
	}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < 3 {
		size, unit = size/1024, unit+1
	}
	decimals := 0
	if size < 100 {
		decimals = 1
	}
	return fmt.Sprintf("%.*f %ciB", decimals, size, "KMGT"[unit])
}

// ageText says how long ago it was, - where it never was.
func ageText(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	age := now.Sub(t)
	if age < time.Minute {
		return age.Round(100*time.Millisecond).String() + " ago"
	}
	return age.Round(time.Second).String() + " ago"
}
