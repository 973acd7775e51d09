package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Validate gives all mistakes of a config that was made by hand, as Mistakes.
func (c Config) Validate() error {
	l := &loader{config: c}
	for _, f := range l.fields() {
		if !f.within(f.value) {
			l.reject(f.key, fmt.Sprintf("%v is not allowed", f.value.Interface()), f.allowed())
		}
	}
	if c.Dev {
		l.checkLoopback()
	}
	l.validate()
	if len(l.mistakes) > 0 {
		return l.mistakes
	}
	return nil
}

// fields lists the settings with those of the endpoints, the one list with ranges.
func (l *loader) fields() []field {
	all := fields(&l.config)
	for i := range l.config.Endpoints {
		all = append(all, fieldsBelow(reflect.ValueOf(&l.config.Endpoints[i]).Elem(), fmt.Sprintf("endpoints[%d]", i))...)
	}
	return all
}

// reject reports a value. A key that is known to be wrong is not reported again.
func (l *loader) reject(key, problem, allowed string) {
	if !l.mistakes.names(key) {
		l.add(key, l.origin(key), problem, allowed)
	}
}

// origin is the place where a value was written, or else where the list or section
// around it starts.
func (l *loader) origin(key string) Origin {
	origin, written := l.origins[key]
	for path := key; !written && path != ""; {
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
		origin, written = l.origins[path]
	}
	return origin
}

// validate finds what no single value shows by itself.
func (l *loader) validate() {
	l.checkAddresses()
	l.checkData()
	l.checkApps()
	l.checkTLS()
	l.checkLimits()
	l.checkLog()
	l.checkRedis()
	l.checkStream()
	l.checkTracing()
	l.checkEndpoints()
}

func (l *loader) checkLimits() {
	if limits := l.config.Limits; limits.InFlight < 2*limits.Body {
		l.reject("limits.in_flight", fmt.Sprintf("%v is less than two bodies of limits.body, %v", limits.InFlight, limits.Body),
			"twice limits.body, or more")
	}
	if ttl := l.config.Contacts.TTL; ttl != 0 && ttl < 24*time.Hour {
		l.reject("contacts.ttl", ttl.String()+" is not allowed", "0 to keep contacts for good, or 24h and more")
	}
}

func (l *loader) checkData() {
	if l.config.Data == "" {
		l.reject("data", "is empty", "the path of a folder")
	}
}

// checkLog keeps the folder for stalls apart from those of the log and the store.
func (l *loader) checkLog() {
	failover := l.config.Log.FailoverDir
	if failover == "" {
		return
	}
	const allowed = "a folder of its own, on another disk"
	if samePath(failover, l.config.Data) {
		l.reject("log.failover_dir", "is the same as data", allowed)
	}
	for _, taken := range []string{"log", "store"} {
		if folder := filepath.Join(l.config.Data, taken); isWithin(failover, folder) {
			l.reject("log.failover_dir", fmt.Sprintf("is within %s, where the %s is", folder, taken), allowed)
		}
	}
}

func samePath(a, b string) bool { return isWithin(a, b) && isWithin(b, a) }

// isWithin reports whether a path is that of the folder or of something below it.
func isWithin(path, folder string) bool {
	path, errPath := filepath.Abs(path)
	folder, errFolder := filepath.Abs(folder)
	if errPath != nil || errFolder != nil {
		return false
	}
	relative, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(relative)
}

const addressAllowed = "host:port such as 127.0.0.1:8080 or :8080"

func (l *loader) checkAddresses() {
	valid := l.checkAddress("listen", l.config.Listen)
	valid = l.checkAddress("admin", l.config.Admin) && valid
	if valid && l.config.Listen == l.config.Admin && !strings.HasSuffix(l.config.Admin, ":0") {
		l.reject("admin", "is the same as listen", "an address of its own: it must not be public")
	}
}

func (l *loader) checkAddress(key, address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		l.reject(key, strconv.Quote(address)+" is not an address", addressAllowed)
	}
	return err == nil
}

// checkLoopback refuses addresses that others could reach.
func (l *loader) checkLoopback() {
	for _, listener := range []struct{ key, address string }{{"listen", l.config.Listen}, {"admin", l.config.Admin}} {
		host, _, err := net.SplitHostPort(listener.address)
		if err == nil && !isLoopback(host) {
			l.reject(listener.key, strconv.Quote(listener.address)+" is reachable from outside, which --dev refuses",
				"127.0.0.1, [::1] or localhost; or leave --dev out and set your own secrets")
		}
	}
}

// isLoopback reports whether a host is this machine, by its name.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

var appName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (l *loader) checkApps() {
	if len(l.config.Apps) == 0 && !l.partial {
		l.reject("apps", "no app is set", "an app with verify_token and app_secrets, or "+VariableAppSecret+" and "+VariableVerifyToken)
	}
	names := map[string]int{}
	for i, app := range l.config.Apps {
		path := fmt.Sprintf("apps[%d]", i)
		if !appName.MatchString(app.Name) {
			l.reject(path+".name", strconv.Quote(app.Name)+" is not a name", "1 to 64 letters, digits, dots, dashes and underscores")
		} else if first, doubled := names[app.Name]; doubled {
			l.reject(path+".name", fmt.Sprintf("is the name of apps[%d] too", first), "a name of its own")
		} else {
			names[app.Name] = i
		}
		if !l.partial {
			l.checkAppSecrets(path, app)
		}
	}
}

