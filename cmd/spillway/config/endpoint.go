package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Endpoint is one receiver of outgoing webhooks. Its URL and the values of its headers
// may hold secrets as its secrets do: none of them is shown.
type Endpoint struct {
	// Name is what cursors and metrics are kept under: letters, digits, dash,
	// underscore. Another name is another endpoint.
	Name string `yaml:"name"`
	// URL is https, or http to a loopback address with --dev.
	URL string `yaml:"url" secret:"true"`
	// Secrets sign what is sent, all of them: the current one and, during a rotation,
	// the previous one. base64 of 24 to 64 bytes, after whsec_ or without.
	Secrets []string `yaml:"secrets" secret:"true"`
	// Events are types, or patterns of them as a subscriber's; none set: all.
	Events []string `yaml:"events"`
	// PhoneNumberIDs and WABAIDs narrow the events further; none set: all.
	PhoneNumberIDs []string `yaml:"phone_number_ids"`
	WABAIDs        []string `yaml:"waba_ids"`
	// Headers are sent besides ours, none of which may be among them.
	Headers map[string]string `yaml:"headers" secret:"true"`
	// Timeout bounds one try, from connecting to the end of the answer.
	Timeout time.Duration `yaml:"timeout" range:"1s..60s"`
	// Concurrency is how many tries may be under way at a time, from one receiver.
	Concurrency int `yaml:"concurrency" range:"1..256"`
	// Rate bounds the tries of one receiver.
	Rate Rate `yaml:"rate"`
	// RetryFor is how long a delivery that fails is tried again.
	RetryFor time.Duration `yaml:"retry_for" range:"1m..720h"`
	// Order is OrderContact or OrderNone.
	Order string `yaml:"order"`
	// MaxWaiting bounds the deliveries that wait to be tried again.
	MaxWaiting int `yaml:"max_waiting" range:"1..10000000"`
	// AllowNets are networks, as 10.0.0.0/8, that its addresses may be in besides
	// public ones.
	AllowNets []string `yaml:"allow_nets"`
}

// What Order may be: a delivery that fails holds back the later ones of its contact,
// or none.
const (
	OrderContact = "contact"
	OrderNone    = "none"
)

// DefaultEndpoint is what holds for an endpoint where nothing is set. It lacks a
// name, a URL and secrets, and so is not valid by itself.
func DefaultEndpoint() Endpoint {
	return Endpoint{
		Timeout:     10 * time.Second,
		Concurrency: 8,
		Rate:        100 * perSecond,
		RetryFor:    72 * time.Hour,
		Order:       OrderContact,
		MaxWaiting:  1000000,
	}
}

func (e *Endpoint) setDefaults() { *e = DefaultEndpoint() }

// Host is the part of the URL that may be shown: host[:port].
func (e Endpoint) Host() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// Rate is a number of tries a minute; 0 is no limit.
type Rate int

// The ends of a Rate, and a second's worth of it.
const (
	perSecond Rate = 60
	maxRate        = 100000 * perSecond
)

// PerSecond is the rate in tries a second; 0 is no limit.
func (r Rate) PerSecond() float64 { return float64(r) / float64(perSecond) }

// String gives the rate as it is written: 100/s, 50/m or none.
func (r Rate) String() string {
	switch {
	case r == 0:
		return "none"
	case r%perSecond == 0:
		return strconv.Itoa(int(r/perSecond)) + "/s"
	}
	return strconv.Itoa(int(r)) + "/m"
}

var errRate = errors.New("not a rate")

// ParseRate reads N/s, N/m or none. A plain 0 is an error: it would as well mean that
// nothing is to be sent.
func ParseRate(text string) (Rate, error) {
	if text == "none" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseUint(number, 10, 31)
	rate := Rate(n)
	if unit == "s" {
		rate *= perSecond
	}
	if err != nil || unit != "s" && unit != "m" || rate < 1 || rate > maxRate {
		return 0, fmt.Errorf("parse rate %q: %w", text, errRate)
	}
	return rate, nil
}
