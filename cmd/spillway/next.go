package main

import (
	"path/filepath"
	"strings"
	"time"

	"spillway/cmd/spillway/config"
	"spillway/dispatch/stream"
)

// devTokenTTL is how long the token in the printed snippet is good for.
const devTokenTTL = 24 * time.Hour

// nextCommands is what `serve --dev` prints once it listens at public, a
// host:port: lines to paste that lead from nothing to the first event.
func nextCommands(c config.Config, public string, now time.Time) (string, error) {
	token, err := mintToken(c.Stream.JWTSecret, now, devTokenTTL, stream.Claims{})
	if err != nil {
		return "", err
	}
	webhook, socket := "http", "ws"
	if c.TLS.Enabled() {
		webhook, socket = "https", "wss"
	}
	// Only what differs from what the commands assume is spelt out.
	flags := func(scheme string) (text string) {
		if c.TLS.Enabled() || public != config.DefaultConfig().Listen {
			text = " --url " + localURL(scheme, public)
		}
		if filepath.Clean(c.Data) != filepath.Clean(config.DefaultConfig().Data) {
			text += " --data " + quote(c.Data)
		}
		return text
	}
	return strings.NewReplacer(
		"PUBLIC", public,
		"SECRETS", quote(config.DevFile(c.Data)),
		"TAILFLAGS", flags(socket),
		"SENDFLAGS", flags(webhook),
		"CALLBACK", localURL(webhook, public)+webhookPath,
		"STREAM", localURL(socket, public)+"/ws?token="+token,
	).Replace(nextText), nil
}

// nextText is the template of nextCommands; the words in capitals are replaced.
const nextText = `Spillway listens on PUBLIC. Its secrets are in SECRETS.
Try, in another terminal:

  ./bin/spillway tailTAILFLAGS                    # prints events as they come
  ./bin/spillway send --verifySENDFLAGS           # Meta's check of the callback URL
  ./bin/spillway send --sample messageSENDFLAGS   # a customer writes
  ./bin/spillway send --sample statusSENDFLAGS    # a message is delivered
  ./bin/spillway send FILESENDFLAGS               # a webhook of your own

The same with curl and openssl:

  ./bin/spillway send --sample image --print > /tmp/webhook.json
  curl -i CALLBACK --data-binary @/tmp/webhook.json -H "X-Hub-Signature-256: sha256=$(. SECRETS
    openssl dgst -sha256 -hmac "$SPILLWAY_APP_SECRET" -r /tmp/webhook.json | cut -d ' ' -f 1)"

In the console of a browser:

  new WebSocket('STREAM').onmessage = e => console.log(JSON.parse(e.data))
`

// quote makes a path one word of a shell.
func quote(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return !strings.ContainsRune(wordRunes, r) }) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

const wordRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-"
