package campaign

import (
	"container/heap"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"spillway/ingest"
)

const (
	// answerTimeout is how long an answer is waited for. Meta does not say how long
	// it waits; others have seen 3 to 10 s.
	answerTimeout = 10 * time.Second
	// sameAnswers from the start are taken for a mistake in the call.
	sameAnswers = 20
)

// post is one time that a webhook is posted.
type post struct {
	webhook *webhook
	due     time.Duration
	// attempt counts the posts before it that were not acked.
	attempt int
	// redelivery is of a webhook that was acked.
	redelivery bool
	// worker is the one that posted it last: it comes over another connection now.
	worker int
}

// outcome is what came of a post. Status is 0 where there was no answer.
type outcome struct {
	post
	status int
	err    error
}

// sender posts the webhooks of a plan, each at its time, and again what was not
// acked. One loop owns all that is to be sent; workers have a connection each.
type sender struct {
	cfg    *Config
	run    uint64
	target *url.URL
	secret string
	clock  clock
	plan   *plan
	until  time.Duration
	ledger *ledger
	meter  *meter

	posts    chan post
	outcomes chan outcome
	group    sync.WaitGroup
	workers  int

	// The rest belongs to the loop.
	planned  *webhook
	resend   postHeap
	inFlight int
	// same is how many answers from the start were like the first, which was first.
	same  int
	first outcome
}

// clock tells the time since the campaign began.
type clock struct{ began time.Time }

func (c clock) now() time.Duration { return time.Since(c.began) }

// send posts until all is acked or given up, or ctx ends.
func (s *sender) send(ctx context.Context) error {
	s.posts = make(chan post)
	s.outcomes = make(chan outcome, s.cfg.Connections) // a worker never waits for the loop
	s.planned = s.plan.take()
	err := s.loop(ctx)
	close(s.posts)
	s.group.Wait()
	return err
}

