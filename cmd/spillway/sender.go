package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"spillway/ingest"
)

const (
	webhookPath = "/api/webhook"
	// clientTimeout bounds one request of a client command, answer included.
	clientTimeout = 30 * time.Second
	// shownBody is how much of an answer is printed, readBody how much is read.
	shownBody, readBody = 200, 64 << 10
)

// sender plays Meta to one callback URL.
type sender struct {
	client *http.Client
	target *url.URL
	out    io.Writer
	// sent and refused count the bodies; lastStatus is that of the last refused.
	sent, refused, lastStatus int
}

func newSender(target *url.URL, out io.Writer) *sender {
	return &sender{
		client: &http.Client{
			Timeout: clientTimeout,
			// A webhook is answered where it was sent to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		target: target,
		out:    out,
	}
}

// sendLine is what is printed for one request; status 0 means no answer.
type sendLine struct {
	File    string  `json:"file,omitempty"`
	Verify  string  `json:"verify,omitempty"`
	Status  int     `json:"status"`
	Seconds float64 `json:"seconds"`
	Body    string  `json:"body"`
	Echo    *bool   `json:"echo,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// verify asks as Meta does when a callback URL is set, and expects its
// challenge back, byte by byte.
func (s *sender) verify(ctx context.Context, token string) error {
	challenge := rand.Text()
	u := *s.target
	u.RawQuery = url.Values{
		"hub.mode": {"subscribe"}, "hub.verify_token": {token}, "hub.challenge": {challenge},
	}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("verify callback: %w", withoutURL(err))
	}
	line := s.do(request)
	echo := line.Status == http.StatusOK && line.Body == challenge
	line.Verify, line.Echo = s.target.String(), &echo
	if err := printJSON(s.out, line); err != nil {
		return err
	}
	switch {
	case line.Error != "":
		return fmt.Errorf("verify callback: %s", line.Error)
	case line.Status == http.StatusForbidden:
		return fmt.Errorf("verify callback: answered 403: the verify token is not the receiver's")
	case !echo:
		return fmt.Errorf("verify callback: answered %d without the echo of the challenge", line.Status)
	}
	return nil
}

// post sends one body and prints what came back. Only the end of ctx and a
// failed print are errors: a bad answer is counted.
func (s *sender) post(ctx context.Context, name string, body []byte, secret string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post webhook: %w", withoutURL(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Hub-Signature-256", ingest.Sign(secret, body))
	line := s.do(request)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("post webhook: %w", err)
	}
	line.File = name
	s.sent++
	if line.Status != http.StatusOK {
		s.refused++
		s.lastStatus = line.Status
	}
	return printJSON(s.out, line)
}

func (s *sender) do(request *http.Request) sendLine {
	start := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return sendLine{Seconds: time.Since(start).Seconds(), Error: withoutURL(err).Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, readBody))
	line := sendLine{
		Status:  response.StatusCode,
		Seconds: time.Since(start).Seconds(),
		Body:    string(body[:min(len(body), shownBody)]),
	}
	if err != nil {
		line.Error = withoutURL(err).Error()
	}
	line.Body = strings.ToValidUTF8(line.Body, "")
	return line
}

// verdict is an error where not all was taken.
func (s *sender) verdict() error {
	if s.refused == 0 {
		return nil
	}
	hint := ""
	switch s.lastStatus {
	case 0:
		hint = ": is the receiver running at " + s.target.Host + "?"
	case http.StatusForbidden:
		hint = ": is it the app secret of the receiver?"
	}
	return fmt.Errorf("%d of %d webhooks were not answered with 200%s", s.refused, s.sent, hint)
}
