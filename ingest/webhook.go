package ingest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	webhookPath = "/api/webhook"
	streamPath  = "/ws"
	// retryAfter is what a 503 asks for, in seconds.
	retryAfter = "5"
	// skipBytes is the largest unread body that is skipped to keep its
	// connection; with a larger one the connection is closed.
	skipBytes = 64 << 10
)

var (
	signatureHeader = []byte("X-Hub-Signature-256")
	continueValue   = []byte("100-continue")
)

// headerReceived makes a request that its header alone refuses one that waits
// for leave to send its body. Then no byte of the body is awaited.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() != 0 && s.refusedAtOnce(h) != 0 {
		h.SetBytesV(fasthttp.HeaderExpect, continueValue)
	}
	return fasthttp.RequestConfig{}
}

// expect answers a request that waits for leave to send its body. The connection
// is closed after a refusal.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	code := s.refusedAtOnce(&ctx.Request.Header)
	if code == 0 {
		return fasthttp.StatusContinue
	}
	linger(ctx)
	s.metrics.answered(code)
	return code
}

// refusedAtOnce is the code of a webhook that its header refuses, else 0.
func (s *Server) refusedAtOnce(h *fasthttp.RequestHeader) int {
	path, _, _ := bytes.Cut(h.RequestURI(), []byte{'?'})
	if !h.IsPost() || string(path) != webhookPath {
		return 0
	}
	var signature [sha256.Size]byte
	return s.checkHeader(h, &signature)
}

// checkHeader reads the signature; it returns 0 or the code of a refusal.
func (s *Server) checkHeader(h *fasthttp.RequestHeader, signature *[sha256.Size]byte) int {
	if !parseSignature(signature, h.PeekCanonical(signatureHeader)) {
		return fasthttp.StatusUnauthorized
	}
	if int64(h.ContentLength()) > s.cfg.MaxBody {
		return fasthttp.StatusRequestEntityTooLarge
	}
	return 0
}

// fail answers what is no request: a header that is too large, wrong, or not
// complete in time, or a body of which nothing came.
func (s *Server) fail(ctx *fasthttp.RequestCtx, err error) {
	var tooLong *fasthttp.ErrSmallBuffer
	code := fasthttp.StatusBadRequest
	switch {
	case timedOut(ctx, err):
		code = fasthttp.StatusRequestTimeout
	case errors.As(err, &tooLong):
		code = fasthttp.StatusRequestHeaderFieldsTooLarge
	}
	ctx.Response.Reset()
	ctx.SetStatusCode(code)
	if code != fasthttp.StatusRequestTimeout {
		linger(ctx)
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		s.metrics.answered(code)
	}
}

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer func() {
		if reason := recover(); reason != nil {
			s.panicked(ctx, reason)
		}
	}()
	if code := s.route(ctx); code != 0 {
		s.answer(ctx, code)
	}
}

func (s *Server) answer(ctx *fasthttp.RequestCtx, code int) {
	ctx.SetStatusCode(code)
	if code == fasthttp.StatusServiceUnavailable {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, retryAfter)
	}
	if s.stopping.Load() {
		ctx.SetConnectionClose()
	}
	s.metrics.answered(code)
}

// route gives the code to answer with, 0 where the stream answered.
func (s *Server) route(ctx *fasthttp.RequestCtx) int {
	if s.stopping.Load() {
		return unread(ctx, s.refuse(ctx, unavailableStopping, nil))
	}
	switch string(ctx.Path()) {
	case webhookPath:
		switch {
		case ctx.IsPost():
			return s.receive(ctx)
		case ctx.IsGet(), ctx.IsHead():
			return s.verify(ctx)
		}
		ctx.Response.Header.Set(fasthttp.HeaderAllow, "GET, HEAD, POST")
		return unread(ctx, fasthttp.StatusMethodNotAllowed)
	case streamPath:
		switch {
		case s.stream == nil:
			return unread(ctx, fasthttp.StatusNotFound)
		case ctx.IsGet():
			s.stream(ctx)
			return 0
		}
		ctx.Response.Header.Set(fasthttp.HeaderAllow, "GET")
		return unread(ctx, fasthttp.StatusMethodNotAllowed)
	}
	return unread(ctx, fasthttp.StatusNotFound)
}

