package post

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/http/httpguts"
)

// The defaults of Config, and its bounds.
const (
	DefaultTimeout     = 10 * time.Second
	MaxTimeout         = 5 * time.Minute
	DefaultConcurrency = 8
	MaxConcurrency     = 1000
)

// Config is one endpoint.
type Config struct {
	// URL is https, without a user and a fragment. Its query may hold a secret: it is
	// in no error and no reason.
	URL string
	// Secrets sign each delivery, all of them, so that a receiver may know either one
	// while they rotate: the current first. At least one; base64 of 24 to 64 bytes, with
	// or without whsec_ before it.
	Secrets []string
	// Headers are sent besides. None may be one that is set here or that belongs to the
	// connection.
	Headers map[string]string
	// Timeout bounds a delivery, from the name's lookup to the answer's header; half of
	// it the connecting. Zero: DefaultTimeout. MaxTimeout at most.
	Timeout time.Duration
	// UserAgent: "spillway" where it is empty.
	UserAgent string
	// AllowLoopback opens this machine's own addresses, and plain http to them alone:
	// for development.
	AllowLoopback bool
	// AllowNets opens networks that are not public, over https.
	AllowNets []netip.Prefix
	// Concurrency bounds the connections, and with HTTP/1 so the deliveries that are
	// under way: further ones wait within their timeout. Zero: DefaultConcurrency.
	// MaxConcurrency at most.
	Concurrency int
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.UserAgent == "" {
		c.UserAgent = "spillway"
	}
	return c
}

// validate gives all mistakes but those of the URL and the secrets, which are found
// where they are parsed. No value that may be a secret is in an error.
func (c Config) validate() error {
	var mistakes []error
	if c.Timeout < 0 || c.Timeout > MaxTimeout {
		mistakes = append(mistakes, fmt.Errorf("timeout: %s is not above 0 and at most %s", c.Timeout, MaxTimeout))
	}
	if c.Concurrency < 0 || c.Concurrency > MaxConcurrency {
		mistakes = append(mistakes, fmt.Errorf("concurrency: %d is not from 1 to %d", c.Concurrency, MaxConcurrency))
	}
	if !httpguts.ValidHeaderFieldValue(c.UserAgent) {
		mistakes = append(mistakes, errors.New("user agent: it holds a control character"))
	}
	for _, network := range c.AllowNets {
		if !network.IsValid() || network.Addr().Is4In6() {
			mistakes = append(mistakes, fmt.Errorf("allowed networks: %s is not a network like 10.0.0.0/8 or fd00::/8", network))
		}
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		canonical := http.CanonicalHeaderKey(name)
		if err := checkHeader(name, canonical, c.Headers[name]); err != nil {
			mistakes = append(mistakes, err)
		} else if seen[canonical] {
			mistakes = append(mistakes, fmt.Errorf("headers: %s is there twice", canonical))
		}
		seen[canonical] = true
	}
	return errors.Join(mistakes...)
}

// reserved are the headers that are set here, or that say how the connection is used:
// a user's own would make a delivery that cannot be verified, or two requests of one.
var reserved = map[string]bool{
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true, "Expect": true,
	"Host": true, "Http2-Settings": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "User-Agent": true, "X-Webhook-Signature": true,
}

func checkHeader(name, canonical, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("headers: %q is not a header's name: letters, digits and hyphens", name)
	case reserved[canonical], strings.HasPrefix(canonical, "Webhook-"), strings.HasPrefix(canonical, "Proxy-"):
		return fmt.Errorf("headers: %s cannot be set: Spillway or the connection sets it; any other can, such as Authorization", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("headers: the value of %s holds a control character", name)
	}
	return nil
}

// parseURL takes a URL that deliveries may go to. An address in it is checked by
// guard at once; what a name leads to is checked when it is connected to.
func (c Config) parseURL() (*url.URL, *ssrf.Guardian, error) {
	parsed, err := url.Parse(c.URL)
	if err != nil {
		var cause *url.Error
		if errors.As(err, &cause) {
			err = cause.Err // the whole URL is in the outer one
		}
		return nil, nil, fmt.Errorf("url: %w: want https://HOST[:PORT]/PATH", err)
	}
	switch {
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Opaque != "", parsed.Hostname() == "":
		return nil, nil, errors.New("url: want https://HOST[:PORT]/PATH")
	case parsed.User != nil:
		return nil, nil, errors.New("url: a user or password in it is not allowed: set the header Authorization")
	case parsed.Fragment != "":
		return nil, nil, errors.New("url: a fragment (#…) is never sent: leave it out")
	case !validPort(parsed.Port()):
		return nil, nil, fmt.Errorf("url: port %s is not from 1 to 65535", parsed.Port())
	case parsed.Scheme == "http" && !c.AllowLoopback:
		return nil, nil, errors.New("url: http is not allowed: use https")
	case parsed.Scheme == "http" && !isLoopback(parsed.Hostname()):
		return nil, nil, errors.New("url: http is allowed to loopback alone (localhost, 127.0.0.1, [::1]): use https")
	}
	guard := c.guard(parsed.Scheme)
	if address, err := netip.ParseAddr(parsed.Hostname()); err == nil {
		if err := guard.SafeAddr(address.Unmap()); err != nil {
			return nil, nil, fmt.Errorf("url: %w: only public addresses and allowed networks are", err)
		}
	}
	parsed.Host = strings.TrimSuffix(parsed.Host, ":")
	return parsed, guard, nil
}

func validPort(port string) bool {
	if port == "" {
		return true
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}

func isLoopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || address != nil && address.IsLoopback()
}

// loopback4 and loopback6 are this machine's own addresses.
var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// guard says which addresses may be connected to: public ones, as the registries of
// IANA have them, and those allowed; over plain http loopback alone.
func (c Config) guard(scheme string) *ssrf.Guardian {
	if scheme == "http" {
		return ssrf.New(ssrf.WithAnyPort(),
			ssrf.WithAllowedV4Prefixes(loopback4), ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("0.0.0.0/0")),
			ssrf.WithAllowedV6Prefixes(loopback6), ssrf.WithDeniedV6Prefixes(netip.MustParsePrefix("::/0")))
	}
	var allowed4, allowed6 []netip.Prefix
	if c.AllowLoopback {
		allowed4, allowed6 = append(allowed4, loopback4), append(allowed6, loopback6)
	}
	for _, network := range c.AllowNets {
		if network.Addr().Is4() {
			allowed4 = append(allowed4, network)
		} else {
			allowed6 = append(allowed6, network)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(allowed4...), ssrf.WithAllowedV6Prefixes(allowed6...))
}
