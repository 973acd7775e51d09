package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

// shardOf is the primary that has a partition, and its slot.
func shardOf(t testing.TB, c *localredis.Cluster, s *Store, partition int) (*localredis.Server, int) {
	t.Helper()
	client := c.Servers[0].Client()
	defer func() { _ = client.Close() }()
	slot, err := client.ClusterKeySlot(t.Context(), s.partitions[partition].keys.events).Result()
	if err != nil {
		t.Fatal(err)
	}
	primary, err := c.PrimaryOfSlot(t.Context(), int(slot))
	if err != nil {
		t.Fatal(err)
	}
	return primary, int(slot)
}

// elsewhere is a partition that another shard has.
func elsewhere(t testing.TB, c *localredis.Cluster, s *Store, primary *localredis.Server) int {
	t.Helper()
	for p := range s.partitions {
		if other, _ := shardOf(t, c, s, p); other != primary {
			return p
		}
	}
	t.Fatal("one shard has all partitions")
	return 0
}

// TestDeliveriesMove moves a slot with what waits from one shard to another: a
// settlement half-way takes effect whole or not at all, and nothing is overlooked.
func TestDeliveriesMove(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, localredis.Options{})
	s := mustOpen(t, testConfig(cluster.Addrs()...))
	lease := mustAcquire(t, s, crm, "a")
	all := park(t, s, &lease, 600)
	from, slot := shardOf(t, cluster, s, crm.Partition)
	to, _ := shardOf(t, cluster, s, elsewhere(t, cluster, s, from))
	more := parked(lease.Cursor.Seq, 1)
	change := store.Settlement{
		Share: crm, Token: lease.Token, From: lease.Cursor, To: more[0].Place, Park: more, Done: []store.Place{all[0].Place},
	}
	var half error
	settle := func() error { half = s.Settle(t.Context(), change); return nil }
	// After the first page the shard is another one.
	var got []store.Parked
	err := s.Waiting(t.Context(), lease, func(some []store.Parked) error {
		if len(got) == 0 {
			if err := cluster.MoveSlot(t.Context(), slot, from, to, settle); err != nil {
				return err
			}
		}
		got = append(got, some...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if half != nil {
		t.Logf("half-way: %v", half)
		if err := s.Settle(t.Context(), change); err != nil {
			t.Errorf("settle after the slot moved: %v", err)
		}
	} else if len(got) == 601 {
		got = got[:600]
	}
	if len(got) != 600 {
		t.Errorf("%d wait while the slot moves, want 600", len(got))
	}
	if left := whatWaits(t, s, lease); len(left) != 600 || left[0].Place != all[1].Place || left[599].Place != more[0].Place {
		t.Errorf("%d wait after the slot moved", len(left))
	}
}

// TestRenewWhileShardHangs: the leases of other shards are renewed in time, and those
// of the one that hangs are named.
func TestRenewWhileShardHangs(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, localredis.Options{Extra: []string{"cluster-require-full-coverage no"}})
	s := mustOpen(t, testConfig(cluster.Addrs()...))
	gone, _ := shardOf(t, cluster, s, crm.Partition)
	other := store.Share{Endpoint: "crm", Partition: elsewhere(t, cluster, s, gone)}
	leases := []store.Lease{mustAcquire(t, s, crm, "a"), mustAcquire(t, s, other, "a"), mustAcquire(t, s, other, "a")}
	if _, err := s.Renew(t.Context(), leases, time.Minute); err != nil { // all shards know the script then
		t.Fatal(err)
	}
	replicas, err := cluster.Replicas(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range append(replicas, gone) {
		if err := server.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*lookUpTimeout)
		renewed, err := s.Renew(ctx, leases, time.Minute)
		cancel()
		var partial *store.PartitionsError
		if !errors.As(err, &partial) || len(partial.Missing) != 1 || partial.Missing[crm.Partition] == nil {
			t.Fatalf("renew: %v", err)
		}
		if renewed[0].Err == nil || !errors.Is(renewed[1].Err, store.ErrFenced) || renewed[2].Err != nil {
			t.Errorf("renewed %+v", renewed)
		}
	}
	if n, err := s.Renew(t.Context(), leases[:1], time.Minute); err == nil || n[0].Err == nil {
		t.Errorf("renew what hangs alone: %+v, %v", n, err)
	}
	for _, server := range append(replicas, gone) {
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all leases are renewed", func() bool {
		renewed, err := s.Renew(t.Context(), leases, time.Minute)
		return err == nil && renewed[0].Err == nil && renewed[2].Err == nil
	})
}
