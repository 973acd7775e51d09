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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"spillway/dispatch/store"
)

// admin is the private listener. It is off the way of the data, so it uses
// net/http.
type admin struct {
	listener net.Listener
	server   *http.Server
	ready    func() error
	contacts store.Contacts
	logger   *slog.Logger
}

// newAdmin binds the address; serve answers on it:
//
//	GET    /metrics                      Prometheus
//	GET    /healthz                      200 while the process lives
//	GET    /readyz                       200 where webhooks are taken, else 503 and why not
//	GET    /contacts?waba=W&id=I         a contact as JSON, 404 where unknown
//	DELETE /contacts?waba=W&id=I         forgets it: {"events": how many went}
//	GET    /debug/pprof/                 profiles
func newAdmin(address string, gatherer prometheus.Gatherer, ready func() error, contacts store.Contacts, logger *slog.Logger) (*admin, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (admin): %w", address, err)
	}
	a := &admin{listener: listener, ready: ready, contacts: contacts, logger: logger}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /contacts", a.showContact)
	mux.HandleFunc("DELETE /contacts", a.forgetContact)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	return a, nil
}

func (a *admin) addr() net.Addr { return a.listener.Addr() }

func (a *admin) serve() error {
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *admin) close(ctx context.Context) {
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close()
	}
}

func (a *admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := a.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
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
		a.logger.Error("contact request failed", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value)
	}
}
