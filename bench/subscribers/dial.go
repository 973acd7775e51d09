package subscribers

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// dialTimeout bounds opening one socket.
	dialTimeout = 30 * time.Second
	// mostHead bounds the head of the answer to an upgrade, in bytes.
	mostHead = 8 << 10
	// stuckBuffer is the receive buffer of a socket that is never read, in bytes:
	// small, so that the server soon sees that it is not.
	stuckBuffer = 4 << 10

	acceptKey = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// dial opens a WebSocket. early is what came right after the answer.
func (o *Options) dial(ctx context.Context, stuck bool) (conn *net.TCPConn, early []byte, err error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	if stuck {
		dialer.Control = shrinkReceiveBuffer
	}
	made, err := dialer.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	conn = made.(*net.TCPConn)
	if err = conn.SetDeadline(time.Now().Add(dialTimeout)); err == nil {
		early, err = o.upgrade(conn)
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, early, nil
}

func shrinkReceiveBuffer(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, stuckBuffer)
	}), err)
}

// upgrade asks for a WebSocket, and sends the first message.
func (o *Options) upgrade(conn net.Conn) (early []byte, err error) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	request := "GET " + o.Path + " HTTP/1.1\r\nHost: " + o.Address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	for name, values := range o.Header {
		for _, value := range values {
			request += name + ": " + value + "\r\n"
		}
	}
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		return nil, fmt.Errorf("ask for upgrade: %w", err)
	}
	head, early, err := readHead(conn)
	if err != nil {
		return nil, fmt.Errorf("read answer to upgrade: %w", err)
	}
	if err := checkHead(head, key); err != nil {
		return nil, err
	}
	if o.First != nil {
		if _, err := conn.Write(appendMasked(nil, opText, o.First)); err != nil {
			return nil, fmt.Errorf("send first message: %w", err)
		}
	}
	return early, nil
}

// readHead reads up to the empty line; rest is what came after it.
func readHead(conn net.Conn) (head, rest []byte, err error) {
	buffer := make([]byte, 0, 1<<10)
	for {
		if head, rest, found := bytes.Cut(buffer, []byte("\r\n\r\n")); found {
			return head, rest, nil
		}
		if len(buffer) >= mostHead {
			return nil, nil, fmt.Errorf("it is longer than %d bytes", mostHead)
		}
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)]
		}
		n, err := conn.Read(buffer[len(buffer):cap(buffer)])
		if err != nil {
			return nil, nil, err
		}
		buffer = buffer[:len(buffer)+n]
	}
}

func checkHead(head []byte, key string) error {
	status, fields, _ := strings.Cut(string(head), "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.1 101") {
		return fmt.Errorf("upgrade refused: %s", status)
	}
	sum := sha1.Sum([]byte(key + acceptKey))
	want := base64.StdEncoding.EncodeToString(sum[:])
	for line := range strings.SplitSeq(fields, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if textproto.CanonicalMIMEHeaderKey(name) == http.CanonicalHeaderKey("Sec-WebSocket-Accept") && strings.TrimSpace(value) == want {
			return nil
		}
	}
	return errors.New("upgrade refused: no proper Sec-WebSocket-Accept")
}

// detach takes the descriptor of a connection out of the hands of Go's poller:
// what is read by another loop must not wake this one as well.
func detach(conn *net.TCPConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, errors.Join(err, conn.Close())
	}
	fd := -1
	var failed error
	err = raw.Control(func(from uintptr) {
		fd, failed = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(err, failed, conn.Close()); err != nil {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
		return 0, fmt.Errorf("take descriptor: %w", err)
	}
	return fd, nil
}
