// Package localredis starts and stops real Redis servers for tests and
// benchmarks: a single one, a primary with replicas under Sentinel, a Cluster,
// and a proxy that disturbs the connections to any of them.
//
// Each server is a redis-server process of its own, on a free loopback port and
// with a folder of its own. None that runs already is ever touched.
package localredis

import (
	"errors"
	"os/exec"
)

// errMissing says what to do where there is no redis-server.
var errMissing = errors.New("redis-server is not on the PATH: install it (apt-get install redis-server, " +
	"apk add redis, dnf install redis, brew install redis); `make test` does so where it can")

// Find returns the path of redis-server. The error says how to install it.
func Find() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errMissing
	}
	return path, nil
}
