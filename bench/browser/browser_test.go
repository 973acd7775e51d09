package browser

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestFind(t *testing.T) {
	for _, name := range names {
		folder := t.TempDir()
		want := filepath.Join(folder, name)
		if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", folder)
		if got, err := Find(); err != nil || got != want {
			t.Errorf("found %q, %v", got, err)
		}
	}
}

func TestFindSaysHowToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if path, err := Find(); err == nil || !strings.Contains(err.Error(), "apt-get install chromium") {
		t.Errorf("found %q, %v", path, err)
	}
}

// TestOpen wants every view to arrive at the page, and all that the page does to
// be noted.
func TestOpen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<link rel="icon" href="data:,"><img src="/absent.png"><script>console.log("hello", 1); throw Error("lost")</script>`)
	}))
	defer server.Close()
	tab := Start(t)
	for _, view := range []View{{390, 844, false}, {1280, 800, true}} {
		ctx, cancel := context.WithCancel(tab)
		page, err := Open(ctx, server.URL+"/", view)
		if err != nil {
			t.Fatal(err)
		}
		got, err := chromedp.Run(ctx, chromedp.Evaluate[[]int64](
			`[screen.width, screen.height, matchMedia("(prefers-color-scheme: dark)").matches ? 1 : 0]`))
		cancel()
		dark := int64(0)
		if view.Dark {
			dark = 1
		}
		if err != nil || !slices.Equal(got, []int64{view.Width, view.Height, dark}) {
			t.Errorf("%+v is %v, %v", view, got, err)
		}
		if got, want := page.Requests(), []string{server.URL + "/", server.URL + "/absent.png"}; !slices.Equal(got, want) {
			t.Errorf("requests %q, want %q", got, want)
		}
		messages := strings.Join(page.Messages(), "\n")
		for _, want := range []string{`log "hello" 1`, "Uncaught", "404"} {
			if !strings.Contains(messages, want) {
				t.Errorf("messages %q, want %q in them", messages, want)
			}
		}
	}
}
