package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
)

// TestRedisLaggingReplica cuts a replica off, goes on loading the primary, and then
// lets the replica's data take the primary's place, as a failover does.
func TestRedisLaggingReplica(t *testing.T) {
	t.Parallel()
	primaryDir, replicaDir := t.TempDir(), t.TempDir()
	primary := startRedis(t, localredis.Options{Dir: primaryDir})
	proxy, err := localredis.StartProxy(primary.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	replica := startRedis(t, localredis.Options{Dir: replicaDir, ReplicaOf: proxy.Addr()})
	behind := replica.Client()
	defer func() { _ = behind.Close() }()
	r := newRig(t, single(primary), 2)
	r.load()
	for range rounds(1, 5) {
		proxy.Restore()
		waitInStep(t, behind)
		time.Sleep(500 * time.Millisecond)
		proxy.Cut()
		time.Sleep(700 * time.Millisecond)
		if err := behind.Save(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		primary.Kill()
		const dump = "data/dump.rdb"
		data, err := os.ReadFile(filepath.Join(replicaDir, dump))
		if err == nil {
			err = os.WriteFile(filepath.Join(primaryDir, dump), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		restart(t, primary)
	}
	time.Sleep(500 * time.Millisecond)
	r.verify()
	if r.rewinds() == 0 {
		t.Error("no rewinds")
	}
}

// waitInStep waits until a replica has its primary's data.
func waitInStep(t *testing.T, replica *goredis.Client) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		role, err := replica.Do(t.Context(), "role").Slice()
		if err == nil && len(role) > 3 && role[3] == "connected" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no replica in step: %v %v", role, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestRedisShardLosesSuffix lets one shard of a Cluster lose what it had after it
// was last told to save, primary and replica at once; the other shards lose nothing.
func TestRedisShardLosesSuffix(t *testing.T) {
	t.Parallel()
	cluster, at := startCluster(t)
	r := newRig(t, at, 2)
	r.load()
	time.Sleep(500 * time.Millisecond)
	primary, err := cluster.PrimaryOfSlot(t.Context(), slotOf(t, r, 0))
	if err != nil {
		t.Fatal(err)
	}
	replicas, err := cluster.Replicas(t.Context(), primary)
	if err != nil || len(replicas) == 0 {
		t.Fatalf("replicas %v: %v", replicas, err)
	}
	client := primary.Client()
	defer func() { _ = client.Close() }()
	if err := client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	for _, replica := range replicas {
		replica.Kill()
	}
	primary.Kill()
	restart(t, primary)
	time.Sleep(500 * time.Millisecond)
	r.verify()
	if r.rewinds() == 0 {
		t.Error("no rewinds")
	}
}

// TestRedisShardAway takes one shard of a Cluster away, primary and replica: its
// partitions wait, and those of the other shards go on, the statuses of customers
// included whose contacts are kept on the shard that is away.
func TestRedisShardAway(t *testing.T) {
	t.Parallel()
	cluster, at := startClusterOf(t, localredis.Options{AppendOnly: true, Extra: []string{"cluster-require-full-coverage no"}})
	r := newRig(t, at, 1)
	r.load()
	time.Sleep(500 * time.Millisecond)
	gone, err := cluster.PrimaryOfSlot(t.Context(), slotOf(t, r, 0))
	if err != nil {
		t.Fatal(err)
	}
	replicas, err := cluster.Replicas(t.Context(), gone)
	if err != nil || len(replicas) == 0 {
		t.Fatalf("replicas %v: %v", replicas, err)
	}
	var there []int
	for partition := range rigPartitions {
		primary, err := cluster.PrimaryOfSlot(t.Context(), slotOf(t, r, partition))
		if err != nil {
			t.Fatal(err)
		}
		if primary != gone {
			there = append(there, partition)
		}
	}
	if len(there) == 0 || len(there) == rigPartitions {
		t.Fatalf("%d of %d partitions are on other shards", len(there), rigPartitions)
	}
	for _, replica := range replicas {
		replica.Kill()
	}
	gone.Kill()
	// What is appended from here on was acked while the shard was away.
	time.Sleep(2 * time.Second)
	before := make(map[int]int64)
	for _, partition := range there {
		before[partition] = r.statusesIn(partition)
	}
	r.receivers[0].eventually(rigPatience, "statuses in all partitions that are there", func() error {
		for _, partition := range there {
			if n := r.statusesIn(partition); n < before[partition]+10 {
				return fmt.Errorf("partition %d has %d statuses, and had %d", partition, n, before[partition])
			}
		}
		return nil
	})
	restart(t, gone)
	r.verify()
}

// statusesIn counts the statuses in a stream.
func (r *rig) statusesIn(partition int) (n int64) {
	r.t.Helper()
	entries, err := r.client.XRange(context.Background(), rigStream(partition), "-", "+").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Values["type"] == event.MessageStatus {
			n++
		}
	}
	return n
}
