package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
)

func newLogVerifyCommand() *cobra.Command {
	var o logOptions
	var r rangeFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check every stored signature again",
		Long: `Verify reads every record kept and checks its signature against the app secrets of
the config: apps' app_secrets, SPILLWAY_APP_SECRET, or DATA/dev.env. It prints how
many records of each app were signed with which of its secrets, by their order in
the config, the current one first:

  app default: 120 by secret 1, 3 by secret 2, 1 by none

Records that no secret of their app has signed, and those that cannot be read, are
named on standard error. Exits 1 where there are any.`,
		Example: `  spillway log verify --config spillway.yaml
  spillway log verify --data /srv/spillway --lane bulk`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := r.query(cmd)
			if err != nil {
				return err
			}
			cfg, err := o.load()
			if err != nil {
				return err
			}
			apps, err := appsOf(cfg)
			if err != nil {
				return err
			}
			return o.do(cmd, false, func(ctx context.Context, source logSource, j *job) error {
				v := newVerifier(apps, j)
				return v.run(ctx, source, query, cmd.OutOrStdout())
			})
		},
	}
	o.addFlags(cmd)
	r.addLane(cmd)
	return cmd
}

// appsOf gives the apps of the config, and the app of dev.env where it has none.
func appsOf(cfg config.Config) ([]config.App, error) {
	if slices.ContainsFunc(cfg.Apps, func(a config.App) bool { return len(a.AppSecrets) > 0 }) {
		return cfg.Apps, nil
	}
	secrets, err := config.ReadDevSecrets(cfg.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if secrets.AppSecret == "" {
		return nil, usageError("no app secret: name the config with --config, or set %s (there is none in %s)",
			config.VariableAppSecret, config.DevFile(cfg.Data))
	}
	return []config.App{{Name: config.DefaultApp, AppSecrets: []string{secrets.AppSecret}}}, nil
}

// namedMost is how many bad records are named.
const namedMost = 20

// verifier counts records by app and by the secret that signed them.
type verifier struct {
	job     *job
	secrets map[string][]hash.Hash // by app
	signed  map[string][]int       // by app, as secrets
	none    map[string]int         // by app
	sum     [sha256.Size]byte
	// checked, bad and unread count records, the last of them those that are
	// damaged.
	checked, bad int
	unread       uint64
}

func newVerifier(apps []config.App, j *job) *verifier {
	v := &verifier{job: j, secrets: map[string][]hash.Hash{}, signed: map[string][]int{}, none: map[string]int{}}
	for _, app := range apps {
		for _, secret := range app.AppSecrets {
			v.secrets[app.Name] = append(v.secrets[app.Name], hmac.New(sha256.New, []byte(secret)))
		}
	}
	return v
}

func (v *verifier) run(ctx context.Context, source logSource, query recordQuery, out io.Writer) error {
	err := source.Records(ctx, query, func(e logEntry) error {
		v.take(&e)
		v.job.progress("%s: record %d of %d, %d bad", e.Lane, e.Seq, e.Last, v.bad)
		return nil
	})
	if ctx.Err() != nil {
		err = errInterrupted
	}
	if err != nil {
		return err
	}
	if v.bad > namedMost {
		v.job.note("… and %d more", v.bad-namedMost)
	}
	v.job.clear()
	if err := v.print(out); err != nil {
		return err
	}
	return v.verdict()
}

func (v *verifier) take(e *logEntry) {
	switch {
	case e.Gap != nil:
		v.job.note("%s", e.gapText())
		if !e.Gap.Trimmed {
			v.unread += e.Gap.Through - e.Seq + 1
		}
	case e.Record != nil:
		v.checked++
		if !v.check(e.Record) {
			v.none[e.Record.App]++
			if v.bad++; v.bad <= namedMost {
				v.job.note("%s record %d: no secret of app %s has signed it", e.Lane, e.Seq, e.Record.App)
			}
		}
	}
}

// check counts the record by the secret of its app that has signed it.
func (v *verifier) check(r *logRecord) bool {
	if v.signed[r.App] == nil {
		v.signed[r.App] = make([]int, len(v.secrets[r.App]))
	}
	for i, mac := range v.secrets[r.App] {
		mac.Reset()
		_, _ = mac.Write(r.Body)
		if hmac.Equal(mac.Sum(v.sum[:0]), r.Signature) {
			v.signed[r.App][i]++
			return true
		}
	}
	return false
}

func (v *verifier) print(out io.Writer) error {
	for _, app := range slices.Sorted(maps.Keys(v.signed)) {
		var parts []string
		for i, n := range v.signed[app] {
			parts = append(parts, fmt.Sprintf("%d by secret %d", n, i+1))
		}
		parts = append(parts, fmt.Sprintf("%d by none", v.none[app]))
		unknown := ""
		if len(v.secrets[app]) == 0 {
			unknown = " (no secret of it is in the config)"
		}
		if _, err := fmt.Fprintf(out, "app %s: %s%s\n", app, strings.Join(parts, ", "), unknown); err != nil {
			return fmt.Errorf("print result: %w", err)
		}
	}
	if v.checked == 0 {
		_, err := fmt.Fprintln(out, "no records")
		return err
	}
	return nil
}

func (v *verifier) verdict() error {
	var parts []string
	if v.bad > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d records are signed by no secret of their app", v.bad, v.checked))
	}
	if v.unread > 0 {
		parts = append(parts, fmt.Sprintf("%d cannot be read", v.unread))
	}
	if len(parts) == 0 {
		return nil
	}
	return errors.New(strings.Join(parts, ", "))
}
