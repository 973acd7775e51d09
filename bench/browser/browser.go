// Package browser starts a real Chromium without a window for tests: one process
// a test, with an empty profile that is removed afterwards. A browser that runs
// already is never touched.
package browser

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// names are what Chromium is called, by who packages it.
var names = []string{"chromium", "chromium-browser", "google-chrome"}

// closeTimeout is for a slow machine: the end takes a tenth of a second.
const closeTimeout = 20 * time.Second

// errMissing says what to do where there is no browser.
var errMissing = errors.New("none of chromium, chromium-browser and google-chrome is on the PATH: install one (apt-get install chromium, " +
	"apk add chromium, dnf install chromium, brew install --cask google-chrome); `make test` does so where it can")

// Find returns the path of a browser. The error says how to install one.
func Find() (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

// Start gives a context with an empty tab for chromedp's actions, until the test
// ends. Further tabs are those of chromedp.NewContext on it. Without a browser
// the test fails: what it shows must not go unseen.
func Start(t testing.TB) context.Context {
	t.Helper()
	path, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir() // for what it keeps besides its profile
	apart := chromedp.Env("TMPDIR="+folder, "XDG_CONFIG_HOME="+folder, "XDG_CACHE_HOME="+folder)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options(path), apart)...)
	t.Cleanup(stop) // waits for the process, and removes the profile
	tab, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	t.Cleanup(func() { closeBrowser(t, tab) })
	return tab
}

// closeBrowser asks it to end, so that it leaves nothing behind.
func closeBrowser(t testing.TB, tab context.Context) {
	ctx, cancel := context.WithTimeout(tab, closeTimeout)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		t.Errorf("close browser: %v", err)
	}
}

// options make it do nothing but what the test asks for. As root it is started
// without its sandbox, which it would refuse; its profile is new.
func options(path string) []chromedp.ExecAllocatorOption {
	return []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-breakpad", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-extensions", true),
		chromedp.Flag("force-color-profile", "srgb"),
	}
}
