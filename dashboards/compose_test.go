package dashboards_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// compose is what compose.yaml may hold: a key of the compose specification that
// is not here is refused, since nothing here checks it.
type compose struct {
	Name     string             `yaml:"name"`
	Shared   any                `yaml:"x-service"`
	Services map[string]service `yaml:"services"`
	Networks map[string]struct {
		Internal bool `yaml:"internal"`
	} `yaml:"networks"`
	Volumes map[string]struct{} `yaml:"volumes"`
}

type service struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string            `yaml:"context"`
		Dockerfile string            `yaml:"dockerfile"`
		Args       map[string]string `yaml:"args"`
	} `yaml:"build"`
	User            string            `yaml:"user"`
	Command         []string          `yaml:"command"`
	Environment     map[string]string `yaml:"environment"`
	Volumes         []string          `yaml:"volumes"`
	Tmpfs           []string          `yaml:"tmpfs"`
	Networks        []string          `yaml:"networks"`
	Ports           []string          `yaml:"ports"`
	DependsOn       []string          `yaml:"depends_on"`
	Restart         string            `yaml:"restart"`
	ReadOnly        bool              `yaml:"read_only"`
	CapDrop         []string          `yaml:"cap_drop"`
	SecurityOpt     []string          `yaml:"security_opt"`
	PidsLimit       int               `yaml:"pids_limit"`
	MemLimit        string            `yaml:"mem_limit"`
	StopGracePeriod time.Duration     `yaml:"stop_grace_period"`
	Ulimits         struct {
		NoFile int `yaml:"nofile"`
	} `yaml:"ulimits"`
	Logging struct {
		Driver  string            `yaml:"driver"`
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
	Healthcheck struct {
		Test        []string      `yaml:"test"`
		Interval    time.Duration `yaml:"interval"`
		Timeout     time.Duration `yaml:"timeout"`
		StartPeriod time.Duration `yaml:"start_period"`
	} `yaml:"healthcheck"`
}

// mount is a line of volumes: SOURCE:TARGET[:ro], with a folder or a volume.
type mount struct {
	source, target string
	bind, readOnly bool
}

func (s service) mounts() []mount {
	var all []mount
	for _, line := range s.Volumes {
		parts := append(strings.Split(line, ":"), "", "")
		all = append(all, mount{source: parts[0], target: parts[1], bind: strings.HasPrefix(parts[0], "."), readOnly: parts[2] == "ro"})
	}
	return all
}

// variable is ${NAME:-DEFAULT}, or ${NAME:?MESSAGE} where it is required.
var variable = regexp.MustCompile(`\$\{(\w+):([-?])([^}]*)\}`)

// testSecrets stand for a dashboards/.env that was filled in.
var testSecrets = map[string]string{
	"SPILLWAY_APP_SECRET":    "an app secret of the tests",
	"SPILLWAY_VERIFY_TOKEN":  "a verify token of the tests",
	"SPILLWAY_JWT_SECRET":    "a stream secret of the tests, 32 bytes",
	"GRAFANA_ADMIN_PASSWORD": "a password of the tests",
}

// loadCompose reads compose.yaml as Compose would with testSecrets.
func loadCompose(t *testing.T) compose {
	t.Helper()
	text := variable.ReplaceAllFunc(read(t, "compose.yaml"), func(found []byte) []byte {
		parts := variable.FindSubmatch(found)
		if string(parts[2]) == "-" {
			return parts[3]
		}
		return []byte(testSecrets[string(parts[1])])
	})
	if bytes.ContainsRune(text, '$') {
		t.Fatal("compose.yaml has variables of another form")
	}
	var c compose
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// exists wants a file beside the compose file, or below it.
func exists(t *testing.T, name, why string) {
	t.Helper()
	if _, err := os.Stat(filepath.FromSlash(name)); err != nil {
		t.Errorf("%s: %v", why, err)
	}
}
