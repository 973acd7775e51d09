package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// answerTimeout bounds the wait for an answer, so that a receiver that hangs
// fails the run.
const answerTimeout = 30 * time.Second

// connection is one keep-alive connection. It reads just enough of HTTP to know
// an answer's status and where it ends: the generator shares its processors
// with what it measures.
type connection struct {
	conn   net.Conn
	reader *bufio.Reader
}

// dial connects; the connection's reads and writes fail after the deadline.
func dial(address string, deadline time.Time) (*connection, error) {
	conn, err := net.DialTimeout("tcp", address, answerTimeout)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(fmt.Errorf("set deadline: %w", err), conn.Close())
	}
	return &connection{conn: conn, reader: bufio.NewReaderSize(conn, 1<<10)}, nil
}

func (c *connection) close() { _ = c.conn.Close() }

// answer is what a webhook got. Again is false where the connection ends.
type answer struct {
	status     int
	retryAfter bool
	again      bool
}

// post sends a request and waits for the answer.
func (c *connection) post(request []byte) (answer, error) {
	if _, err := c.conn.Write(request); err != nil {
		return answer{}, fmt.Errorf("send webhook: %w", err)
	}
	a, err := c.read()
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

func (c *connection) read() (answer, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return answer{}, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return answer{}, errors.New("not HTTP/1.1")
	}
	a := answer{again: true}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return answer{}, errors.New("no status")
	}
	length := 0
	for {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			return answer{}, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(": ")); string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return answer{}, errors.New("no content length")
			}
		case "Transfer-Encoding":
			return answer{}, errors.New("an answer in chunks")
		case "Connection":
			a.again = string(value) != "close"
		case "Retry-After":
			a.retryAfter = true
		}
	}
	_, err = c.reader.Discard(length)
	return a, err
}
