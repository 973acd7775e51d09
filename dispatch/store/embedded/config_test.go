package embedded

import (
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default configuration: %v", err)
	}
	tests := map[string]func(*Config){
		"dir":            func(c *Config) { c.Dir = "" },
		"partitions":     func(c *Config) { c.Partitions = 0 },
		"window":         func(c *Config) { c.Window = time.Minute },
		"contact ttl":    func(c *Config) { c.ContactTTL = time.Hour },
		"retain: ":       func(c *Config) { c.Retain = 0 },
		"retain bytes":   func(c *Config) { c.RetainBytes = -1 },
		"cache bytes":    func(c *Config) { c.CacheBytes = -1 },
		"memtable bytes": func(c *Config) { c.MemtableBytes = 1 },
	}
	all := DefaultConfig()
	for name, spoil := range tests {
		c := DefaultConfig()
		spoil(&c)
		spoil(&all)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s spoilt: %v", name, err)
		}
	}
	if got := strings.Count(all.Validate().Error(), "\n") + 1; got != len(tests) {
		t.Errorf("%d mistakes named of %d", got, len(tests))
	}
	all = DefaultConfig()
	all.Partitions, all.Window = maxPartitions+1, maxWindow+1
	if got := strings.Count(all.Validate().Error(), "\n") + 1; got != 2 {
		t.Errorf("%d mistakes named of 2", got)
	}
}
