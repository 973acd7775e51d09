package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

func startSentinel(t *testing.T, replicas int) (*localredis.Sentinel, redisAt) {
	t.Helper()
	sentinel, err := localredis.StartSentinel(t.Context(), replicas, localredis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sentinel.Stop(); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
	return sentinel, redisAt{addrs: sentinel.Addrs(), master: sentinel.Master()}
}

func startCluster(t *testing.T) (*localredis.Cluster, redisAt) {
	t.Helper()
	return startClusterOf(t, localredis.Options{})
}

func startClusterOf(t *testing.T, opts localredis.Options) (*localredis.Cluster, redisAt) {
	t.Helper()
	cluster, err := localredis.StartCluster(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
	return cluster, redisAt{addrs: cluster.Addrs()}
}

// slotOf is the slot of a partition's keys.
func slotOf(t *testing.T, r *rig, partition int) int {
	t.Helper()
	slot, err := r.client.ClusterKeySlot(t.Context(), rigStream(partition)).Result()
	if err != nil {
		t.Fatal(err)
	}
	return int(slot)
}

// TestRedisSentinelFailover kills the primary under load; a replica takes over,
// and the old primary comes back as one.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel, at := startSentinel(t, 1)
	r := newRig(t, at, 2)
	r.load()
	for i := range rounds(1, 5) {
		time.Sleep(time.Second)
		old, err := sentinel.CurrentMaster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		old.Kill()
		within, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := sentinel.NextMaster(within, old); err != nil {
			t.Fatal(err)
		}
		cancel()
		if i+1 < rounds(1, 5) {
			rejoin(t, sentinel, old)
		}
	}
	time.Sleep(time.Second)
	r.verify()
}

// rejoin starts an old primary again and waits until one of the two is a replica in
// step with the other. Which of them the Sentinels settle on is theirs: they may
// take the old one back where it returns as they fail over.
func rejoin(t *testing.T, sentinel *localredis.Sentinel, old *localredis.Server) {
	t.Helper()
	restart(t, old)
	deadline := time.Now().Add(time.Minute)
	for {
		var state []string
		for _, server := range sentinel.Servers {
			client := server.Client()
			role, err := client.Do(t.Context(), "role").Slice()
			_ = client.Close()
			if err == nil && len(role) > 3 && role[0] == "slave" && role[3] == "connected" {
				return
			}
			state = append(state, fmt.Sprint(role, err))
		}
		if time.Now().After(deadline) {
			t.Fatalf("no replica: %v", state)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestRedisClusterFailover kills a primary of a Cluster under load: the other
// shards go on meanwhile, and its replica takes over.
func TestRedisClusterFailover(t *testing.T) {
	t.Parallel()
	cluster, at := startCluster(t)
	r := newRig(t, at, 2)
	r.load()
	for range rounds(1, 5) {
		time.Sleep(time.Second)
		slot := slotOf(t, r, rand.IntN(rigPartitions))
		old, err := cluster.PrimaryOfSlot(t.Context(), slot)
		if err != nil {
			t.Fatal(err)
		}
		old.Kill()
		within, cancel := context.WithTimeout(t.Context(), time.Minute)
		next, err := cluster.NextPrimary(within, slot, old)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		restart(t, old)
		for {
			replicas, err := cluster.Replicas(within, next)
			if within.Err() != nil {
				t.Fatal(err)
			}
			if err == nil && len(replicas) > 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
	}
	time.Sleep(500 * time.Millisecond)
	r.verify()
}

// TestRedisSlotMoves moves partitions to another node of a Cluster under load,
// with a stay half-way: then some keys of a slot are here and some there.
func TestRedisSlotMoves(t *testing.T) {
	t.Parallel()
	cluster, at := startCluster(t)
	r := newRig(t, at, 2)
	r.load()
	for range rounds(4, 40) {
		time.Sleep(200 * time.Millisecond)
		slot := slotOf(t, r, rand.IntN(rigPartitions))
		from, err := cluster.PrimaryOfSlot(t.Context(), slot)
		if err != nil {
			t.Fatal(err)
		}
		to := cluster.Servers[rand.IntN(3)]
		if to == from {
			continue
		}
		halfWay := func() error { time.Sleep(300 * time.Millisecond); return nil }
		if err := cluster.MoveSlot(t.Context(), slot, from, to, halfWay); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(500 * time.Millisecond)
	r.verify()
}
