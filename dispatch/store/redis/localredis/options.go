package localredis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// Options are what a server is started with. The zero value is a server that
// keeps nothing on disk unless asked to with SAVE.
type Options struct {
	// Dir is the server's folder, made where it does not exist and left by Stop;
	// data in it is loaded. Empty for a temporary one that Stop removes.
	Dir string
	// AppendOnly keeps an append-only file, Fsync says how often it is synced:
	// always, everysec, no, or empty for the server's default. A killed server
	// has lost nothing that it wrote: only a machine that stops loses what was
	// not synced.
	AppendOnly bool
	Fsync      string
	// MaxMemory is in bytes, zero for no limit; Policy is what is evicted beyond.
	MaxMemory int64
	Policy    string
	// Username and Password are an ACL user that may do all; the default user is
	// then off. With a Password alone it is the default user's.
	Username string
	Password string
	// CertFile and KeyFile turn TLS on and plain connections off. CertFile is
	// valid for 127.0.0.1, and is what Client trusts.
	CertFile string
	KeyFile  string
	// ReplicaOf is the address of the primary, empty for a primary. It has the same
	// Username and Password.
	ReplicaOf string
	// Extra are lines of configuration, which win over those made of the above.
	Extra []string
}

func (o Options) validate() error {
	switch {
	case !slices.Contains([]string{"", "always", "everysec", "no"}, o.Fsync):
		return fmt.Errorf("fsync %q is not always, everysec or no", o.Fsync)
	case o.Username != "" && o.Password == "":
		return errors.New("a username needs a password")
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("TLS needs a certificate and a key")
	case o.CertFile != "" && o.ReplicaOf != "":
		return errors.New("a replica cannot have TLS here")
	}
	if o.ReplicaOf != "" {
		_, _, err := splitAddress(o.ReplicaOf)
		return err
	}
	return nil
}

// lines are the configuration of a server on port, with its data in dir.
func (o Options) lines(port int, dir string) []string {
	lines := []string{
		"bind " + host,
		"protected-mode no",
		"daemonize no",
		`logfile ""`,
		"dir " + strconv.Quote(dir),
		`save ""`,
		// A failed save is the test's business, not a reason to refuse writes.
		"stop-writes-on-bgsave-error no",
		"repl-diskless-sync yes",
		"repl-diskless-sync-delay 0",
		"repl-ping-replica-period 1",
		"repl-timeout 10",
	}
	lines = append(lines, o.listenLines(port)...)
	lines = append(lines, o.keepLines()...)
	lines = append(lines, o.userLines()...)
	if o.ReplicaOf != "" {
		from, primaryPort, _ := splitAddress(o.ReplicaOf) // validate has seen it
		lines = append(lines, "replicaof "+from+" "+primaryPort)
	}
	return append(lines, o.Extra...)
}

func (o Options) listenLines(port int) []string {
	if o.CertFile == "" {
		return []string{"port " + strconv.Itoa(port)}
	}
	return []string{
		"port 0",
		"tls-port " + strconv.Itoa(port),
		"tls-cert-file " + strconv.Quote(o.CertFile),
		"tls-key-file " + strconv.Quote(o.KeyFile),
		"tls-auth-clients no",
	}
}

func (o Options) keepLines() []string {
	var lines []string
	if o.AppendOnly {
		lines = append(lines, "appendonly yes")
	}
	if o.Fsync != "" {
		lines = append(lines, "appendfsync "+o.Fsync)
	}
	if o.MaxMemory > 0 {
		lines = append(lines, "maxmemory "+strconv.FormatInt(o.MaxMemory, 10))
	}
	if o.Policy != "" {
		lines = append(lines, "maxmemory-policy "+o.Policy)
	}
	return lines
}

func (o Options) userLines() []string {
	if o.Password == "" {
		return nil
	}
	password := strconv.Quote(o.Password)
	lines := []string{"masterauth " + password}
	if o.Username == "" {
		return append(lines, "requirepass "+password)
	}
	return append(lines,
		"masteruser "+strconv.Quote(o.Username),
		"user default off",
		"user "+strconv.Quote(o.Username)+" on "+strconv.Quote(">"+o.Password)+" ~* &* +@all",
	)
}

// trust is the TLS configuration of a client, nil without TLS.
func (o Options) trust() (*tls.Config, error) {
	if o.CertFile == "" {
		return nil, nil
	}
	certificate, err := os.ReadFile(o.CertFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificate) {
		return nil, fmt.Errorf("no certificate in %s", o.CertFile)
	}
	return &tls.Config{RootCAs: roots, ServerName: host}, nil
}
