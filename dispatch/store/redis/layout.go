package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// layout is what a store is made with, and cannot be changed.
type layout struct {
	Partitions int    `json:"partitions"`
	Buckets    int    `json:"buckets"`
	Hash       string `json:"hash"`
}

var (
	errLayout  = errors.New("the store has another layout")
	errVersion = errors.New("the server is too old")
)

// minVersion is the first that has all commands in use: SMISMEMBER, XTRIM MINID
// and ranges without their ends are of 6.2.
const minMajor, minMinor = 6, 2

// ensure checks the server's version and the layout, once and again after an
// emptied store was found; it writes the layout where there is none.
func (s *Store) ensure(ctx context.Context) error {
	if s.verified.Load() {
		return nil
	}
	s.verify.Lock()
	defer s.verify.Unlock()
	if s.verified.Load() {
		return nil
	}
	if err := s.checkVersion(ctx); err != nil {
		return err
	}
	if err := s.checkLayout(ctx); err != nil {
		if s.opened.Load() && errors.Is(err, errLayout) {
			s.fatal.Do(func() { s.cfg.OnFatal(err) })
		}
		return err
	}
	s.verified.Store(true)
	return nil
}

func (s *Store) checkLayout(ctx context.Context) error {
	mine := layout{Partitions: len(s.partitions), Buckets: buckets, Hash: hashVersion}
	text, err := json.Marshal(mine)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	key := layoutKey(s.cfg.Prefix)
	if err := s.client.SetNX(ctx, key, text, 0).Err(); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	stored, err := s.client.Get(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("read layout: %w", err)
	}
	var theirs layout
	if err := json.Unmarshal([]byte(stored), &theirs); err != nil {
		return fmt.Errorf("%w: %s is not what this program wrote: choose another redis.prefix", errLayout, key)
	}
	switch {
	case theirs.Partitions != mine.Partitions:
		return fmt.Errorf("%w: %s was made with redis.partitions: %d, and the setting is %d: set it to %d, or choose another redis.prefix for a new store",
			errLayout, key, theirs.Partitions, mine.Partitions, theirs.Partitions)
	case theirs != mine:
		return fmt.Errorf("%w: %s says %s, and this version has %s: run the version that made it, or choose another redis.prefix for a new store",
			errLayout, key, stored, text)
	}
	return nil
}

// checkVersion refuses a server that says it is too old. One that may not be asked
// is taken.
func (s *Store) checkVersion(ctx context.Context) error {
	info, err := s.client.Info(ctx, "server").Result()
	var refused goredis.Error
	if errors.As(err, &refused) && strings.HasPrefix(refused.Error(), "NOPERM") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask server: %w", err)
	}
	version := infoField(info, "redis_version")
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errMajor := strconv.Atoi(major)
	b, errMinor := strconv.Atoi(minor)
	if errMajor != nil || errMinor != nil {
		return nil
	}
	if a < minMajor || a == minMajor && b < minMinor {
		return fmt.Errorf("%w: it is Redis %s, and %d.%d is needed", errVersion, version, minMajor, minMinor)
	}
	return nil
}

// infoField is a field of what INFO answers.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
