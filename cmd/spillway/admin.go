package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"spillway/dispatch/store"
)

// What `health` asks for, and what a good receiver answers.
const (
	healthPath, healthAnswer = "/healthz", "ok"
	readyPath, readyAnswer   = "/readyz", "ready"
)

// admin is the private listener. It is off the way of the data, so it uses
// net/http.
type admin struct {
	listener net.Listener
	server   *http.Server
	ready    func() error
	contacts store.Contacts
	mux      *http.ServeMux
	desk     *logDesk     // nil where it has no log to show
	deliver  *deliverDesk // nil where it does not deliver
	logger   *slog.Logger
}

// newAdmin binds the address; serve answers on it, for /log where showLog was
// called before, for /deliver where showDeliver was:
//
//	GET    /metrics                      Prometheus
//	GET    /healthz                      200 while the process lives
//	GET    /readyz                       200 where webhooks are taken, else 503 and why not
//	GET    /contacts?waba=W&id=I         a contact as JSON, 404 where unknown
//	DELETE /contacts?waba=W&id=I         forgets it: {"events": how many went}
//	GET    /log/stat                     how the log is, as JSON
//	GET    /log/records                  records of the log, as lines: lane, from, to, after, since, app, wamid narrow them
//	GET    /log/dead                     all dead letters without their bodies, as lines
//	GET    /log/dead/LANE/SEQ/ITEM       one with its body, as JSON, 404 where unknown; ITEM is a number or whole
//	POST   /log/dead/LANE/SEQ/ITEM/retry decodes it again: what became of it, as JSON; force=true for an old one
//	POST   /log/replay?lane=L            dispatches records of a lane again: from, to, since, force; lines tell how
//	                                     far it is; it ends when the client goes away
//	GET    /deliver                      how all endpoints are, as JSON
//	POST   /deliver/NAME/test            sends a test event: what came of it, as JSON
//	POST   /deliver/NAME/pause           and resume, for all receivers; 404 where unknown
//	GET    /deliver/NAME/dead            dead deliveries, as lines: after, limit, payload=true
//	POST   /deliver/NAME/dead/retry      sends some again: {"uids":[…]}, or all=true
//	GET    /debug/pprof/                 profiles
//
// For lines see logLine: an answer without its last one is not whole.
func newAdmin(address string, gatherer prometheus.Gatherer, ready func() error, contacts store.Contacts, logger *slog.Logger) (*admin, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (admin): %w", address, err)
	}
	a := &admin{listener: listener, ready: ready, contacts: contacts, logger: logger}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, healthAnswer) })
	mux.HandleFunc("GET "+readyPath, a.readyz)
	mux.HandleFunc("GET /contacts", a.showContact)
	mux.HandleFunc("DELETE /contacts", a.forgetContact)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	a.mux = mux
	// What changes something is not for the pages that a browser shows.
	own := http.NewCrossOriginProtection().Handler(mux)
	a.server = &http.Server{Handler: own, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	return a, nil
}

// failed answers 500 with an id that is for the log, too. It is made here: a
// client's own would put into the log what anyone likes.
func failed(w http.ResponseWriter, err error) (id string) {
	id = uuid.NewString()
	w.Header().Set("X-Request-Id", id)
	http.Error(w, err.Error(), http.StatusInternalServerError)
	return id
}

// showLog answers for /log with the source; call it before serve.
func (a *admin) showLog(source logSource) {
	a.desk = newLogDesk(source, a.logger)
	a.desk.register(a.mux)
}

// showDeliver answers for /deliver; call it before serve.
func (a *admin) showDeliver(outgoing outgoing) {
	a.deliver = newDeliverDesk(outgoing, a.logger)
	a.deliver.register(a.mux)
}

func (a *admin) addr() net.Addr { return a.listener.Addr() }

func (a *admin) serve() error {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *admin) close(ctx context.Context) {
	if a.desk != nil {
		a.desk.close()
	}
	if a.deliver != nil {
		a.deliver.close()
	}
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close()
	}
}

func (a *admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := a.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, readyAnswer)
}

func (a *admin) showContact(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	contact, err := a.contacts.Contact(r.Context(), query.Get("waba"), query.Get("id"))
	a.answer(w, contact, err)
}

func (a *admin) forgetContact(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	events, err := a.contacts.Forget(r.Context(), query.Get("waba"), query.Get("id"))
	a.answer(w, map[string]int{"events": events}, err)
}

func (a *admin) answer(w http.ResponseWriter, value any, err error) {
	switch {
	case errors.Is(err, store.ErrNoContact):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		a.logger.Error("a request for a contact failed", "error", err, "request_id", failed(w, err))
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value)
	}
}
