package campaign

import (
	"container/heap"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"spillway/ingest"
)

const (
	// answerTimeout is how long an answer is waited for. Meta does not say how long
	// it waits; others have seen 3 to 10 s.
	answerTimeout = 10 * time.Second
	// maxIdle is below the 5 s after which some servers close a connection.
	maxIdle = 3 * time.Second
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
	// at is when it came.
	at time.Duration
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

	// restarts counts those of the receiver: connections of before are dead.
	restarts atomic.Int64

	posts    chan post
	outcomes chan outcome
	group    sync.WaitGroup
	workers  int

	// The rest belongs to the loop.
	planned  *webhook
	resend   postHeap
	inFlight int
	// ended is when the last webhook was first posted.
	ended time.Duration
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
	s.outcomes = make(chan outcome, s.cfg.Connections)
	s.planned = s.plan.take()
	err := s.loop(ctx)
	close(s.posts)
	go func() {
		s.group.Wait()
		close(s.outcomes)
	}()
	for range s.outcomes { // of posts that were under way
	}
	return err
}

func (s *sender) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := s.settleAll(); err != nil {
			return err
		}
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
		s.ended = s.clock.now()
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
	select {
	case s.posts <- p:
		s.taken(p)
	case o := <-s.outcomes:
		return s.settle(o) // what is due first may be another by now
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// settleAll takes the outcomes that are there.
func (s *sender) settleAll() error {
	for {
		select {
		case o := <-s.outcomes:
			if err := s.settle(o); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// settle plans what follows from an outcome.
func (s *sender) settle(o outcome) error {
	s.inFlight--
	if err := s.mistaken(o); err != nil {
		return err
	}
	acked := o.status == http.StatusOK
	next := post{webhook: o.webhook, redelivery: o.redelivery, worker: o.worker}
	switch after, again := s.cfg.redelivery(o.webhook.number); {
	case acked && again && !o.redelivery:
		next.due, next.redelivery = o.at+after, true
		s.meter.redelivering()
	case !acked:
		next.due, next.attempt = o.at+s.cfg.retryDelay(o.webhook.number, o.attempt), o.attempt+1
		if next.due > max(s.until, s.ended)+s.cfg.RetryFor {
			return nil
		}
		s.meter.retrying()
	default:
		return nil
	}
	heap.Push(&s.resend, next)
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
	passing := o.status == http.StatusRequestTimeout || o.status == http.StatusTooManyRequests
	wrong := o.status == 0 || o.status >= 300 && o.status < 500 && !passing
	if !wrong || o.status != s.first.status {
		s.same = -1
		return nil
	}
	if s.same++; s.same < sameAnswers {
		return nil
	}
	switch o.status {
	case 0:
		return fmt.Errorf("the first %d webhooks got no answer: %w: is the receiver running at %s?", s.same, o.err, s.target.Host)
	case http.StatusForbidden:
		return fmt.Errorf("the first %d webhooks were answered 403: is it the app secret of the receiver?", s.same)
	}
	return fmt.Errorf("the first %d webhooks were answered %d: is %s the URL of the webhooks?", s.same, o.status, s.target)
}

// work posts over one connection.
func (s *sender) work(number int) {
	client := s.client()
	defer client.CloseIdleConnections()
	restarts := s.restarts.Load()
	w := &writer{cfg: s.cfg, run: s.run, began: s.clock.began}
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(http.MethodPost)
	request.Header.SetContentType("application/json")
	request.SetRequestURI(s.target.String())
	for p := range s.posts {
		if now := s.restarts.Load(); p.worker == number || now != restarts {
			client.CloseIdleConnections()
			restarts = now
		}
		p.worker = number
		body := w.write(p.webhook)
		request.SetBodyRaw(body)
		request.Header.Set("X-Hub-Signature-256", ingest.Sign(s.secret, body))
		s.outcomes <- s.post(client, request, response, p)
	}
}

func (s *sender) post(client *fasthttp.HostClient, request *fasthttp.Request, response *fasthttp.Response, p post) outcome {
	sent := s.clock.now()
	s.ledger.posting(p.webhook, sent)
	s.meter.posting(sent - p.due)
	o := outcome{post: p}
	if o.err = client.Do(request, response); o.err == nil {
		o.status = response.StatusCode()
	}
	o.at = s.clock.now()
	if o.status == http.StatusOK {
		s.ledger.ack(p.webhook, o.at)
	}
	s.meter.answered(o.status, p.due, sent, o.at, o.status == http.StatusOK && !p.redelivery)
	return o
}

// client has one connection, which is not kept idle for as long as a server may
// take to close it. What fails is not hidden by a second try.
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
		Addr: address, Name: "spillway-bench", IsTLS: secure, DialDualStack: true,
		TLSConfig: &tls.Config{ServerName: s.target.Hostname(), MinVersion: tls.VersionTLS12},
		MaxConns:  1, ReadTimeout: answerTimeout, WriteTimeout: answerTimeout,
		MaxIdleConnDuration: maxIdle, MaxResponseBodySize: 1 << 20, MaxIdemponentCallAttempts: 1,
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
