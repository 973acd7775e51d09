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

// The first version that has all commands in use: SMISMEMBER, XTRIM MINID and
// ranges without their ends are of 6.2.
const minMajor, minMinor = 6, 2

// IsMismatch reports whether an error means that the servers are too old or hold
// a store of another layout, so that trying again is in vain.
func IsMismatch(err error) bool { return errors.Is(err, errLayout) || errors.Is(err, errVersion) }

// ensure checks the server's version and the layout, once and again after an
// emptied store was found; it writes the layout where there is none.
func (s *Store) ensure(ctx context.Context) error {
	if s.verified.Load() {
		return nil
	}
	select {
	case s.verify <- struct{}{}:
		defer func() { <-s.verify }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.verified.Load() {
		return nil
	}
	err := s.checkVersion(ctx)
	if err == nil {
		err = s.checkLayout(ctx)
	}
	if err != nil {
		if s.opened.Load() && IsMismatch(err) {
			s.fatal.Do(func() { s.cfg.OnFatal(err) })
		}
		return err
	}
	s.verified.Store(true)
	return nil
}

// checkLayout writes the layout where there is none, and compares it.
func (s *Store) checkLayout(ctx context.Context) error {
	text, err := json.Marshal(s.layout())
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	if err := s.client.SetNX(ctx, layoutKey(s.cfg.Prefix), text, 0).Err(); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	_, err = s.compareLayout(ctx)
	return err
}

func (s *Store) layout() layout {
	return layout{Partitions: s.cfg.Partitions, Buckets: buckets, Hash: hashVersion}
}

// compareLayout compares the layout with the one stored, if any.
func (s *Store) compareLayout(ctx context.Context) (found bool, err error) {
	key, mine := layoutKey(s.cfg.Prefix), s.layout()
	stored, err := s.client.Get(ctx, key).Result()
	if errors.Is(err, goredis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read layout: %w", err)
	}
	var theirs layout
	if err := json.Unmarshal([]byte(stored), &theirs); err != nil {
		return true, fmt.Errorf("%w: %s is not what this program wrote: choose another redis.prefix", errLayout, key)
	}
	switch {
	case theirs.Partitions != mine.Partitions:
		return true, fmt.Errorf("%w: %s was made with redis.partitions: %d, and the setting is %d: set it to %d, or choose another redis.prefix for a new store",
			errLayout, key, theirs.Partitions, mine.Partitions, theirs.Partitions)
	case theirs != mine:
		return true, fmt.Errorf("%w: %s says %s, and this version has %+v: run the version that made it, or choose another redis.prefix for a new store",
			errLayout, key, stored, mine)
	}
	return true, nil
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
	if version := infoField(info, "redis_version"); isTooOld(version) {
		return fmt.Errorf("%w: it is Redis %s, and %d.%d is needed", errVersion, version, minMajor, minMinor)
	}
	return nil
}

// isTooOld takes a version that it cannot read for new enough.
func isTooOld(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errMajor := strconv.Atoi(major)
	b, errMinor := strconv.Atoi(minor)
	if errMajor != nil || errMinor != nil {
		return false
	}
	return a < minMajor || a == minMajor && b < minMinor
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
