package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
)

// sendOptions are what `send` was told.
type sendOptions struct {
	url, appSecret, verifyToken, data string
	verify, print                     bool
	repeat                            int
	samples, paths                    []string
}

func newSendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send [FILE | FOLDER | -]…",
		Short: "Sign webhooks and post them, as Meta does",
		Long: `Send signs each body with the app secret, posts it, and prints one JSON line each:

  {"file":"message.json","status":200,"seconds":0.003,"body":""}

A folder stands for every .json file below it, - for a body on standard input.
--verify plays Meta's verification of the callback URL first. The secrets come
from the flags, else from SPILLWAY_APP_SECRET and SPILLWAY_VERIFY_TOKEN, else
from DATA/dev.env. Exits 1 if any answer is not 200.`,
		Example: `  spillway send --verify
  spillway send --sample message --sample status
  spillway send webhook.json payloads/
  jq -c . webhook.json | spillway send -
  spillway send --url https://example.com/api/webhook --app-secret "$SECRET" webhook.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.paths = args
			if err := o.check(); err != nil {
				return err
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", localURL("http", defaultListen()), "the callback `URL`")
	flags.StringVar(&o.appSecret, "app-secret", "", "the app `secret` to sign with")
	flags.BoolVar(&o.verify, "verify", false, "play Meta's verification GET first")
	flags.StringVar(&o.verifyToken, "verify-token", "", "the verify `token` for --verify")
	flags.StringArrayVar(&o.samples, "sample", nil, "send a made-up webhook with new ids: "+strings.Join(sampleNames, ", "))
	flags.BoolVar(&o.print, "print", false, "write the bodies to standard output instead of sending them")
	flags.IntVar(&o.repeat, "repeat", 1, "send all of it that many `times`; each sample has new ids each time")
	addDataFlag(cmd, &o.data)
	return cmd
}

func (o *sendOptions) check() error {
	if len(o.paths) == 0 && len(o.samples) == 0 && !o.verify {
		return usageError("nothing to send: name a FILE, a folder or -, or use --sample %s", strings.Join(sampleNames, "|"))
	}
	for _, name := range o.samples {
		if _, err := newSample(name); err != nil {
			return err
		}
	}
	if o.repeat < 1 {
		return usageError("--repeat %d is not allowed; allowed: 1 and more", o.repeat)
	}
	if o.print && o.verify {
		return usageError("--print and --verify exclude each other")
	}
	return nil
}

// run verifies, then sends every body, and goes on after a bad answer.
func (o *sendOptions) run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if o.print {
		return o.eachBody(stdin, func(_ string, body []byte) error {
			_, err := fmt.Fprintf(stdout, "%s\n", body)
			return err
		})
	}
	target, err := baseURL(o.url, "http", webhookPath)
	if err != nil {
		return err
	}
	s := newSender(target, stdout)
	if o.verify {
		token, err := findSecret("--verify-token", o.verifyToken, config.VariableVerifyToken, o.data,
			func(d config.DevSecrets) string { return d.VerifyToken })
		if err != nil {
			return err
		}
		if err := s.verify(ctx, token); err != nil {
			return err
		}
	}
	if len(o.paths)+len(o.samples) == 0 {
		return nil
	}
	secrets, err := findSecret("--app-secret", o.appSecret, config.VariableAppSecret, o.data,
		func(d config.DevSecrets) string { return d.AppSecret })
	if err != nil {
		return err
	}
	if o.appSecret == "" { // the variable lists the current and the previous one
		secrets, _, _ = strings.Cut(secrets, ",")
		secrets = strings.TrimSpace(secrets)
	}
	err = o.eachBody(stdin, func(name string, body []byte) error { return s.post(ctx, name, body, secrets) })
	return errors.Join(err, s.verdict())
}

// eachBody gives the samples and files in the order they were named.
func (o *sendOptions) eachBody(stdin io.Reader, give func(name string, body []byte) error) error {
	files, err := o.files(stdin)
	if err != nil {
		return err
	}
	for range o.repeat {
		for _, name := range o.samples {
			body, err := newSample(name)
			if err != nil {
				return err
			}
			if err := give("sample:"+name, body); err != nil {
				return err
			}
		}
		for _, file := range files {
			body, err := file.read()
			if err != nil {
				return err
			}
			if err := give(file.name, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// bodyFile is a body that is read when its turn comes.
type bodyFile struct {
	name string
	read func() ([]byte, error)
}

// files resolves the paths; standard input is read once, for every repetition.
func (o *sendOptions) files(stdin io.Reader) ([]bodyFile, error) {
	var files []bodyFile
	for _, path := range o.paths {
		if path == "-" {
			body, err := io.ReadAll(stdin)
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			files = append(files, bodyFile{name: path, read: func() ([]byte, error) { return body, nil }})
			continue
		}
		found, err := filesBelow(path)
		if err != nil {
			return nil, err
		}
		for _, name := range found {
			files = append(files, bodyFile{name: name, read: func() ([]byte, error) { return os.ReadFile(name) }})
		}
	}
	return files, nil
}

// filesBelow gives a file itself, or the .json files below a folder in the
// order of their names.
func filesBelow(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, usageError("%w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var found []string
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(name, ".json") {
			found = append(found, name)
		}
		return err
	})
	if err == nil && len(found) == 0 {
		return nil, usageError("no .json file below %s", path)
	}
	return found, err
}
