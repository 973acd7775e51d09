package localredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

func startCluster(t *testing.T, opts Options) *Cluster {
	t.Helper()
	c, err := StartCluster(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func clusterClient(t *testing.T, c *Cluster) *goredis.ClusterClient {
	client := goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: c.Addrs(), Username: c.Servers[0].opts.Username, Password: c.Servers[0].opts.Password,
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// TestClusterFailsOver kills a primary, and brings it back as a replica.
func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := startCluster(t, Options{AppendOnly: true})
	const slot = slots - 1
	old, err := c.PrimaryOfSlot(ctx, slot)
	if err != nil || old != c.Servers[shards-1] {
		t.Fatalf("the primary is %v, %v", old, err)
	}
	replicas, err := c.Replicas(ctx, old)
	if err != nil || !slices.Equal(replicas, c.Servers[2*shards-1:]) {
		t.Fatalf("the replicas are %v, %v", replicas, err)
	}
	old.Kill()
	next, err := c.NextPrimary(ctx, slot, old)
	if err != nil || next != replicas[0] {
		t.Fatalf("the next primary is %v, %v", next, err)
	}
	if err := old.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	err = await(ctx, "the old primary to follow", func() error {
		replicas, err := c.Replicas(ctx, next)
		if err == nil && !slices.Contains(replicas, old) {
			err = fmt.Errorf("replicas are %v", replicas)
		}
		return errors.Join(err, old.linked(ctx))
	})
	if err != nil {
		t.Error(err)
	}
}

// TestMoveSlot moves a slot with more keys than two batches, and looks at it
// half-way.
func TestMoveSlot(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	c := startCluster(t, Options{Username: "spillway", Password: "secret"})
	client := clusterClient(t, c)
	slot, err := client.ClusterKeySlot(ctx, "{tag}").Result()
	if err != nil {
		t.Fatal(err)
	}
	const keys = 501
	for i := range keys {
		if err := client.Set(ctx, fmt.Sprintf("{tag}%d", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	from, err := c.PrimaryOfSlot(ctx, int(slot))
	if err != nil {
		t.Fatal(err)
	}
	to := c.Servers[(slices.Index(c.Servers, from)+1)%shards]
	called := false
	err = c.MoveSlot(ctx, int(slot), from, to, func() error {
		called = true
		wantKeys(t, slot, map[*Server]int64{from: keys - keys/2, to: keys / 2})
		return readAll(ctx, client, keys)
	})
	if err != nil || !called {
		t.Fatalf("called %v, %v", called, err)
	}
	wantKeys(t, slot, map[*Server]int64{from: 0, to: keys})
	if now, err := c.PrimaryOfSlot(ctx, int(slot)); now != to {
		t.Errorf("the primary is %v, %v", now, err)
	}
	if err := readAll(ctx, client, keys); err != nil {
		t.Error(err)
	}
	stop := errors.New("stop")
	if err := c.MoveSlot(ctx, int(slot), to, from, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a move that was to end: %v", err)
	}
	if err := c.MoveSlot(ctx, int(slot), from, to, nil); err == nil {
		t.Error("a slot was moved from where it is not")
	}
}

func wantKeys(t *testing.T, slot int64, want map[*Server]int64) {
	t.Helper()
	for s, n := range want {
		got, err := clientOf(t, s).ClusterCountKeysInSlot(t.Context(), int(slot)).Result()
		if got != n || err != nil {
			t.Errorf("%s has %d keys of slot %d, want %d, %v", s.Addr(), got, slot, n, err)
		}
	}
}

func readAll(ctx context.Context, client *goredis.ClusterClient, keys int) error {
	for i := range keys {
		got, err := client.Get(ctx, fmt.Sprintf("{tag}%d", i)).Int()
		if err != nil || got != i {
			return fmt.Errorf("key %d is %d, %w", i, got, err)
		}
	}
	return nil
}
