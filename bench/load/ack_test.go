package load

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOnAck: the webhooks that are answered 200 are told, those alone, and found
// again by what they hold.
func TestOnAck(t *testing.T) {
	var mu sync.Mutex
	taken, acked := map[uint64]bool{}, map[uint64]bool{}
	var campaign *Campaign
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		serial, ok := campaign.Serial(body)
		if !ok || serial == 0 {
			t.Errorf("serial %d, %v", serial, ok)
		}
		mu.Lock()
		defer mu.Unlock()
		if taken[serial] = serial%3 != 0; !taken[serial] {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	campaign = newTestCampaign(t, 1000, address)
	campaign.OnAck(func(serial uint64) {
		mu.Lock()
		defer mu.Unlock()
		if !taken[serial] {
			t.Errorf("serial %d is told, and was not taken", serial)
		}
		acked[serial] = true
	})
	r := Closed(context.Background(), campaign, address, 4, 0, 100*time.Millisecond)
	if n := r.Answers[http.StatusOK]; n == 0 || n != int64(len(acked)) {
		t.Errorf("%d acks, %d told", n, len(acked))
	}
	for _, body := range []string{"", "wamid.HBgL", "wamid.HBgL" + strings.Repeat("x", 32), "wamid.HBgL" + strings.Repeat("0", 32)} {
		if serial, ok := campaign.Serial([]byte(body)); ok {
			t.Errorf("%q is webhook %d", body, serial)
		}
	}
}
