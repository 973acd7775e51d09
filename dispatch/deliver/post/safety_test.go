package post

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// forbidden are addresses of all that is not public.
var forbidden = map[string][]string{
	"unspecified":              {"0.0.0.0", "0.1.2.3", "::"},
	"loopback":                 {"127.0.0.1", "127.1.2.3", "127.255.255.255", "::1"},
	"private":                  {"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"},
	"carrier-grade":            {"100.64.0.1", "100.127.255.255"},
	"link-local":               {"169.254.0.1", "169.254.255.255", "fe80::1", "febf::1"},
	"metadata of clouds":       {"169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"},
	"protocol assignments":     {"192.0.0.1", "192.0.0.170", "192.0.0.8", "2001::1", "2001:1::1", "2001:20::1"},
	"documentation":            {"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"},
	"benchmark":                {"198.18.0.1", "198.19.255.255", "2001:2::1"},
	"6to4 relay":               {"192.88.99.1"},
	"AS112, AMT":               {"192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"},
	"multicast":                {"224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"},
	"reserved, broadcast":      {"240.0.0.1", "255.255.255.255"},
	"IPv4-mapped":              {"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1"},
	"IPv4-compatible":          {"::127.0.0.1", "::7f00:1"},
	"NAT64":                    {"64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::a00:1"},
	"6to4":                     {"2002:7f00:1::", "2002:a00:1::1"},
	"Teredo":                   {"2001:0:7f00:1::1"},
	"unique local, site-local": {"fc00::1", "fd12:3456::1", "fec0::1"},
	"discard, segment routing": {"100::1", "5f00::1"},
	"not assigned":             {"4000::1", "8000::1"},
}

// TestForbiddenAddresses: one in the URL is refused by New, one that a name leads to
// when it is connected to.
func TestForbiddenAddresses(t *testing.T) {
	for kind, addresses := range forbidden {
		for _, address := range addresses {
			cfg := Config{URL: "https://" + net.JoinHostPort(address, "443") + "/", Secrets: []string{secretOf("a")}}
			if !strings.Contains(address, ":") {
				cfg.URL = "https://" + address + "/"
			}
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "is not a permitted destination") ||
				!strings.Contains(err.Error(), "only public addresses and allowed networks are") {
				t.Errorf("%s: %s: New says %v", kind, address, err)
			}
			lookup := startNames(t, []string{address})
			s := senderFor(t, "https://example.com/", func(c *Config) { c.AllowNets = nil })
			s.dialer.Resolver = lookup.resolver()
			tried := watch(s)
			result := s.Send(context.Background(), testID, []byte(testBody))
			if result.Outcome != Retry || !strings.HasPrefix(result.Reason, "address not allowed") {
				t.Errorf("%s: %s by name: %+v", kind, address, result)
			}
			if len(tried.let) > 0 {
				t.Errorf("%s: connected to %v", kind, tried.let)
			}
		}
	}
}

// TestNotations: other ways to write an address lead nowhere else. None is an
// address to Go, so they are looked up as names; some systems would take them.
func TestNotations(t *testing.T) {
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "127.0.0.1.", "LOCALHOST", "localhost.", "[::1%25lo]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]"} {
		s, err := New(Config{URL: "https://" + host + "/", Secrets: []string{secretOf("a")}})
		if err != nil {
			continue
		}
		lookup := startNames(t, []string{"127.0.0.1"})
		s.dialer.Resolver = lookup.resolver()
		tried := watch(s)
		if result := s.Send(context.Background(), testID, []byte(testBody)); result.Outcome != Retry || len(tried.let) > 0 {
			t.Errorf("%s: %+v, connected to %v", host, result, tried.let)
		}
		s.Close()
	}
}

// TestRebinding: a name that leads to a public address first, and then here.
func TestRebinding(t *testing.T) {
	var asked int
	e := newEndpoint(t, false, func(http.ResponseWriter, *http.Request) { asked++ })
	_, port, _ := net.SplitHostPort(e.Listener.Addr().String())
	for _, answers := range [][][]string{
		{{"93.184.216.34"}, {"127.0.0.1"}},
		{{"93.184.216.34"}, {"127.0.0.1", "93.184.216.34"}},
		{{"93.184.216.34"}, {"::1", "::ffff:127.0.0.1"}},
	} {
		lookup := startNames(t, answers...)
		s := senderFor(t, "https://example.com:"+port, func(c *Config) { c.AllowNets = nil })
		trusts(s, e.Certificate())
		s.dialer.Resolver = lookup.resolver()
		tried := watch(s)
		s.Send(context.Background(), testID, []byte(testBody))
		if len(tried.let) != 1 || !strings.HasPrefix(tried.let[0], "93.184.216.34:") {
			t.Errorf("first: let through %v", tried.let)
		}
		lookup.next()
		result := s.Send(context.Background(), testID, []byte(testBody))
		for _, address := range tried.let {
			if !strings.HasPrefix(address, "93.184.216.34:") {
				t.Errorf("then: let through %s", address)
			}
		}
		if result.Outcome != Retry || len(tried.refused) == 0 {
			t.Errorf("then: %+v, refused %v", result, tried.refused)
		}
	}
	if asked > 0 || e.connections.Load() > 0 {
		t.Errorf("%d requests over %d connections came to loopback", asked, e.connections.Load())
	}
}

