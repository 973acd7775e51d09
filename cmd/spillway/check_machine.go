package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"spillway/cmd/spillway/config"
	"spillway/dispatch/store/redis"
	"spillway/wal"
)

const (
	// probeWrites of probeBytes each are synced to learn what the disk takes for
	// one; above slowSync a single sender waits noticeably for each webhook.
	probeWrites, probeBytes = 16, 4096
	slowSync                = 50 * time.Millisecond
	// soonExpired is when a certificate should have been renewed.
	soonExpired = 14 * 24 * time.Hour
	// otherFiles are the descriptors that are neither connections nor sockets:
	// those of the log and the store, mostly.
	otherFiles = 512
)

// checkDisk tests the folder of the data, or where there is none yet, the
// folder it will be made in.
func checkDisk(c config.Config) []finding {
	folder, detail := existing(c.Data), c.Data
	if folder != c.Data {
		detail += " will be made in " + folder
	}
	median, slowest, err := probeSync(folder)
	if err != nil {
		return []finding{fail("data", "%s: cannot be written: %v", detail, err)}
	}
	all := []finding{checkTaken(c, detail)}
	latency := fmt.Sprintf("a synced write takes %s, the slowest of %d %s",
		median.Round(10*time.Microsecond), probeWrites, slowest.Round(10*time.Microsecond))
	if median > slowSync {
		all = append(all, warn("disk", "%s: every webhook waits for one", latency))
	} else {
		all = append(all, ok("disk", "%s", latency))
	}
	usage, err := vfs.Default.GetDiskUsage(folder)
	free := config.Size(usage.AvailBytes)
	switch {
	case err != nil:
		all = append(all, fail("log.min_free", "free space is not known: %v", err))
	case free < c.Log.MinFree:
		all = append(all, fail("log.min_free", "%s free, less than %s: webhooks would be refused", mebibytes(free), c.Log.MinFree))
	case free < c.Log.MaxBytes:
		all = append(all, warn("log.max_bytes", "%s free, less than %s: the disk would be full before the log is", mebibytes(free), c.Log.MaxBytes))
	default:
		all = append(all, ok("log.max_bytes", "%s free, %s at most for the log", mebibytes(free), c.Log.MaxBytes))
	}
	return all
}

// checkFailover tests the folder to write to while the disk of the log stalls.
func checkFailover(c config.Config) []finding {
	const name = "log.failover_dir"
	if c.Log.FailoverDir == "" {
		return nil
	}
	folder, detail := existing(c.Log.FailoverDir), c.Log.FailoverDir
	if folder != c.Log.FailoverDir {
		detail += " will be made in " + folder
	}
	median, slowest, err := probeSync(folder)
	if err != nil {
		return []finding{fail(name, "%s: cannot be written: %v", detail, err)}
	}
	if err := wal.CheckFailoverDir(logConfig(c)); err != nil {
		return []finding{fail(name, "%s", strings.TrimPrefix(err.Error(), name+": "))}
	}
	latency := fmt.Sprintf("a synced write takes %s, the slowest of %d %s",
		median.Round(10*time.Microsecond), probeWrites, slowest.Round(10*time.Microsecond))
	switch {
	case sameDisk(folder, existing(c.Data)):
		return []finding{warn(name, "%s is on the disk of data: it stalls when that does", detail)}
	case median > slowSync:
		return []finding{warn(name, "%s: %s: slow for a disk that is to help out", detail, latency)}
	}
	return []finding{ok(name, "%s: %s", detail, latency)}
}

// sameDisk reports whether two files are on the same file system.
func sameDisk(a, b string) bool {
	var statA, statB syscall.Stat_t
	return syscall.Stat(a, &statA) == nil && syscall.Stat(b, &statB) == nil && statA.Dev == statB.Dev
}

const (
	// redisTimeout bounds the test of Redis.
	redisTimeout = 5 * time.Second
	// shortRetain is less than it may take to find and mend a Redis that lost data.
	shortRetain = time.Hour
)

