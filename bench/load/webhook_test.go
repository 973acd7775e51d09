package load

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

const testSecret = "a secret"

func newTestCampaign(t testing.TB, size int, host string) *Campaign {
	t.Helper()
	c, err := NewCampaign(size, testSecret, host)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bodyOf reads a request as a server does.
func bodyOf(t *testing.T, request []byte) (*http.Request, []byte) {
	t.Helper()
	reader := bufio.NewReader(bytes.NewReader(request))
	r, err := http.ReadRequest(reader)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if reader.Buffered() > 0 {
		t.Errorf("%d bytes after the body", reader.Buffered())
	}
	return r, body
}

// wamidsOf gives the wamids of a webhook, which must be of statuses alone.
func wamidsOf(t *testing.T, body []byte) (wamids []string) {
	t.Helper()
	var webhook struct {
		Entry []struct {
			Changes []struct {
				Field string
				Value struct {
					Messages []any
					Statuses []struct{ ID, Status, Timestamp string }
				}
			}
		}
	}
	if err := json.Unmarshal(body, &webhook); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	change := webhook.Entry[0].Changes[0]
	if len(change.Value.Messages) > 0 || change.Field != "messages" {
		t.Fatalf("not a webhook of statuses: %s", body)
	}
	for _, status := range change.Value.Statuses {
		wamids = append(wamids, status.ID)
	}
	return wamids
}

// TestSizes: a body has the size asked for, or is short of it by less than it
// takes to pad it.
func TestSizes(t *testing.T) {
	short := len(fmt.Sprintf(padding, ""))
	for size := MinBody; size < MinBody+2000; size++ {
		c := newTestCampaign(t, size, "h")
		_, body := bodyOf(t, c.Writer().Next())
		if len(body) != c.Size() || len(body) > size || len(body) < size-short {
			t.Fatalf("%d bytes, said %d, asked for %d", len(body), c.Size(), size)
		}
		if n := len(wamidsOf(t, body)); n != c.Statuses() {
			t.Fatalf("%d statuses in %d bytes, said %d", n, size, c.Statuses())
		}
	}
	for _, size := range []int{600, 2 << 10, 20 << 10} {
		if got := newTestCampaign(t, size, "h").Size(); got != size {
			t.Errorf("%d bytes, asked for %d", got, size)
		}
	}
	if _, err := NewCampaign(MinBody-1, testSecret, "h"); err == nil {
		t.Error("a body below the least")
	}
}

// TestWamids: no status is of a message that another is of, whichever writer or
// campaign made it.
func TestWamids(t *testing.T) {
	const writers, webhooks = 8, 300
	made := make(chan []string, 2*writers)
	for range 2 {
		c := newTestCampaign(t, 2000, "h")
		for range writers {
			go func() {
				var wamids []string
				for w := c.Writer(); len(wamids) < webhooks*c.Statuses(); {
					_, body := bodyOf(t, w.Next())
					wamids = append(wamids, wamidsOf(t, body)...)
				}
				made <- wamids
			}()
		}
	}
	seen := make(map[string]bool)
	for range 2 * writers {
		for _, wamid := range <-made {
			if seen[wamid] {
				t.Fatalf("%s came twice", wamid)
			}
			seen[wamid] = true
		}
	}
	if want := 2 * writers * webhooks * newTestCampaign(t, 2000, "h").Statuses(); len(seen) != want {
		t.Errorf("%d messages, want %d", len(seen), want)
	}
}

func TestRequest(t *testing.T) {
	w := newTestCampaign(t, 600, "example.test:80").Writer()
	for range 3 {
		r, body := bodyOf(t, w.Next())
		mac := hmac.New(sha256.New, []byte(testSecret))
		mac.Write(body)
		want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
		if got := r.Header.Get("X-Hub-Signature-256"); got != want {
			t.Errorf("signature %s, want %s", got, want)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/api/webhook" || r.Host != "example.test:80" {
			t.Errorf("%s %s to %s", r.Method, r.URL, r.Host)
		}
	}
}