// TestAllowedNetworkByName shows that what TestRebinding refuses would get through.
func TestAllowedNetworkByName(t *testing.T) {
	e := newEndpoint(t, false, func(_ http.ResponseWriter, r *http.Request) { discard(r) })
	_, port, _ := net.SplitHostPort(e.Listener.Addr().String())
	lookup := startNames(t, []string{"127.0.0.1"})
	for host, want := range map[string]Result{
		"example.com": {Outcome: Delivered, Code: 200},
		"other.test":  {Outcome: Retry, Reason: "TLS: the certificate is for another name"},
	} {
		s := senderFor(t, "https://"+host+":"+port, nil)
		trusts(s, e.Certificate())
		s.dialer.Resolver = lookup.resolver()
		result := s.Send(context.Background(), testID, []byte(testBody))
		result.Took = 0
		if result != want {
			t.Errorf("%s: %+v, want %+v", host, result, want)
		}
	}
}

// TestHTTPGoesToLoopbackAlone: "localhost" may lead anywhere.
func TestHTTPGoesToLoopbackAlone(t *testing.T) {
	for _, address := range []string{"93.184.216.34", "10.0.0.1", "0.0.0.0", "2606:2800:220:1::1"} {
		cfg := Config{URL: "http://localhost/", Secrets: []string{secretOf("a")}, AllowLoopback: true, AllowNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		_, guard, err := cfg.parseURL()
		if err != nil {
			t.Fatal(err)
		}
		if guard.SafeAddr(netip.MustParseAddr(address)) == nil {
			t.Errorf("%s would be connected to", address)
		}
		if guard.SafeAddr(netip.MustParseAddr("127.0.0.1")) != nil || guard.SafeAddr(netip.MustParseAddr("::1")) != nil {
			t.Error("loopback would be refused")
		}
	}
}

func TestTLSIsVerified(t *testing.T) {
	e := newEndpoint(t, true, func(http.ResponseWriter, *http.Request) { t.Error("a request came") })
	s := senderFor(t, e.URL, nil) // which does not trust it
	if result := s.Send(context.Background(), testID, []byte(testBody)); result.Outcome != Retry || result.Reason != "TLS: the certificate is of an unknown authority" {
		t.Errorf("%+v", result)
	}
	plain, _ := rawEndpoint(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	})
	s = senderFor(t, strings.Replace(plain, "http:", "https:", 1), nil)
	if result := s.Send(context.Background(), testID, []byte(testBody)); result.Outcome != Retry || result.Reason != "TLS: the endpoint does not speak it" {
		t.Errorf("%+v", result)
	}
}

func TestNoProxy(t *testing.T) {
	proxy, connections := rawEndpoint(t, func(*net.TCPConn) {})
	t.Setenv("HTTPS_PROXY", proxy)
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("ALL_PROXY", proxy)
	s := senderFor(t, "https://example.com/", func(c *Config) { c.AllowNets = nil })
	if s.transport.Proxy != nil {
		t.Error("a proxy may be used")
	}
	s.dialer.Resolver = startNames(t, []string{"10.0.0.1"}).resolver()
	s.Send(context.Background(), testID, []byte(testBody))
	if connections.Load() > 0 {
		t.Error("the proxy was connected to")
	}
}

// watched are the addresses that a sender was about to connect to.
type watched struct {
	mu           sync.Mutex
	let, refused []string
}

var errNoNetwork = errors.New("tests connect to loopback alone")

// watch notes what the sender's check lets through, and stops it after that: the
// tests connect to nothing public.
func watch(s *Sender) *watched {
	w, check := &watched{}, s.dialer.Control
	s.dialer.Control = func(network, address string, raw syscall.RawConn) error {
		err := check(network, address, raw)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.refused = append(w.refused, address)
			return err
		}
		w.let = append(w.let, address)
		return errNoNetwork
	}
	return w
}

// names is a DNS server on loopback that gives any name the same addresses, and
// others after next.
type names struct {
	packets net.PacketConn
	mu      sync.Mutex
	answers [][]string
}

func startNames(t *testing.T, answers ...[]string) *names {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{packets: packets, answers: answers}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.serve()
	}()
	t.Cleanup(func() { packets.Close(); <-done })
	return n
}

func (n *names) next() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers = n.answers[1:]
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "udp4", n.packets.LocalAddr().String())
	}}
}

func (n *names) serve() {
	packet := make([]byte, 1500)
	for {
		size, from, err := n.packets.ReadFrom(packet)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(packet[:size]) != nil || len(question.Questions) != 1 {
			continue
		}
		n.mu.Lock()
		addresses := n.answers[0]
		n.mu.Unlock()
		if answer, err := reply(question, addresses); err == nil {
			_, _ = n.packets.WriteTo(answer, from)
		}
	}
}

func reply(question dnsmessage.Message, addresses []string) ([]byte, error) {
	asked := question.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: question.Questions,
	}
	header := dnsmessage.ResourceHeader{Name: asked.Name, Class: asked.Class, TTL: 0}
	for _, text := range addresses {
		address := netip.MustParseAddr(text)
		switch {
		case address.Is4() && asked.Type == dnsmessage.TypeA:
			answer.Answers = append(answer.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address.As4()}})
		case address.Is6() && asked.Type == dnsmessage.TypeAAAA:
			answer.Answers = append(answer.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}})
		}
	}
	return answer.Pack()
}