// verify answers Meta's check of the callback's address.
func (s *Server) verify(ctx *fasthttp.RequestCtx) int {
	args := ctx.QueryArgs()
	known := s.trust.Load().keys.hasToken(args.Peek("hub.verify_token"))
	if !known || string(args.Peek("hub.mode")) != "subscribe" || !s.identified(ctx) {
		return unread(ctx, fasthttp.StatusForbidden)
	}
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	ctx.SetBody(args.Peek("hub.challenge"))
	return unread(ctx, fasthttp.StatusOK)
}

// receipt is what receiving one webhook needs; it is used again.
type receipt struct {
	signature [sha256.Size]byte
	body      body
	webhook   Webhook
}

func (s *Server) release(r *receipt) {
	r.body.release()
	r.webhook = Webhook{}
	s.receipts.Put(r)
}

// receive takes a webhook. What it costs until it is refused grows with how far
// it gets: header, then body, then hash, then log.
func (s *Server) receive(ctx *fasthttp.RequestCtx) int {
	start := time.Now()
	r := s.receipts.Get().(*receipt)
	defer s.release(r)

	if !s.identified(ctx) {
		s.logger.Warn("a webhook is refused with 403: its sender has no certificate that tls.client_ca and tls.client_name ask for")
		return leave(ctx, fasthttp.StatusForbidden)
	}
	if code := s.checkHeader(&ctx.Request.Header, &r.signature); code != 0 {
		return leave(ctx, code)
	}
	if err := s.log.Ready(); err != nil {
		return unread(ctx, s.refuse(ctx, unavailableLog, err))
	}
	if !s.admission.letIn(start) {
		return unread(ctx, s.refuse(ctx, unavailableOverload, nil))
	}
	if code := s.readBody(ctx, &r.body); code != 0 {
		return code
	}
	content := r.body.bytes()
	app, ok := s.trust.Load().keys.match(&r.signature, content)
	if !ok {
		s.logger.Warn("a webhook is refused with 403: no app secret of the config has signed it; was one rotated?")
		return fasthttp.StatusForbidden
	}
	r.webhook = Webhook{Received: start, App: app, Signature: r.signature[:], Body: content, Bulk: Bulk(content)}
	if err := s.append(&r.webhook); err != nil {
		return s.refuse(ctx, unavailableLog, err)
	}
	s.metrics.taken.Add(float64(len(content)))
	s.metrics.ack.Observe(time.Since(start).Seconds())
	s.resume(start)
	return fasthttp.StatusOK
}

// append hands a webhook to the log.
func (s *Server) append(w *Webhook) error {
	acked, began := false, time.Now()
	s.admission.enter()
	defer func() {
		now := time.Now()
		s.admission.leave(now.Sub(began), acked, now)
	}()
	err := s.log.Append(w)
	acked = err == nil
	return err
}

// readBody reads a request's body; it returns 0 or the code of a refusal.
func (s *Server) readBody(ctx *fasthttp.RequestCtx, b *body) int {
	source := ctx.RequestBodyStream()
	if source == nil {
		return fasthttp.StatusBadRequest
	}
	b.from = s.buffers
	announced := int64(max(ctx.Request.Header.ContentLength(), -1))
	err := b.read(source, announced, s.cfg.MaxBody)
	switch {
	case err == nil && b.length == 0:
		return fasthttp.StatusBadRequest
	case err == nil:
		return 0
	case errors.Is(err, errTooLarge):
		return leave(ctx, fasthttp.StatusRequestEntityTooLarge)
	case errors.Is(err, errInFlight):
		return unread(ctx, s.refuse(ctx, unavailableInFlight, nil))
	case timedOut(ctx, err):
		ctx.SetConnectionClose()
		return fasthttp.StatusRequestTimeout
	}
	return leave(ctx, fasthttp.StatusBadRequest)
}

// unread answers before a body was read. A short one is skipped, as long as its
// sender has time.
func unread(ctx *fasthttp.RequestCtx, code int) int {
	if length := ctx.Request.Header.ContentLength(); length == -1 || length > skipBytes {
		return leave(ctx, code)
	}
	return code
}

// leave answers and closes the connection while its sender may still send.
func leave(ctx *fasthttp.RequestCtx, code int) int {
	ctx.SetConnectionClose()
	linger(ctx)
	return code
}

func linger(ctx *fasthttp.RequestCtx) {
	if c := connOf(ctx.Conn()); c != nil {
		c.linger.Store(true)
	}
}

// timedOut reports whether reading failed for want of time.
func timedOut(ctx *fasthttp.RequestCtx, err error) bool {
	if c := connOf(ctx.Conn()); c != nil {
		return err != io.EOF && c.timedOut.Load()
	}
	return false
}
