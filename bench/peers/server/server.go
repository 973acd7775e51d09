// Package server runs the servers that receivers keep webhooks in, each as a
// process of its own over a folder of its own, on loopback or on a socket in that
// folder. They can be killed and started again over what they had kept.
package server

import "context"

// Server is one that runs. Its address may be another after each start.
type Server interface {
	// Addr is what a receiver is told.
	Addr() string
	// PID is the process; its descendants belong to it.
	PID() int
	// Kill ends all of it with SIGKILL.
	Kill()
	// Restart starts it over its data, once killed.
	Restart(ctx context.Context) error
	// Stop ends it for good, whether it runs or not. Its data stay.
	Stop() error
}
