package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func newLogCatCommand() *cobra.Command {
	var o logOptions
	var r rangeFlags
	var app, wamid string
	var limit int
	cmd := &cobra.Command{
		Use:   "cat",
		Short: "Print webhooks as they came in",
		Long: `Cat prints one JSON object a line, express first, then bulk, each in order:

  {"lane":"express","seq":7,"received":"…","app":"default","signature":"HEX","body":{…}}

body is the webhook itself where that is JSON in UTF-8, put on one line; any other
is in body_base64. It ends with the last record there is when it begins. Records
that cannot be read are named on standard error; then it exits 1.`,
		Example: `  spillway log cat --since 10m
  spillway log cat --lane bulk --from 1000 --to 1999 | jq -c .body
  spillway log cat --grep-wamid wamid.HBgLMTY1MDU1NTEyMzQ --limit 1`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := r.query(cmd)
			if err != nil {
				return err
			}
			if limit < 0 {
				return usageError("--limit %d is not allowed; allowed: 0 and more", limit)
			}
			for name, value := range map[string]string{"app": app, "grep-wamid": wamid} {
				if cmd.Flags().Changed(name) && value == "" {
					return usageError("--%s is empty", name)
				}
			}
			query.App, query.Wamid = app, wamid
			return o.do(cmd, false, func(ctx context.Context, source logSource, j *job) error {
				return printRecords(ctx, source, query, limit, cmd.OutOrStdout(), j)
			})
		},
	}
	o.addFlags(cmd)
	r.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&app, "app", "", "only those signed by the app of that `name`")
	flags.StringVar(&wamid, "grep-wamid", "", "only those that hold that `wamid`, or part of one")
	flags.IntVar(&limit, "limit", 0, "end after that many `records`; 0 for never")
	return cmd
}

// flushEvery is how long a record that was found may wait to be seen.
const flushEvery = 200 * time.Millisecond

// printRecords prints records until there is an error or they are enough.
func printRecords(ctx context.Context, source logSource, query recordQuery, limit int, stdout io.Writer, j *job) error {
	out := bufio.NewWriterSize(stdout, 64<<10)
	quiet := isTerminal(stdout) // the records themselves show how far it is
	flushed, printed, unread := time.Now(), 0, 0
	err := source.Records(ctx, query, func(e logEntry) error {
		switch {
		case e.Gap != nil:
			unread++
			j.note("%s", e.gapText())
		case e.Record != nil:
			line, err := recordLine(&e)
			if err != nil {
				return err
			}
			if _, err := out.Write(line); err != nil {
				return fmt.Errorf("print record: %w", err)
			}
			printed++
		}
		if printed == limit && limit > 0 {
			return errEnough
		}
		if !quiet {
			j.progress("%s: record %d of %d, %d printed", e.Lane, e.Seq, e.Last, printed)
		}
		if now := time.Now(); now.Sub(flushed) >= flushEvery {
			flushed = now
			return out.Flush()
		}
		return nil
	})
	if flushErr := out.Flush(); err == nil || err == errEnough {
		err = flushErr
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err == nil && unread > 0:
		return fmt.Errorf("not all records could be printed")
	}
	return err
}

// recordHead is what stands before the body in a line of cat.
type recordHead struct {
	Lane      string    `json:"lane"`
	Seq       uint64    `json:"seq"`
	Received  time.Time `json:"received"`
	App       string    `json:"app"`
	Signature string    `json:"signature"`
}

func recordLine(e *logEntry) ([]byte, error) {
	return withBody(recordHead{
		Lane: e.Lane, Seq: e.Seq, Received: e.Record.Received, App: e.Record.App, Signature: hex.EncodeToString(e.Record.Signature),
	}, e.Record.Body)
}

// withBody writes an object with members as one line, with the body as last
// member: not encoded anew, for that may change numbers and escapes.
func withBody(object any, body []byte) ([]byte, error) {
	var line bytes.Buffer
	line.Grow(512 + len(body))
	if err := printJSON(&line, object); err != nil {
		return nil, err
	}
	line.Truncate(line.Len() - len("}\n"))
	if json.Valid(body) && utf8.Valid(body) {
		line.WriteString(`,"body":`)
		if err := json.Compact(&line, body); err != nil {
			return nil, fmt.Errorf("print body: %w", err)
		}
	} else {
		line.WriteString(`,"body_base64":`)
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("print body: %w", err)
		}
		line.Write(encoded)
	}
	line.WriteString("}\n")
	return line.Bytes(), nil
}
