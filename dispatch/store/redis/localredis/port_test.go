package localredis

import (
	"errors"
	"net"
	"testing"
)

func TestReservationHoldsThePort(t *testing.T) {
	t.Parallel()
	r, err := reserve(true)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := net.ListenPacket("udp4", address(r.port)); err == nil {
		other.Close()
		t.Error("a port was reserved twice")
	}
	r.release()
	// A process that another test is about to start has the socket for a moment.
	err = await(testContext(t), "a port given back", func() error {
		other, err := net.ListenPacket("udp4", address(r.port))
		if err != nil {
			return err
		}
		return other.Close()
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPortTaken takes a server's port while it is killed.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{})
	s.Kill()
	taker, err := net.Listen("tcp4", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(testContext(t)); !errors.Is(err, errPortTaken) {
		t.Errorf("the port is another's: %v", err)
	}
	taker.Close()
	if err := s.Restart(testContext(t)); err != nil {
		t.Errorf("the port is free again: %v", err)
	}
}
