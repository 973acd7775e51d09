package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spillway/dispatch/event"
)

// fullDisk is a small file system with a receiver on it, and senders that
// repeat what was not acked until it is, with a book of what was.
type fullDisk struct {
	*process
	folder string
	senders
}

// senders post messages of a size, one after another with a pause in between.
type senders struct {
	size  atomic.Int64 // bytes of a message's text
	pause atomic.Int64 // nanoseconds

	acked, refused, other atomic.Int64
	next                  atomic.Int64
	mu                    sync.Mutex
	book                  map[string]bool // by uid
}

// run posts over so many connections until ctx ends.
func (s *senders) run(ctx context.Context, connections int, post func([]byte) int) (wait func()) {
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for ctx.Err() == nil {
				wamid := fmt.Sprintf("wamid.full%d", s.next.Add(1))
				for !s.try(wamid, post) && ctx.Err() == nil {
					time.Sleep(5 * time.Millisecond)
				}
				time.Sleep(time.Duration(s.pause.Load()))
			}
		})
	}
	return group.Wait
}

func (s *senders) try(wamid string, post func([]byte) int) bool {
	status := post(messageWebhook(wamid, "15550001001", strings.Repeat("x", int(s.size.Load()))))
	switch status {
	case http.StatusOK:
		s.mu.Lock()
		s.book[event.UID(event.MessageNew, wamid).String()] = true
		s.mu.Unlock()
		s.acked.Add(1)
		return true
	case http.StatusServiceUnavailable:
		s.refused.Add(1)
	default:
		s.other.Add(1)
	}
	return false
}

func startFullDisk(t *testing.T, megabytes int, env ...string) *fullDisk {
	t.Helper()
	f := &fullDisk{folder: t.TempDir()}
	if err := syscall.Mount("tmpfs", f.folder, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skipf("mounting a small file system needs privileges that are missing: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(f.folder, syscall.MNT_DETACH) })
	f.process = start(t, filepath.Join(f.folder, "data"), append(env, "SPILLWAY_LOG_MIN_FREE=32MiB", "SPILLWAY_LOG_MAX_BYTES=4GiB")...)
	t.Cleanup(f.kill) // before the file system goes
	f.book = map[string]bool{}
	return f
}

func (f *fullDisk) resize(megabytes int) {
	f.t.Helper()
	if err := syscall.Mount("", f.folder, "", syscall.MS_REMOUNT, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		f.t.Fatal(err)
	}
}

// wantRefusals waits until nothing is taken any more.
func (f *fullDisk) wantRefusals(why string) {
	f.t.Helper()
	f.eventually(time.Minute, "503 while "+why, func() error {
		acked, refused := f.acked.Load(), f.refused.Load()
		time.Sleep(300 * time.Millisecond)
		if now := f.acked.Load(); now != acked || f.refused.Load() < refused+100 {
			return fmt.Errorf("%d webhooks more were acked, %d refused", now-acked, f.refused.Load()-refused)
		}
		return nil
	})
	if status, _ := f.adminGet("/readyz"); status != http.StatusServiceUnavailable {
		f.t.Errorf("readyz answers %d while %s, want 503", status, why)
	}
	if status, _ := f.adminGet("/healthz"); status != http.StatusOK {
		f.t.Errorf("healthz answers %d while %s, want 200", status, why)
	}
}

// wantService waits until webhooks are taken and none is refused.
func (f *fullDisk) wantService(after string) {
	f.t.Helper()
	f.eventually(time.Minute, "service again after "+after, func() error {
		acked, refused := f.acked.Load(), f.refused.Load()
		time.Sleep(300 * time.Millisecond)
		if more := f.refused.Load() - refused; more > 0 || f.acked.Load() < acked+10 {
			return fmt.Errorf("%d webhooks more were acked, %d refused", f.acked.Load()-acked, more)
		}
		return nil
	})
}

// TestFullDisk fills a small file system in the middle of a load, by the log
// itself and then by another program: 503, and service again once there is
// room, by the same process. What was acked is there, and is there once.
func TestFullDisk(t *testing.T) {
	f := startFullDisk(t, 160)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.size.Store(32 << 10)
	wait := f.run(ctx, 16, f.post)

	f.wantRefusals("the log has filled the disk")
	t.Logf("%d webhooks of %d KiB fitted", f.acked.Load(), f.size.Load()>>10)
	f.size.Store(100)
	f.pause.Store(int64(10 * time.Millisecond))
	f.resize(800)
	f.wantService("the disk has grown")

	other := filepath.Join(f.folder, "another program's")
	writeUntilFull(t, other)
	f.wantRefusals("another program has filled the disk")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	f.wantService("the other program has gone")
	cancel()
	wait()

	if f.other.Load() > 0 {
		t.Errorf("%d answers were neither 200 nor 503", f.other.Load())
	}
	_, lost, doubled := compare(t, f.book, f.gather(len(f.book), caused))
	t.Logf("%d acked, %d refused, %d lost, %d doubled", f.acked.Load(), f.refused.Load(), lost, doubled)
	if lost > 0 || doubled > 0 {
		t.Errorf("%d lost, %d doubled", lost, doubled)
	}
}

func writeUntilFull(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = file.Write(block)
	}
}
