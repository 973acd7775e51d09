package browser

import (
	"context"
	"fmt"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// View is what a page is shown on: its size in CSS pixels, and whether the user
// likes it dark.
type View struct {
	Width, Height int64
	Dark          bool
}

// Page is what a page did since it was opened.
type Page struct {
	mu                 sync.Mutex
	requests, messages []string
}

// Open loads a URL in a tab of Start, and waits until it is loaded. What it does
// is noted until ctx ends: give each page one of its own.
func Open(ctx context.Context, url string, view View) (*Page, error) {
	p := &Page{}
	if err := chromedp.Listen(ctx, p.note); err != nil {
		return nil, fmt.Errorf("listen to page: %w", err)
	}
	scheme := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "light"}
	if view.Dark {
		scheme.Value = "dark"
	}
	err := chromedp.Do(ctx,
		chromedp.EmulateViewport(view.Width, view.Height, chromedp.EmulateMobile),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			if _, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{}); err != nil {
				return err
			}
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{scheme},
			})
			return err
		}),
		chromedp.Navigate(url))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	return p, nil
}

func (p *Page) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *runtime.EventConsoleAPICalled:
		text := string(e.Type)
		for _, arg := range e.Args {
			text += " " + string(arg.Value)
		}
		p.messages = append(p.messages, text)
	case *runtime.EventExceptionThrown:
		p.messages = append(p.messages, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		p.messages = append(p.messages, e.Entry.Text)
	}
}

// Requests are the URLs that were asked for, its own first.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

// Messages are what came to the console: what the page wrote, exceptions that
// nothing caught, and complaints of the browser.
func (p *Page) Messages() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.messages...)
}