// checkRedis tests the servers. One that does not answer is no failure: serve takes
// webhooks without it.
func checkRedis(c config.Config) []finding {
	const name = "redis"
	if len(c.Redis.Addrs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
	defer cancel()
	report, err := redis.Inspect(ctx, redisConfig(c))
	switch {
	case redis.IsMismatch(err):
		return []finding{fail(name, "%v", err)}
	case err != nil:
		return []finding{warn(name, "%s: %v: webhooks would be taken, and dispatched once it answers", storeName(c), err)}
	}
	var all []finding
	for _, text := range report.Warnings {
		all = append(all, warn(name, "%s", text))
	}
	if c.Log.Retain < shortRetain {
		all = append(all, warn("log.retain", "%s: what Redis loses is applied again from the log, which keeps no more than that", c.Log.Retain))
	}
	state := "a new store will be made there"
	if report.Made {
		state = "holds a store of this layout"
	}
	return append(all, ok(name, "%s: %s", storeName(c), state))
}

// checkTaken tries the log's lock. A folder in use is no failure: it may be a
// running serve that uses it.
func checkTaken(c config.Config, detail string) finding {
	folder := logConfig(c).Dir
	if _, err := os.Stat(folder); err != nil {
		return ok("data", "%s is writable", detail)
	}
	lock, err := pebble.LockDirectory(folder, vfs.Default)
	if err != nil {
		return warn("data", "%s is in use by another process; is Spillway running already?", detail)
	}
	if err := lock.Close(); err != nil {
		return fail("data", "%s: %v", detail, err)
	}
	return ok("data", "%s is writable", detail)
}

func mebibytes(s config.Size) config.Size { return s / config.MiB * config.MiB }

// existing gives the folder itself or the nearest one above it that exists.
func existing(folder string) string {
	for {
		if _, err := os.Stat(folder); err == nil || folder == filepath.Dir(folder) {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// probeSync writes to a file of its own in the folder, and removes it.
func probeSync(folder string) (median, slowest time.Duration, err error) {
	file, err := os.CreateTemp(folder, ".spillway-check-*")
	if err != nil {
		return 0, 0, reason(err)
	}
	defer func() {
		err = errors.Join(err, file.Close(), os.Remove(file.Name()))
	}()
	block := make([]byte, probeBytes)
	taken := make([]time.Duration, 0, probeWrites)
	for range probeWrites {
		start := time.Now()
		if _, err := file.Write(block); err != nil {
			return 0, 0, reason(err)
		}
		if err := file.Sync(); err != nil {
			return 0, 0, reason(err)
		}
		taken = append(taken, time.Since(start))
	}
	slices.Sort(taken)
	return taken[len(taken)/2], taken[len(taken)-1], nil
}

// reason is what the system said, without the path.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func checkTLS(t config.TLS) []finding {
	if !t.Enabled() {
		return []finding{ok("tls", "off: Meta needs HTTPS, so end TLS in front of listen")}
	}
	var all []finding
	if pair, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		all = append(all, fail("tls.cert", "%v", err))
	} else {
		all = append(all, checkDates("tls.cert", pair.Leaf, time.Now()))
	}
	if t.ClientCA == "" {
		return all
	}
	text, err := os.ReadFile(t.ClientCA)
	switch {
	case err != nil:
		all = append(all, fail("tls.client_ca", "%v", err))
	case !x509.NewCertPool().AppendCertsFromPEM(text):
		all = append(all, fail("tls.client_ca", "%s holds no certificate in PEM", t.ClientCA))
	default:
		all = append(all, ok("tls.client_ca", "webhooks need a client certificate of %s", t.ClientName))
	}
	return all
}

func checkDates(name string, certificate *x509.Certificate, now time.Time) finding {
	from, until := certificate.NotBefore.UTC().Format(time.DateOnly), certificate.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.After(certificate.NotAfter):
		return fail(name, "expired on %s", until)
	case now.Before(certificate.NotBefore):
		return fail(name, "is not valid before %s", from)
	case certificate.NotAfter.Sub(now) < soonExpired:
		return warn(name, "expires on %s", until)
	}
	return ok(name, "valid until %s", until)
}

// checkAddress tries to listen. An address in use is no failure: it may be a
// running serve that uses it.
func checkAddress(name, address string) finding {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return warn(name, "%s is in use; is Spillway running already?", address)
	case err != nil:
		return fail(name, "%v", err)
	}
	_ = listener.Close()
	return ok(name, "%s is free", address)
}

// checkFiles compares the limit on open files with all that may be open.
func checkFiles(c config.Config) finding {
	const name = "open files"
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return warn(name, "the limit is not known: %v", err)
	}
	needed := uint64(c.Limits.Connections + c.Stream.Sockets + otherFiles)
	if have := uint64(limit.Cur); have < needed {
		return warn(name, "the limit is %d; limits.connections and stream.sockets may need %d: raise `ulimit -n`, or lower them", have, needed)
	}
	return ok(name, "the limit is enough for %d", needed)
}
