package ingest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
)

const (
	// requestID is in every 503 and in the line that says why. It is made here: a
	// sender's own would put into the log what anyone likes.
	requestID    = "X-Request-Id"
	requestIDKey = "request_id"
	// quietSeconds without a refusal are its end.
	quietSeconds = 10
)

// mark gives the answer an id, for the log.
func mark(ctx *fasthttp.RequestCtx) string {
	id := uuid.NewString()
	ctx.Response.Header.Set(requestID, id)
	return id
}

// refuse gives the code of a request that is refused for now, and counts and
// logs why; err is the log's. The logger has to bear a line a request.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, reason string, err error) int {
	s.metrics.unavailable[reason].Inc()
	id := mark(ctx)
	switch reason {
	case unavailableLog:
		s.logger.Error("webhooks are refused with 503: the log takes none", "error", err, requestIDKey, id)
	case unavailableOverload:
		s.logger.Warn("webhooks are refused with 503: they come faster than the disk takes them", requestIDKey, id)
	case unavailableInFlight:
		s.logger.Warn("webhooks are refused with 503: limits.in_flight bytes of them are held", requestIDKey, id)
	case unavailableStopping:
		s.logger.Info("requests are refused with 503: shutting down", requestIDKey, id)
	}
	s.refused.Store(time.Now().Unix())
	return fasthttp.StatusServiceUnavailable
}

// resume logs that webhooks are taken again, once none was refused for
// quietSeconds: a log at its limit refuses one and takes the next.
func (s *Server) resume(now time.Time) {
	last := s.refused.Load()
	if last != 0 && now.Unix()-last >= quietSeconds && s.refused.CompareAndSwap(last, 0) {
		s.logger.Info("webhooks are taken again")
	}
}

// panicked refuses the request whose handling broke off; the others go on. Only
// the runtime's own words are logged: any other value may hold what came in.
func (s *Server) panicked(ctx *fasthttp.RequestCtx, reason any) {
	text := fmt.Sprintf("%T", reason)
	if failure, ok := reason.(runtime.Error); ok {
		text = failure.Error()
	}
	ctx.Response.Reset()
	s.logger.Error("handling a request broke off: report it with the stack",
		"error", text, requestIDKey, mark(ctx), "stack", string(debug.Stack()))
	s.answer(ctx, leave(ctx, fasthttp.StatusServiceUnavailable))
}
