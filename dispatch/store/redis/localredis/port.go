package localredis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	host = "127.0.0.1"
	// Ports are taken from firstPort to firstPort+portCount-1. Those, and the
	// Cluster's bus ports busOffset above them, lie below what systems hand out to
	// outgoing connections: such a port would not be free for a restart, and a
	// client that dials a dead server there can connect to itself.
	firstPort = 10_000
	portCount = 10_000
	busOffset = 10_000
	// portTries bounds the search; all but a few ports are free on most machines.
	portTries = 200
)

var errNoPort = errors.New("find a port: none is free")

// reservation holds a port for as long as the server exists, also while it is
// killed, against other servers of this package in any process: it is the UDP
// socket of the same number, which Redis has no use for.
type reservation struct {
	port int
	held net.PacketConn
}

// reserve finds a port nobody listens on; with bus, one whose bus port is free too.
func reserve(bus bool) (*reservation, error) {
	for range portTries {
		port := firstPort + rand.IntN(portCount)
		held, err := net.ListenPacket("udp4", address(port))
		if err != nil {
			continue
		}
		if unused(port) && (!bus || unused(port+busOffset)) {
			return &reservation{port: port, held: held}, nil
		}
		_ = held.Close()
	}
	return nil, errNoPort
}

func (r *reservation) release() {
	_ = r.held.Close()
}

func unused(port int) bool {
	listener, err := net.Listen("tcp4", address(port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

func address(port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// splitAddress returns host and port of an address.
func splitAddress(addr string) (string, string, error) {
	from, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("read address %q: %w", addr, err)
	}
	return from, port, nil
}