func (l *loader) checkAppSecrets(path string, app App) {
	instead := func(variable string) string {
		if app.Name == DefaultApp {
			return ", or " + variable
		}
		return ""
	}
	if app.VerifyToken == "" {
		l.reject(path+".verify_token", "is missing", "the verify token of the app"+instead(VariableVerifyToken))
	}
	l.refuseSpace(path+".verify_token", app.VerifyToken)
	if len(app.AppSecrets) == 0 {
		l.reject(path+".app_secrets", "is missing", "the secrets of the app, the current one first"+instead(VariableAppSecret))
	}
	for i, secret := range app.AppSecrets {
		if secret == "" {
			l.reject(fmt.Sprintf("%s.app_secrets[%d]", path, i), "is empty", "a secret of the app")
		}
		l.refuseSpace(fmt.Sprintf("%s.app_secrets[%d]", path, i), secret)
	}
}

// refuseSpace finds the newline that came with a secret out of a file: nobody
// else has it, and so all would be refused.
func (l *loader) refuseSpace(key, secret string) {
	if strings.TrimSpace(secret) != secret {
		l.reject(key, "begins or ends with white space", "the secret alone")
	}
}

func (l *loader) checkTLS() {
	t := l.config.TLS
	if t.Cert != "" && t.Key == "" {
		l.reject("tls.key", "is missing", "the file of the key that belongs to tls.cert")
	}
	if t.Key != "" && t.Cert == "" {
		l.reject("tls.cert", "is missing", "the file of the certificate that belongs to tls.key")
	}
	if t.ClientCA != "" && t.Cert == "" && t.Key == "" {
		l.reject("tls.client_ca", "needs tls.cert and tls.key", "all three, or none")
	}
	if t.ClientCA != "" && t.ClientName == "" {
		l.reject("tls.client_name", "is empty", "the name in the client's certificate")
	}
}

var redisPrefix = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

func (l *loader) checkRedis() {
	r := l.config.Redis
	if !redisPrefix.MatchString(r.Prefix) {
		l.reject("redis.prefix", strconv.Quote(r.Prefix)+" is not a prefix", "1 to 64 letters, digits, dots, colons, dashes and underscores")
	}
	if r.Master != "" && len(r.Addrs) == 0 {
		l.reject("redis.master", "needs redis.addrs", "the addresses of the Sentinels in redis.addrs")
	}
	if r.DB != 0 && r.Master == "" && len(r.Addrs) > 1 {
		l.reject("redis.db", fmt.Sprintf("%d is not allowed with several redis.addrs, which are a Cluster's", r.DB), "0: a Cluster has one database")
	}
	if r.Username != "" && r.Password == "" {
		l.reject("redis.password", "is missing", "the password of redis.username")
	}
	for i, address := range r.Addrs {
		l.checkAddress(fmt.Sprintf("redis.addrs[%d]", i), address)
	}
}

func (l *loader) checkStream() {
	s := l.config.Stream
	l.refuseSpace("stream.jwt_secret", s.JWTSecret)
	switch {
	case s.JWTSecret != "" && s.JWTPublicKey != "":
		l.reject("stream.jwt_public_key", "is set together with stream.jwt_secret", "one of them: it decides the algorithm")
	case s.JWTSecret == "" && s.JWTPublicKey == "" && !l.partial && !l.mistakes.names("stream.jwt_public_key"):
		l.reject("stream.jwt_secret", "is missing", "the secret that tokens are signed with, here or in "+VariableJWTSecret+"; or stream.jwt_public_key")
	case s.JWTPublicKey != "" && !isPublicKey(s.JWTPublicKey):
		l.reject("stream.jwt_public_key", "is not a public key", "PEM of a public key: RSA of 2048 bits or more, P-256 or Ed25519")
	}
	for i, origin := range s.AllowedOrigins {
		if !isOrigin(origin) {
			l.reject(fmt.Sprintf("stream.allowed_origins[%d]", i), strconv.Quote(origin)+" is not an origin", "* or scheme://host[:port]")
		}
	}
}

// checkTracing refuses what a URL should not hold; a header has the secret, if any.
func (l *loader) checkTracing() {
	const allowed = "a URL such as http://127.0.0.1:4318; headers go to OTEL_EXPORTER_OTLP_HEADERS"
	endpoint := l.config.Tracing.Endpoint
	if endpoint == "" {
		return
	}
	u, err := url.Parse(endpoint)
	switch {
	case err == nil && u.User != nil:
		l.reject("tracing.endpoint", "has a user or a password in it", allowed)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		l.reject("tracing.endpoint", "is not the URL of a collector", allowed)
	}
}

func isPublicKey(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	}
	if err != nil {
		return false
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048
	case ed25519.PublicKey:
		return true
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256()
	}
	return false
}

func isOrigin(origin string) bool {
	if origin == "*" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin && !strings.HasSuffix(u.Host, ":")
}
