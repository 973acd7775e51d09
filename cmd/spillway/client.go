package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
)

// addDataFlag adds --data to a command that looks for dev.env.
func addDataFlag(cmd *cobra.Command, data *string) {
	defaultData := cmp.Or(os.Getenv("SPILLWAY_DATA"), config.DefaultConfig().Data)
	cmd.Flags().StringVar(data, "data", defaultData, "the `folder` of serve, whose dev.env holds the secrets")
}

// findSecret gives the first that is set: the flag, the variable, the line of
// DATA/dev.env. Of a comma-separated variable it is the first item.
func findSecret(flag, flagValue, variable, data string, ofDev func(config.DevSecrets) string) (string, error) {
	if flagValue != "" {
		return flagValue, nil
	}
	if value := os.Getenv(variable); value != "" {
		return value, nil
	}
	secrets, err := config.ReadDevSecrets(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if value := ofDev(secrets); value != "" {
		return value, nil
	}
	ways := variable
	if flag != "" {
		ways = flag + " or " + ways
	}
	return "", usageError("no secret: set %s, or point --data at the folder of `spillway serve --dev` (there is none in %s)",
		ways, config.DevFile(data))
}

// baseURL reads a URL that a user gave, and adds what is usually left out: the
// scheme of the same family, and the path. Plain is http or ws.
func baseURL(text, plain, path string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = plain + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != plain && u.Scheme != plain+"s") {
		return nil, usageError("%q is not a URL; allowed: %s://HOST:PORT%s, or %ss://…", text, plain, path, plain)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = path
	}
	return u, nil
}

// localURL is where a listener of the config is reached from this machine.
func localURL(scheme, listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return scheme + "://" + listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// adminOptions say which admin listener is meant.
type adminOptions struct {
	configFile, admin string
}

func (o *adminOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.configFile, "config", "", "the config `file` of the receiver")
	flags.StringVar(&o.admin, "admin", "", "the `URL` of the admin listener, whatever the config says")
}

// address is where the admin listener is reached.
func (o *adminOptions) address() (string, error) {
	if o.admin != "" {
		return o.admin, nil
	}
	cfg, err := config.Load(config.Options{File: o.configFile, Environ: os.Environ(), WithoutSecrets: true})
	if err != nil {
		return "", err
	}
	return localURL("http", cfg.Admin), nil
}

// defaultListen is where the listener is unless a flag says otherwise.
func defaultListen() string {
	return cmp.Or(os.Getenv("SPILLWAY_LISTEN"), config.DefaultConfig().Listen)
}

// withoutURL takes the URL out of an error of net/http: its query holds tokens
// and customers' ids.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// printJSON writes a value as one line.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
