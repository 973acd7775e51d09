package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestContact(t *testing.T) {
	without(t)
	const waba, id = "102290129340398", "US.1 & 2"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case r.URL.Path != "/contacts" || query.Get("waba") != waba:
			w.WriteHeader(http.StatusInternalServerError)
		case query.Get("id") != id:
			http.Error(w, "contact not known", http.StatusNotFound)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, "{\n \"id\": \"c\", \"name\": \"<Ann>\"}\n")
		case r.Method == http.MethodDelete:
			_, _ = io.WriteString(w, `{"events":7}`)
		}
	}))
	defer server.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	goneURL := gone.URL
	gone.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer page.Close()

	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"show", []string{"show", "--admin", server.URL, "--waba", waba, "--id", id}, exitOK, `{"id":"c","name":"<Ann>"}` + "\n", ""},
		{"forget", []string{"forget", "--admin", server.URL, "--waba", waba, "--id", id}, exitOK, `{"events":7}` + "\n", ""},
		{"unknown", []string{"show", "--admin", server.URL, "--waba", waba, "--id", "15550001"}, exitFailure, "", "spillway: the contact is not known\n"},
		{"failed", []string{"show", "--admin", server.URL, "--waba", "0", "--id", id}, exitFailure, "", "spillway: the admin listener answers 500\n"},
		{"nothing listens", []string{"show", "--admin", goneURL, "--waba", waba, "--id", "15550001"}, exitFailure, "",
			"spillway: nothing listens at " + strings.TrimPrefix(goneURL, "http://") + ": start `spillway serve`, or name its admin listener with --admin\n"},
		{"something else listens", []string{"show", "--admin", page.URL, "--waba", waba, "--id", id}, exitFailure, "",
			"spillway: what listens at " + strings.TrimPrefix(page.URL, "http://") + " is not the admin listener of Spillway\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := spillway(t, "", append([]string{"contact"}, test.args...)...)
			if want := (outcome{test.code, test.stdout, test.stderr}); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}
