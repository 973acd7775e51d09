package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/event"
)

// soakStatuses are what a webhook of statuses holds, the first of them one after
// the other; a webhook that holds none has a reply.
var soakStatuses = []string{"sent", "delivered", "read"}

// slots is how many events a webhook may cause.
const slots = 4

// bitmap is a set of small numbers.
type bitmap []uint64

// add reports whether n was not in the set.
func (b *bitmap) add(n uint64) bool {
	for uint64(len(*b)) <= n/64 {
		*b = append(*b, make([]uint64, 1024)...)
	}
	fresh := (*b)[n/64]&(1<<(n%64)) == 0
	(*b)[n/64] |= 1 << (n % 64)
	return fresh
}

func (b bitmap) without(other bitmap) (missing int) {
	for n := range uint64(len(b)) * 64 {
		if b[n/64]&(1<<(n%64)) != 0 && (n/64 >= uint64(len(other)) || other[n/64]&(1<<(n%64)) == 0) {
			missing++
		}
	}
	return missing
}

// soak is a receiver under a load that goes on for long, killed now and then.
type soak struct {
	target atomic.Pointer[process]
	pace   atomic.Int64 // between the webhooks of a sender, in nanoseconds
	next   atomic.Uint64

	mu          sync.Mutex
	acked, seen bitmap // by webhook and slot
	// recent are the last events seen, which may come again over another
	// connection: the socket goes on a little before the place where it was cut.
	// Over the same one, whose events are current, none may.
	recent  map[uint64]bool
	order   []uint64
	current bitmap
	doubled int
	events  int64
	// last is where the subscriber goes on.
	last string
}

// recentEvents is how far back a repeat may lie.
const recentEvents = 1 << 16

// webhook is the n-th, with the slots of its events.
func (s *soak) webhook(n uint64) (body []byte, caused []uint64) {
	wamid, customer := fmt.Sprintf("wamid.soak%d", n), fmt.Sprintf("1555%07d", n*7919%5000)
	count := n % slots
	if count == 0 {
		return messageWebhook(wamid, customer, "a reply"), []uint64{n * slots}
	}
	for slot := range count {
		caused = append(caused, n*slots+1+slot)
	}
	return statusWebhook(wamid, customer, soakStatuses[:count]...), caused
}

// send posts until ctx ends: what is not acked again until it is, and some of
// what is once more.
func (s *soak) send(ctx context.Context) {
	for ctx.Err() == nil {
		n := s.next.Add(1)
		body, caused := s.webhook(n)
		for s.target.Load().post(body) != http.StatusOK {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		s.mu.Lock()
		for _, slot := range caused {
			s.acked.add(slot)
		}
		s.mu.Unlock()
		if n%20 == 0 {
			s.target.Load().post(body)
		}
		time.Sleep(time.Duration(s.pace.Load()))
	}
}

// subscribe follows the stream over all kills until ctx ends.
func (s *soak) subscribe(ctx context.Context, token string) {
	for ctx.Err() == nil {
		s.mu.Lock()
		url := "ws://" + s.target.Load().public + "/ws?since=" + s.last + "&token=" + token
		s.mu.Unlock()
		conn, _, err := websocket.DefaultDialer.DialContext(ctx, url, nil)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		s.connected()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		for err == nil {
			var e struct {
				ID, Type string
				Payload  struct{ Wamid, Status string }
			}
			var data []byte
			if _, data, err = conn.ReadMessage(); err == nil && json.Unmarshal(data, &e) == nil && e.ID != "" {
				s.see(e.ID, e.Type, e.Payload.Wamid, e.Payload.Status)
			}
		}
		stop()
		_ = conn.Close()
	}
}

// connected begins another connection.
func (s *soak) connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
}

func (s *soak) see(id, kind, wamid, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = id
	var n uint64
	if _, err := fmt.Sscanf(wamid, "wamid.soak%d", &n); err != nil {
		return // of a contact, or a position
	}
	slot := n * slots
	if kind == event.MessageStatus {
		slot += 1 + uint64(slices.Index(soakStatuses, status))
	}
	s.events++
	fresh := s.seen.add(slot)
	if again := !s.current.add(slot); again || !fresh && !s.recent[slot] {
		s.doubled++
	}
	if s.recent[slot] {
		return
	}
	s.recent[slot] = true
	if s.order = append(s.order, slot); len(s.order) > recentEvents {
		delete(s.recent, s.order[0])
		s.order = s.order[1:]
	}
}

