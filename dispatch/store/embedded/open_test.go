package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"spillway/dispatch/store"
)

// refuse opens a store that must not open, and checks what is said of it.
func refuse(t *testing.T, cfg Config, words ...string) {
	t.Helper()
	s, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
	if err == nil {
		_ = s.Close()
		t.Fatal("the store opened")
	}
	for _, w := range append(words, cfg.Dir) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cfg := testConfig(vfs.Default)
	cfg.Dir = filepath.Join(t.TempDir(), "made", "on", "the", "way")
	s := mustOpen(t, cfg)
	refuse(t, cfg, "another process", "another data folder")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other := cfg
	other.Partitions = 16
	refuse(t, other, "8 partitions", "16 are configured", "move the folder away")
	// It was refused, not spoilt.
	if err := mustOpen(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}

	bad := cfg
	bad.Retain = 0
	if _, err := Open(bad, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "retain") {
		t.Errorf("open with a bad configuration: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(file, "store")
	refuse(t, cfg, "make the folder")
}

func TestOpenRefusesAnUnwritableFolder(t *testing.T) {
	cfg := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, "LOCK") {
			return &os.PathError{Op: "open", Path: op.Path, Err: os.ErrPermission}
		}
		return nil
	})))
	refuse(t, cfg, "cannot be written")
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	s := mustOpen(t, cfg)
	if err := s.db.Set(layoutKey(), []byte{layoutVersion + 1, 0, 8}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refuse(t, cfg, "its format is not 2", "move the folder away")
}

func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	reg := prometheus.NewRegistry()
	cfg := testConfig(vfs.NewMem())
	s, err := Open(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	following := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		var once sync.Once
		ended <- s.Follow(context.Background(), make([]store.Place, 8), func(store.Round) error {
			once.Do(func() { close(following) })
			return nil
		})
	}()
	<-following
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Errorf("follow ended with %v", err)
	}
	ctx := t.Context()
	_, claim := s.Claim(ctx, nil)
	_, apply := s.Apply(ctx, &store.Batch{To: store.Cursor{Seq: 1}})
	_, cursors := s.Cursors(ctx, store.Source{})
	_, read := s.Read(ctx, 0, store.Place{}, 1, 1)
	_, _, bounds := s.Bounds(ctx)
	_, contact := s.Contact(ctx, "", "")
	_, forget := s.Forget(ctx, "", "")
	follow := s.Follow(ctx, make([]store.Place, 8), nil)
	for i, err := range []error{claim, apply, cursors, read, bounds, contact, forget, follow} {
		if !errors.Is(err, errClosed) {
			t.Errorf("call %d after Close: %v", i, err)
		}
	}
	// The folder and the metrics are free again.
	s, err = Open(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBadCalls(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	ctx := t.Context()
	to := store.Cursor{Seq: 1, Hash: 1}
	for name, b := range map[string]*store.Batch{
		"no such partition": {Partition: 8, To: to},
		"below none":        {Partition: -1, To: to},
		"no cursor":         {Partition: 1},
	} {
		if _, err := s.Apply(ctx, b); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	if _, err := s.Read(ctx, 8, store.Place{}, 1, 1); err == nil {
		t.Error("read a partition that is not there")
	}
	if err := s.Follow(ctx, nil, nil); err == nil {
		t.Error("followed from too few places")
	}
}

// TestDiskFails: what is not on disk is not said to be, and the failure is told
// once; nothing hangs that is called after it.
func TestDiskFails(t *testing.T) {
	var failing errorfs.Toggle
	failing.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return errors.New("input/output error")
		}
		return nil
	})
	fatal := make(chan error, 8)
	cfg := testConfig(errorfs.Wrap(vfs.NewMem(), &failing))
	cfg.OnFatal = func(err error) { fatal <- err }
	s, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := s.Apply(ctx, &store.Batch{To: store.Cursor{Seq: 1, Hash: 1}}); err != nil {
		t.Fatal(err)
	}
	failing.On()
	answered := make(chan error, 1)
	go func() {
		_, err := s.Cursors(ctx, store.Source{})
		answered <- err
	}()
	if err := <-fatal; !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("told of %v", err)
	}
	select {
	case err := <-answered:
		if err == nil {
			t.Error("Cursors told what is not durable")
		}
	default: // it never returns: the process ends
	}
	if _, err := s.Apply(ctx, &store.Batch{Partition: 1, To: store.Cursor{Seq: 1, Hash: 1}}); !errors.Is(err, errFailed) {
		t.Errorf("apply after the failure: %v", err)
	}
	for range 2 {
		if err := s.Close(); !errors.Is(err, errFailed) {
			t.Errorf("close after the failure: %v", err)
		}
	}
	if len(fatal) != 0 {
		t.Error("the failure was told twice")
	}
}

// TestFatalNeverReturns: Pebble would go on as if all were well.
func TestFatalNeverReturns(t *testing.T) {
	fatal := make(chan error, 1)
	cfg := testConfig(vfs.NewMem())
	cfg.OnFatal = func(err error) { fatal <- err }
	s, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	returned := make(chan struct{})
	go func() {
		pebbleLogger{store: s}.Fatalf("MANIFEST sync failed: %v", os.ErrInvalid)
		close(returned)
	}()
	if err := <-fatal; !strings.Contains(err.Error(), os.ErrInvalid.Error()) {
		t.Errorf("told of %v", err)
	}
	if err := s.Close(); !errors.Is(err, errFailed) {
		t.Errorf("close after the failure: %v", err)
	}
	select {
	case <-returned:
		t.Error("Fatalf returned")
	default:
	}
}

// TestEarlierStore wants the ids of a store that was here before told apart.
func TestEarlierStore(t *testing.T) {
	before := uint64(time.Now().UnixMilli())
	s := mustOpen(t, testConfig(vfs.NewMem()))
	t.Cleanup(func() { _ = s.Close() })
	bounds, _, err := s.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p, b := range bounds {
		if b.Trimmed.Ms < before || b.Last != b.Trimmed {
			t.Errorf("partition %d holds %v in a store made at %d", p, b, before)
		}
	}
}
