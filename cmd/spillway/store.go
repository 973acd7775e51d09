package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/cmd/spillway/config"
	"spillway/dispatch/store"
	"spillway/dispatch/store/embedded"
	"spillway/dispatch/store/redis"
)

// eventStore is all that is used of a store.
type eventStore interface {
	store.Store
	store.Feed
	store.Contacts
	store.Deliveries
	// Window is the dedupe.window that what it holds was seen under.
	Window() time.Duration
	Close() error
}

// storeOptions are what of a store is not in the config.
type storeOptions struct {
	// keepAll: nothing is let go for its age or number, by one who may not know
	// the settings that the store is run with.
	keepAll bool
	// onFatal is called once, when the store can do no more.
	onFatal func(error)
}

// openStore opens the store that the config names: Redis where it has addresses.
func openStore(ctx context.Context, cfg config.Config, o storeOptions, logger *slog.Logger, reg prometheus.Registerer) (eventStore, error) {
	if len(cfg.Redis.Addrs) > 0 {
		c := redisConfig(cfg)
		c.OnFatal = o.onFatal
		return opened(redis.Open(ctx, c, logger, reg))
	}
	c := storeConfig(cfg)
	c.NoExpiry, c.OnFatal = o.keepAll, o.onFatal
	figures := newPebbleFigures("store")
	c.OnStall = figures.onStall
	s, err := embedded.Open(c, logger, reg)
	if err != nil {
		return nil, err
	}
	figures.read = s.PebbleMetrics
	if reg == nil {
		return s, nil
	}
	if err := reg.Register(figures); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// opened keeps a nil store from becoming an interface that is not nil.
func opened[S eventStore](s S, err error) (eventStore, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// storeName says where the store is, without secrets.
func storeName(cfg config.Config) string {
	if len(cfg.Redis.Addrs) == 0 {
		return storeConfig(cfg).Dir
	}
	r := cfg.Redis
	name := "redis " + strings.Join(r.Addrs, ",")
	if r.Master != "" {
		name += " master " + r.Master
	}
	return name + " " + r.Prefix
}

func storeConfig(cfg config.Config) embedded.Config {
	c := embedded.DefaultConfig()
	c.Dir = filepath.Join(cfg.Data, "store")
	c.Partitions = cfg.Redis.Partitions
	c.Window, c.ContactTTL = cfg.Dedupe.Window, cfg.Contacts.TTL
	c.Retain, c.RetainBytes = int64(cfg.Stream.Retain), int64(cfg.Stream.RetainBytes)
	return c
}

func redisConfig(cfg config.Config) redis.Config {
	c := redis.DefaultConfig()
	r := cfg.Redis
	c.Addrs, c.Master, c.Username, c.Password, c.DB, c.TLS = r.Addrs, r.Master, r.Username, r.Password, r.DB, r.TLS
	c.Prefix, c.Partitions = r.Prefix, r.Partitions
	c.Window, c.ContactTTL = cfg.Dedupe.Window, cfg.Contacts.TTL
	c.Retain, c.RetainBytes = int64(cfg.Stream.Retain), int64(cfg.Stream.RetainBytes)
	return c
}

// storeNote is the file in DATA that names the Redis which a receiver dispatched
// to, for those who look at the log without its config.
const storeNote = "STORE"

// noteStore writes the note, or removes it where the store is the one in DATA.
func noteStore(cfg config.Config) error {
	file := filepath.Join(cfg.Data, storeNote)
	if len(cfg.Redis.Addrs) > 0 {
		return os.WriteFile(file, []byte(storeName(cfg)+"\n"), 0o600)
	}
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// checkNote refuses to dispatch the log of a receiver with a Redis to the store in
// its folder, for want of its config.
func checkNote(cfg config.Config, data string) error {
	note, err := os.ReadFile(filepath.Join(data, storeNote))
	if err != nil || len(cfg.Redis.Addrs) > 0 || realPath(cfg.Data) != realPath(data) {
		return nil // a note that cannot be read is none
	}
	return fmt.Errorf("the receiver of %s dispatched to %s: give its file with --config", data, strings.TrimSpace(string(note)))
}
