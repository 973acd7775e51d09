package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
)

// The results of a check. A warning does not keep serve from starting.
const (
	resultOK   = "ok"
	resultWarn = "warn"
	resultFail = "FAIL"
)

// finding is what one check found.
type finding struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail"`
}

func ok(name, format string, args ...any) finding {
	return finding{Name: name, Result: resultOK, Detail: fmt.Sprintf(format, args...)}
}

func warn(name, format string, args ...any) finding {
	return finding{Name: name, Result: resultWarn, Detail: fmt.Sprintf(format, args...)}
}

func fail(name, format string, args ...any) finding {
	return finding{Name: name, Result: resultFail, Detail: fmt.Sprintf(format, args...)}
}

func newCheckCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate a config and test what it needs",
		Long: `Check reads the config as serve would, variables included, and tests the machine:
the disk and how long a synced write takes, Redis, certificates and their dates,
secrets, addresses, and the limit on open files. One line each: ok, warn or FAIL.
Endpoints are listed and not asked.

It changes nothing and may run beside serve. Exits 1 where anything is FAIL.`,
		Example: `  spillway check --config spillway.yaml
  spillway check --config spillway.yaml --json | jq 'select(.result != "ok")'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(config.Options{File: file, Environ: os.Environ()}, asJSON, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the config `file`; without it, defaults and variables alone")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

func runCheck(options config.Options, asJSON bool, out io.Writer) error {
	failed := 0
	for _, f := range findings(options) {
		if f.Result == resultFail {
			failed++
		}
		var err error
		if asJSON {
			err = printJSON(out, f)
		} else {
			_, err = fmt.Fprintf(out, "%-4s  %s: %s\n", f.Result, f.Name, f.Detail)
		}
		if err != nil {
			return err
		}
	}
	switch failed {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 check failed")
	}
	return fmt.Errorf("%d checks failed", failed)
}

// findings runs all checks; those of the machine only where the config says
// what to test.
func findings(options config.Options) []finding {
	c, err := config.Load(options)
	if mistakes, is := err.(config.Mistakes); is {
		var all []finding
		for _, mistake := range mistakes {
			all = append(all, fail("config", "%s", mistake))
		}
		return all
	} else if err != nil {
		return []finding{fail("config", "%v", err)}
	}
	source := options.File
	if source == "" {
		source = "defaults and variables"
	}
	all := []finding{ok("config", "%s", source)}
	all = append(all, checkSecrets(c)...)
	all = append(all, listEndpoints(c.Endpoints)...)
	all = append(all, checkDisk(c)...)
	all = append(all, checkFailover(c)...)
	all = append(all, checkRedis(c)...)
	all = append(all, checkTLS(c.TLS)...)
	all = append(all, checkAddress("listen", c.Listen), checkAddress("admin", c.Admin), checkFiles(c))
	return all
}

// weakSecret is the length in bytes below which a secret can be guessed from
// one token: HS256 asks for as many as its hash has.
const weakSecret = 32

func checkSecrets(c config.Config) []finding {
	var apps []string
	for _, app := range c.Apps {
		apps = append(apps, fmt.Sprintf("%s (%d)", app.Name, len(app.AppSecrets)))
	}
	all := []finding{ok("apps", "name (secrets): %s", strings.Join(apps, ", "))}
	switch n := len(c.Stream.JWTSecret); {
	case n == 0:
		all = append(all, ok("stream.jwt_public_key", "set"))
	case n < weakSecret:
		all = append(all, warn("stream.jwt_secret", "has %d bytes; use %d random ones, as of `openssl rand -hex 32`", n, weakSecret))
	default:
		all = append(all, ok("stream.jwt_secret", "set, %d bytes", n))
	}
	return all
}

// listEndpoints names each endpoint with its host: the rest of its URL may be secret.
func listEndpoints(endpoints []config.Endpoint) []finding {
	var all []finding
	for _, e := range endpoints {
		events := "all events"
		if len(e.Events) > 0 {
			events = strings.Join(e.Events, ", ")
		}
		all = append(all, ok("endpoint "+e.Name, "%s, secrets: %d, %s", e.Host(), len(e.Secrets), events))
	}
	return all
}
