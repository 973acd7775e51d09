package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"spillway/bench/ack"
	"spillway/bench/fanout"
	"spillway/cmd/spillway/config"
)

// target finds the receiver that was named, or starts one; closing it removes
// what it left.
func (o *benchStreamOptions) target(ctx context.Context, stderr io.Writer) (fanout.Target, func() error, error) {
	if o.url == "" {
		return o.startTarget(ctx, stderr)
	}
	u, err := baseURL(o.url, "http", webhookPath)
	if err != nil {
		return fanout.Target{}, nil, err
	}
	if u.Scheme != "http" || u.Path != webhookPath || u.Port() == "" {
		return fanout.Target{}, nil, usageError("--url %s is not allowed; allowed: http://HOST:PORT%s", o.url, webhookPath)
	}
	t := fanout.Target{Address: u.Host}
	secrets, err := findSecret("--app-secret", o.appSecret, config.VariableAppSecret, o.data, func(d config.DevSecrets) string { return d.AppSecret })
	if err != nil {
		return t, nil, err
	}
	t.Secret = firstSecret(secrets)
	secret, err := findSecret("--jwt-secret", o.jwtSecret, config.VariableJWTSecret, o.data, func(d config.DevSecrets) string { return d.JWTSecret })
	if err != nil {
		return t, nil, err
	}
	if o.admin != "" {
		t.Meter = fanout.Process{Admin: o.admin}
	}
	t.Subscribe, err = subscribe(u.Host, secret)
	return t, func() error { return nil }, err
}

// moreSockets is what the receiver may have besides those that are measured: some
// are stuck, and some that were closed it may not know of yet.
const moreSockets = 200

// startTarget starts a receiver of its own.
func (o *benchStreamOptions) startTarget(ctx context.Context, stderr io.Writer) (t fanout.Target, end func() error, err error) {
	place, err := makePlace(o.dir, "spillway-stream-", o.redis)
	if err != nil {
		return t, nil, err
	}
	args := append(place.args,
		"--sockets", strconv.Itoa(o.config.Most()+moreSockets), "--connections", strconv.Itoa(2*o.config.Connections))
	// It is stopped by its end, whatever interrupts the measuring.
	process, err := runTarget(context.WithoutCancel(ctx), args, stderr, place.remove)
	if err != nil {
		return t, nil, fmt.Errorf("start receiver: %w", err)
	}
	t = fanout.Target{Address: process.Public, Secret: benchSecret, Meter: fanout.Process{Admin: process.Admin}}
	if t.Subscribe, err = subscribe(process.Public, ack.StreamSecret); err != nil {
		return t, nil, errors.Join(err, process.Stop())
	}
	return t, process.Stop, nil
}