func (s *sender) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p, more := s.next()
		if !more && s.inFlight == 0 {
			return nil
		}
		wait := p.due - s.clock.now()
		switch {
		case !more:
			wait = time.Hour
		case wait <= 0:
			if err := s.hand(ctx, p); err != nil {
				return err
			}
			continue
		}
		timer.Reset(wait)
		select {
		case o := <-s.outcomes:
			if err := s.settle(o); err != nil {
				return err
			}
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next is what is due first.
func (s *sender) next() (post, bool) {
	if len(s.resend) > 0 && (s.planned == nil || s.resend[0].due <= s.planned.due) {
		return s.resend[0], true
	}
	if s.planned == nil {
		return post{}, false
	}
	return post{webhook: s.planned, due: s.planned.due}, true
}

// taken takes what next gave off the list.
func (s *sender) taken(p post) {
	if p.attempt > 0 || p.redelivery {
		heap.Pop(&s.resend)
	} else {
		s.planned = s.plan.take()
	}
	s.inFlight++
}

// hand gives a post to a worker, to one more where all are busy.
func (s *sender) hand(ctx context.Context, p post) error {
	select {
	case s.posts <- p:
		s.taken(p)
		return nil
	default:
	}
	if s.workers < s.cfg.Connections {
		s.workers++
		number := s.workers
		s.group.Go(func() { s.work(number) })
	}
	for {
		select {
		case s.posts <- p:
			s.taken(p)
			return nil
		case o := <-s.outcomes:
			if err := s.settle(o); err != nil {
				return err
			}
			// What is due first may be another by now.
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle plans what follows from an outcome.
func (s *sender) settle(o outcome) error {
	s.inFlight--
	if err := s.mistaken(o); err != nil {
		return err
	}
	now := s.clock.now()
	switch acked := o.status == http.StatusOK; {
	case o.redelivery:
	case acked:
		if after, again := s.cfg.redelivery(o.webhook.number); again {
			heap.Push(&s.resend, post{webhook: o.webhook, due: now + after, redelivery: true, worker: o.worker})
			s.meter.redelivering()
		}
	default:
		due := now + s.cfg.retryDelay(o.webhook.number, o.attempt)
		if due <= s.until+s.cfg.RetryFor {
			heap.Push(&s.resend, post{webhook: o.webhook, due: due, attempt: o.attempt + 1, worker: o.worker})
			s.meter.retrying()
		}
	}
	return nil
}

// mistaken is an error where the first posts all show that the call is wrong.
func (s *sender) mistaken(o outcome) error {
	if s.same < 0 {
		return nil
	}
	if s.same == 0 {
		s.first = o
	}
	hints := map[int]string{
		0:                           "is the receiver running at " + s.target.Host + "?",
		http.StatusUnauthorized:     "does it take Meta's webhooks?",
		http.StatusForbidden:        "is it the app secret of the receiver?",
		http.StatusNotFound:         "is it the URL of the webhooks?",
		http.StatusMethodNotAllowed: "is it the URL of the webhooks?",
	}
	hint, wrong := hints[o.status]
	if !wrong || o.status != s.first.status {
		s.same = -1
		return nil
	}
	if s.same++; s.same < sameAnswers {
		return nil
	}
	if o.status == 0 {
		return fmt.Errorf("the first %d webhooks got no answer: %w: %s", s.same, o.err, hint)
	}
	return fmt.Errorf("the first %d webhooks were answered %d: %s", s.same, o.status, hint)
}

// work posts over one connection.
func (s *sender) work(number int) {
	client := s.client()
	defer client.CloseIdleConnections()
	w := &writer{cfg: s.cfg, run: s.run, began: s.clock.began}
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(http.MethodPost)
	request.Header.SetContentType("application/json")
	request.SetRequestURI(s.target.String())
	for p := range s.posts {
		if p.worker == number {
			client.CloseIdleConnections()
		}
		p.worker = number
		body := w.write(p.webhook)
		request.SetBodyRaw(body)
		request.Header.Set("X-Hub-Signature-256", ingest.Sign(s.secret, body))
		s.outcomes <- s.post(client, request, response, p)
	}
}

func (s *sender) post(client *fasthttp.HostClient, request *fasthttp.Request, response *fasthttp.Response, p post) outcome {
	now := s.clock.now()
	s.ledger.posting(p.webhook, now)
	s.meter.posting(now - p.due)
	o := outcome{post: p}
	if o.err = client.Do(request, response); o.err == nil {
		o.status = response.StatusCode()
	}
	now = s.clock.now()
	if o.status == http.StatusOK {
		s.ledger.ack(p.webhook, now)
	}
	s.meter.answered(o.status, now-p.due, o.status == http.StatusOK && !p.redelivery)
	return o
}

// client has one connection, and tries once more where that was closed while it
// was idle.
func (s *sender) client() *fasthttp.HostClient {
	secure := s.target.Scheme == "https"
	address := s.target.Host
	if s.target.Port() == "" {
		port := "80"
		if secure {
			port = "443"
		}
		address = net.JoinHostPort(s.target.Hostname(), port)
	}
	return &fasthttp.HostClient{
		Addr: address, Name: "spillway-bench", IsTLS: secure,
		TLSConfig: &tls.Config{ServerName: s.target.Hostname(), MinVersion: tls.VersionTLS12},
		MaxConns:  1, ReadTimeout: answerTimeout, WriteTimeout: answerTimeout,
		MaxIdleConnDuration: time.Minute, MaxResponseBodySize: 1 << 20,
		MaxIdemponentCallAttempts: 2,
		RetryIfErr: func(_ *fasthttp.Request, _ int, err error) (bool, bool) {
			return false, errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
		},
	}
}

// postHeap has the post that is due first at the top.
type postHeap []post

func (h postHeap) Len() int           { return len(h) }
func (h postHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h postHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *postHeap) Push(x any)        { *h = append(*h, x.(post)) }
func (h *postHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
