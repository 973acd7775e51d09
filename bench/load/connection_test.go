package load

import (
	"bufio"
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       answer
		rest       string // what is left for the next answer
		wrong      bool
	}{
		{name: "ok", text: "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\nnext", want: answer{200, false, true}, rest: "next"},
		{name: "no length", text: "HTTP/1.1 200 OK\r\n\r\nnext", want: answer{200, false, true}, rest: "next"},
		{name: "no reason", text: "HTTP/1.1 200\r\n\r\n", want: answer{200, false, true}},
		{name: "with a body", text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellonext", want: answer{200, false, true}, rest: "next"},
		{name: "refused", text: "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n", want: answer{503, true, true}},
		{name: "refused without a time", text: "HTTP/1.1 503 Service Unavailable\r\n\r\n", want: answer{503, false, true}},
		{name: "closing", text: "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", want: answer{408, false, false}},
		{name: "kept", text: "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", want: answer{200, false, true}},
		{name: "line feeds", text: "HTTP/1.1 200 OK\nContent-Length: 2\n\nxynext", want: answer{200, false, true}, rest: "next"},
		{name: "nothing", text: "", wrong: true},
		{name: "half a line", text: "HTTP/1.1 20", wrong: true},
		{name: "half a header", text: "HTTP/1.1 200 OK\r\nContent-Le", wrong: true},
		{name: "half a body", text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", wrong: true},
		{name: "another version", text: "HTTP/1.0 200 OK\r\n\r\n", wrong: true},
		{name: "another protocol", text: "220 mail.example.test ready\r\n", wrong: true},
		{name: "no status", text: "HTTP/1.1 two hundred\r\n\r\n", wrong: true},
		{name: "a length that is none", text: "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", wrong: true},
		{name: "a negative length", text: "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", wrong: true},
		{name: "chunks", text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", wrong: true},
		{name: "an endless line", text: "HTTP/1.1 200 " + strings.Repeat("x", 2<<10) + "\r\n\r\n", wrong: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := &connection{reader: bufio.NewReaderSize(strings.NewReader(c.text), 1<<10)}
			got, err := conn.read()
			if (err != nil) != c.wrong {
				t.Fatalf("error %v, want one: %t", err, c.wrong)
			}
			if err != nil {
				return
			}
			rest, _ := conn.reader.Peek(conn.reader.Buffered())
			if got != c.want || string(rest) != c.rest {
				t.Errorf("%+v with %q left, want %+v with %q", got, rest, c.want, c.rest)
			}
		})
	}
}
