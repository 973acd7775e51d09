package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	goredis "github.com/redis/go-redis/v9"

	"spillway/bench/ack"
)

// benchPlace is where a receiver of a benchmark's own keeps what it has.
type benchPlace struct {
	// args start the receiver.
	args []string
	// redis has its keys, under prefix; nil for the embedded store.
	redis  goredis.UniversalClient
	prefix string
	// remove removes all of it.
	remove func() error
}

// makePlace makes a folder in dir, whose name begins as said, for a receiver that
// uses the Redis at these addresses, or none.
func makePlace(dir, begin string, redis []string) (*benchPlace, error) {
	dir, err := os.MkdirTemp(dir, begin)
	if err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	kind := ack.Serve
	if len(redis) > 0 {
		kind = ack.OnRedis
	}
	p := &benchPlace{
		args:   []string{"bench", "target", "--kind", kind, "--data", filepath.Join(dir, "data")},
		remove: func() error { return os.RemoveAll(dir) },
	}
	if len(redis) == 0 {
		return p, nil
	}
	p.redis, p.prefix = benchRedisClient(redis), filepath.Base(dir)
	for _, address := range redis {
		p.args = append(p.args, "--redis", address)
	}
	p.args = append(p.args, "--redis-prefix", p.prefix)
	p.remove = func() error { return errors.Join(removeKeys(p.redis, p.prefix), p.redis.Close(), os.RemoveAll(dir)) }
	return p, nil
}
