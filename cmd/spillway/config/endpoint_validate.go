package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"
	"golang.org/x/net/http/httpguts"
)

// The most there may be: each endpoint reads all events by itself, and each secret is
// one more signature a try.
const (
	maxEndpoints       = 100
	maxEndpointSecrets = 5
)

var (
	// The name is a part of keys in the store.
	endpointName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	metaID       = regexp.MustCompile(`^[0-9]{1,64}$`)
)

func (l *loader) checkEndpoints() {
	names := map[string]int{}
	for i, e := range l.config.Endpoints {
		path := fmt.Sprintf("endpoints[%d]", i)
		if !endpointName.MatchString(e.Name) {
			l.reject(path+".name", strconv.Quote(e.Name)+" is not a name", "1 to 64 letters, digits, dashes and underscores")
		} else if first, doubled := names[e.Name]; doubled {
			l.reject(path+".name", fmt.Sprintf("is the name of endpoints[%d] too", first), "a name of its own")
		} else {
			names[e.Name] = i
		}
		l.checkEndpointURL(path+".url", e)
		l.checkEndpointSecrets(path+".secrets", e.Secrets)
		l.checkEndpointFilter(path, e)
		l.checkHeaders(path+".headers", e.Headers)
		if e.Order != OrderContact && e.Order != OrderNone {
			l.reject(path+".order", strconv.Quote(e.Order)+" is not an order",
				OrderContact+": one that fails holds back its contact's; or "+OrderNone)
		}
		l.checkNets(path+".allow_nets", e.AllowNets)
	}
	if n := len(l.config.Endpoints); n > maxEndpoints {
		l.add("endpoints", l.origin("endpoints"), fmt.Sprintf("are %d", n), fmt.Sprintf("%d at most", maxEndpoints))
	}
}

// checkEndpointURL does not show it: such a URL is often a secret by itself.
func (l *loader) checkEndpointURL(key string, e Endpoint) {
	const allowed = "an https URL such as https://example.com/hook; with --dev also http to 127.0.0.1, [::1] or localhost"
	u, err := url.Parse(e.URL)
	switch {
	case e.URL == "":
		l.reject(key, "is missing", allowed)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !isPort(u) || strings.TrimSpace(e.URL) != e.URL:
		l.reject(key, "is not an absolute URL", allowed)
	case u.User != nil:
		l.reject(key, "has a user or a password in it", "an https URL without; credentials go to headers")
	case strings.Contains(e.URL, "#"):
		l.reject(key, "has a fragment, which is never sent", "an https URL without #")
	case l.partial: // a program that delivers nothing does not know whether serve has --dev
	case u.Scheme == "http" && !(l.config.Dev && isLoopback(u.Hostname())):
		l.reject(key, "is not https", allowed)
	case !l.isOpen(u.Hostname(), e.AllowNets):
		l.reject(key, "is an address that is neither public nor in a network of allow_nets", "a public address, or one that allow_nets has")
	}
}

// isOpen reports whether an address may be delivered to. Where a name leads to is seen
// when it is connected to.
func (l *loader) isOpen(host string, nets []string) bool {
	address, err := netip.ParseAddr(host)
	if err != nil || l.config.Dev && address.Unmap().IsLoopback() {
		return true
	}
	for _, text := range nets {
		if net, err := netip.ParsePrefix(text); err == nil && net.Contains(address.Unmap()) {
			return true
		}
	}
	return ssrf.New(ssrf.WithAnyPort()).SafeAddr(address.Unmap()) == nil
}

// isPort reports whether the URL's port is one, or left out.
func isPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

func (l *loader) checkEndpointSecrets(key string, secrets []string) {
	const allowed = "whsec_ and base64 of 24 to 64 random bytes, as of `echo whsec_$(openssl rand -base64 32)`"
	if len(secrets) == 0 && !l.partial {
		l.reject(key, "is missing", "the current secret and, during a rotation, the previous one: "+allowed)
	}
	for i, secret := range secrets {
		if !isSigningSecret(secret) {
			l.reject(fmt.Sprintf("%s[%d]", key, i), "is not a secret to sign webhooks with", allowed)
		}
	}
	if n := len(secrets); n > maxEndpointSecrets {
		l.add(key, l.origin(key), fmt.Sprintf("are %d", n), fmt.Sprintf("%d at most, the current one first", maxEndpointSecrets))
	}
}

// isSigningSecret reports whether the libraries of Standard Webhooks take the secret:
// they want the padding.
func isSigningSecret(text string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(text, "whsec_"))
	return err == nil && len(key) >= 24 && len(key) <= 64 && !strings.ContainsAny(text, "\r\n")
}

func (l *loader) checkEndpointFilter(path string, e Endpoint) {
	for i, pattern := range e.Events {
		if !isEventPattern(pattern) {
			l.reject(fmt.Sprintf("%s.events[%d]", path, i), strconv.Quote(pattern)+" is not a type of event",
				strings.Join(eventPatterns, ", ")+", webhook:FIELD")
		}
	}
	for _, list := range []struct {
		key string
		ids []string
	}{{"phone_number_ids", e.PhoneNumberIDs}, {"waba_ids", e.WABAIDs}} {
		for i, id := range list.ids {
			if !metaID.MatchString(id) {
				l.reject(fmt.Sprintf("%s.%s[%d]", path, list.key, i), strconv.Quote(id)+" is not an id", "an id of Meta's: digits")
			}
		}
	}
}

// eventPatterns are those that a webhook's own fields do not add to.
var eventPatterns = []string{
	"message:new", "message:status", "contact:new", "contact:updated", "message:*", "contact:*", "webhook:*", "*",
}

// isEventPattern reports whether an event may match.
func isEventPattern(pattern string) bool {
	field, webhook := strings.CutPrefix(pattern, "webhook:")
	return slices.Contains(eventPatterns, pattern) || webhook && field != "" && !strings.HasSuffix(field, "*")
}

// reservedHeaders are what we set, and what belongs to a connection.
var reservedHeaders = []string{
	"host", "content-length", "content-type", "content-encoding", "user-agent", "x-webhook-signature", "expect",
	"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
}

// isReserved reports whether a header is not for a user to set.
func isReserved(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(reservedHeaders, name) || strings.HasPrefix(name, "webhook-") || strings.HasPrefix(name, "proxy-")
}

// headersAllowed says which names a header may have.
const headersAllowed = "names of letters, digits and dashes, with a text each, such as {X-Api-Key: text}"

// checkHeaders shows no value, and no name that is none: it may be a header as a whole.
func (l *loader) checkHeaders(key string, headers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, item := headers[name], key+"."+name
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			l.reject(key, "has a name that no header may have", headersAllowed)
		case isReserved(name):
			l.reject(item, "is set by Spillway or belongs to the connection", "other headers")
		case value == "":
			l.reject(item, "is empty", "the value of the header")
		case !httpguts.ValidHeaderFieldValue(value) || strings.TrimSpace(value) != value:
			l.reject(item, "is not a value that a header may have", "one line without control characters, and no space at its ends")
		}
	}
}

// minNetBits keeps a network from being most of the Internet, by a slip.
const minNetBits = 7

func (l *loader) checkNets(key string, nets []string) {
	for i, text := range nets {
		net, err := netip.ParsePrefix(text)
		if err != nil || net != net.Masked() || net.Addr().Is4In6() || net.Bits() < minNetBits {
			l.reject(fmt.Sprintf("%s[%d]", key, i), strconv.Quote(text)+" is not a network to allow",
				"a network such as 10.0.0.0/8 or fc00::/7, none larger, or an address such as 10.0.0.5/32")
		}
	}
}