// TestSoakCounts: an event that comes again over one connection is doubled, and
// so is one that lies far back over another; one that lies a little back is not.
func TestSoakCounts(t *testing.T) {
	s := &soak{recent: map[uint64]bool{}}
	see := func(n, want int) {
		t.Helper()
		if s.see("id", event.MessageNew, fmt.Sprintf("wamid.soak%d", n), ""); s.doubled != want {
			t.Errorf("%d doubled, want %d", s.doubled, want)
		}
	}
	see(1, 0)
	see(2, 0)
	see(1, 1)
	s.connected()
	see(2, 1)
	see(2, 2)
	for n := range recentEvents {
		see(n+3, 2)
	}
	s.connected()
	see(1, 3)
	see(4, 3)
}

// missing is how many events were acked and not seen.
func (s *soak) missing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked.without(s.seen)
}

// TestSoak runs a load with spikes for as long as SPILLWAY_SOAK says, and kills
// the receiver with -9 now and then. In the end every acked event was seen by a
// subscriber, once; and neither memory nor the log's folder has grown.
func TestSoak(t *testing.T) {
	length := soakLength(t)
	data := t.TempDir()
	env := []string{"SPILLWAY_LOG_RETAIN=1m", "SPILLWAY_STREAM_RETAIN=200000"}
	s := &soak{recent: map[uint64]bool{}, last: "0"}
	s.target.Store(start(t, data, env...))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sending, stopSending := context.WithCancel(ctx)
	defer stopSending()
	var group, senders sync.WaitGroup
	token := testToken(t)
	group.Go(func() { s.subscribe(ctx, token) })
	for range 16 {
		senders.Go(func() { s.send(sending) })
	}

	var resident, folder []int64
	every, kills := min(max(length/10, 2*time.Second), 4*time.Minute), 0
	began := time.Now()
	killed := began
	for time.Since(began) < length {
		s.pace.Store(int64(32 * time.Millisecond)) // 500 webhooks a second
		if int(time.Since(began).Seconds())%60 >= 50 {
			s.pace.Store(int64(4 * time.Millisecond))
		}
		time.Sleep(min(time.Second, length/20))
		resident = append(resident, int64(s.target.Load().residentBytes()))
		folder = append(folder, folderBytes(t, filepath.Join(data, "log")))
		if time.Since(killed) >= every {
			s.target.Load().kill()
			s.target.Store(start(t, data, env...))
			kills, killed = kills+1, time.Now()
		}
	}
	stopSending()
	senders.Wait()
	s.target.Load().eventually(time.Minute, "all events at the subscriber", func() error {
		if n := s.missing(); n > 0 {
			return fmt.Errorf("%d are missing", n)
		}
		return nil
	})
	cancel()
	group.Wait()

	t.Logf("%s, %d kills, %d webhooks, %d events, %d lost, %d doubled; store %d MiB", length, kills, s.next.Load(), s.events,
		s.missing(), s.doubled, folderBytes(t, filepath.Join(data, "store"))>>20)
	if s.doubled > 0 || kills < 3 || s.events < int64(length.Seconds())*100 {
		t.Errorf("%d doubled, %d kills, %d events", s.doubled, kills, s.events)
	}
	wantFlat(t, "resident memory", resident, 512<<20)
	wantFlat(t, "the log's folder", folder, 1<<30)
}

// soakLength is SPILLWAY_SOAK, else a short time.
func soakLength(t *testing.T) time.Duration {
	text := os.Getenv("SPILLWAY_SOAK")
	switch {
	case text == "" && full():
		return time.Minute
	case text == "":
		return 8 * time.Second
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < time.Second {
		t.Fatalf("SPILLWAY_SOAK=%q is not a duration of a second or more", text)
	}
	return length
}

// wantFlat wants the second half of the samples little above the first.
func wantFlat(t *testing.T, what string, samples []int64, most int64) {
	t.Helper()
	half := len(samples) / 2
	early, late := slices.Max(samples[:half]), slices.Max(samples[half:])
	t.Logf("%s: at most %d MiB in the first half, %d in the second", what, early>>20, late>>20)
	if late > most || late > early+early/2+64<<20 {
		t.Errorf("%s grew from %d to %d MiB", what, early>>20, late>>20)
	}
}

func folderBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && !strings.HasSuffix(path, "BALLAST") {
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
