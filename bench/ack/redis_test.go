package ack

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"
)

// TestAwaitNoRewrite: a rewrite of any target's Redis is waited for, as long as
// that may take.
func TestAwaitNoRewrite(t *testing.T) {
	ctx := context.Background()
	server := startRedis(t)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	targets := map[string]*Target{Ceiling: {}, XADD: {Redis: client}}
	if err := awaitNoRewrite(ctx, targets, time.Minute); err != nil {
		t.Fatal(err)
	}

	const keys = 100
	for i := range keys {
		if err := client.Set(ctx, strconv.Itoa(i), "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// Each key of a rewrite takes 10 ms, in all a second.
	if err := client.ConfigSet(ctx, "rdb-key-save-delay", "10000").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.BgRewriteAOF(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if err := awaitNoRewrite(ctx, targets, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a rewrite is not waited for: %v", err)
	}
	if err := awaitNoRewrite(ctx, targets, time.Minute); err != nil {
		t.Error(err)
	}
	if found, err := rewrites(ctx, client); found || err != nil {
		t.Errorf("rewrites: %v, %v", found, err)
	}

	_ = client.Close()
	if err := awaitNoRewrite(ctx, targets, time.Minute); err == nil {
		t.Error("a server that cannot be asked is taken to rewrite nothing")
	}
}
