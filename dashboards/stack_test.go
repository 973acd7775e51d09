package dashboards_test

import (
	"maps"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const (
	// stopTime is how long the receiver may take to stop.
	stopTime = 35 * time.Second
	// openFiles is what limits.connections and stream.sockets need with their defaults.
	openFiles = 30512
)

// TestComposeIsHardened wants of every container what keeps one that was taken
// over, or runs wild, from the others and from the host.
func TestComposeIsHardened(t *testing.T) {
	c := loadCompose(t)
	if want := []string{"alertmanager", "grafana", "prometheus", "redis", "spillway"}; !slices.Equal(slices.Sorted(maps.Keys(c.Services)), want) {
		t.Fatalf("the services are %v", slices.Sorted(maps.Keys(c.Services)))
	}
	number := regexp.MustCompile(`^[1-9]\d*:\d+$`)
	pinned := regexp.MustCompile(`^(\w+/)?\w+:v?\d+\.\d+[\w.-]*$`) // no host, no tag that moves on
	for name, s := range c.Services {
		wants := map[string]bool{
			"a read-only root":        s.ReadOnly,
			"no capabilities":         slices.Equal(s.CapDrop, []string{"ALL"}),
			"no new privileges":       slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}),
			"a numeric user":          number.MatchString(s.User),
			"a limit of memory":       s.MemLimit != "",
			"a limit of processes":    s.PidsLimit > 0,
			"to be restarted":         s.Restart == "unless-stopped",
			"bounded logs":            s.Logging.Options["max-size"] != "",
			"a health check":          len(s.Healthcheck.Test) > 0 || s.Build.Dockerfile != "" && dockerfile(t).healthcheck != "",
			"an image of one version": s.Build.Dockerfile != "" || pinned.MatchString(s.Image),
		}
		for what, ok := range wants {
			if !ok {
				t.Errorf("%s lacks %s", name, what)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		for _, network := range s.Networks {
			if _, declared := c.Networks[network]; !declared {
				t.Errorf("%s is on %s, which is not declared", name, network)
			}
		}
	}
}

// TestComposeMounts finds every file that a container is given.
func TestComposeMounts(t *testing.T) {
	c := loadCompose(t)
	for name, s := range c.Services {
		for _, m := range s.mounts() {
			if !m.bind {
				if _, declared := c.Volumes[m.source]; !declared {
					t.Errorf("%s: the volume %s is not declared", name, m.source)
				}
				continue
			}
			exists(t, m.source, name)
			if !m.readOnly {
				t.Errorf("%s may write to %s", name, m.source)
			}
		}
		for _, argument := range s.Command {
			if _, file, is := strings.Cut(argument, "--config.file="); is {
				exists(t, s.hostPath(file), name)
			}
		}
	}
	for name := range c.Volumes {
		if !slices.ContainsFunc(slices.Collect(maps.Values(c.Services)), func(s service) bool {
			return slices.ContainsFunc(s.mounts(), func(m mount) bool { return m.source == name })
		}) {
			t.Errorf("nobody has the volume %s", name)
		}
	}
}

// hostPath is where a file of a container comes from: empty where it is not mounted.
func (s service) hostPath(file string) string {
	for _, m := range s.mounts() {
		if rest, within := strings.CutPrefix(file, m.target+"/"); within && m.bind {
			return path.Join(m.source, rest)
		}
	}
	return ""
}

// TestComposeSecrets: what has no default is what .env.example asks for, and an
// empty one stops the start.
func TestComposeSecrets(t *testing.T) {
	var required, asked []string
	for _, found := range variable.FindAllSubmatch(read(t, "compose.yaml"), -1) {
		if string(found[2]) == "?" {
			required = append(required, string(found[1]))
			if !strings.Contains(string(found[3]), "dashboards/.env") {
				t.Errorf("the message about %s does not say where to set it: %s", found[1], found[3])
			}
		}
	}
	for line := range strings.Lines(string(read(t, ".env.example"))) {
		if name, value, is := strings.Cut(strings.TrimSpace(line), "="); is && !strings.HasPrefix(name, "#") {
			asked = append(asked, name)
			if value != "" {
				t.Errorf(".env.example gives %s a value", name)
			}
		}
	}
	slices.Sort(required)
	slices.Sort(asked)
	if want := slices.Sorted(maps.Keys(testSecrets)); !slices.Equal(required, want) || !slices.Equal(asked, want) {
		t.Errorf("required are %v, .env.example asks for %v, want %v", required, asked, want)
	}
	for _, ignored := range []string{"/dashboards/.env\n", "/dashboards/alertmanager/secrets/\n"} {
		if !strings.Contains(string(read(t, "../.gitignore")), ignored) {
			t.Errorf(".gitignore lacks %s", ignored)
		}
	}
}

// TestComposeReceiver: its config is valid, it has the time and the files it
// needs, and only Prometheus reaches its admin listener, where it looks for it.
func TestComposeReceiver(t *testing.T) {
	c := loadCompose(t)
	receiver := c.Services["spillway"]
	if receiver.StopGracePeriod < stopTime {
		t.Errorf("it is killed after %s, and may need %s", receiver.StopGracePeriod, stopTime)
	}
	if receiver.Ulimits.NoFile < openFiles {
		t.Errorf("it may open %d files, and may need %d", receiver.Ulimits.NoFile, openFiles)
	}
	for name, s := range c.Services {
		for _, network := range s.Networks {
			if !slices.Contains(receiver.Networks, network) || name == "spillway" {
				continue
			}
			allowed := map[string]string{"prometheus": "admin", "redis": "store"}[name]
			if network != allowed || !c.Networks[network].Internal {
				t.Errorf("%s shares %s with the receiver", name, network)
			}
		}
	}
	listen, admin := receiver.Environment["SPILLWAY_LISTEN"], receiver.Environment["SPILLWAY_ADMIN"]
	if _, port, _ := net.SplitHostPort(listen); len(receiver.Ports) != 1 || !strings.HasSuffix(receiver.Ports[0], ":"+port) {
		t.Errorf("published is %v, it listens on %s", receiver.Ports, listen)
	}
	_, port, _ := net.SplitHostPort(admin)
	if target := "spillway:" + port; !strings.Contains(string(read(t, "prometheus/prometheus.yml")), target) {
		t.Errorf("prometheus.yml does not scrape %s", target)
	}
	data := receiver.Environment["SPILLWAY_DATA"]
	if !slices.ContainsFunc(receiver.mounts(), func(m mount) bool { return m.target == data }) {
		t.Errorf("no volume at %s", data)
	}
	checkConfig(t, receiver.Environment)
}

// checkConfig runs `spillway check` with the variables of a container, but for
// places that only a container has.
func checkConfig(t *testing.T, environment map[string]string) {
	t.Helper()
	environment = maps.Clone(environment)
	environment["SPILLWAY_DATA"] = t.TempDir()
	environment["SPILLWAY_LISTEN"], environment["SPILLWAY_ADMIN"] = "127.0.0.1:0", "127.0.0.1:0"
	environment["SPILLWAY_REDIS_ADDRS"] = "127.0.0.1:1"
	environment["SPILLWAY_LOG_MIN_FREE"] = "0" // of this machine's disk
	out, err := command(t, environment, spillway(t), "check").CombinedOutput()
	if err != nil {
		t.Errorf("spillway check: %v\n%s", err, out)
	}
}

// TestGrafana: its files name services of the stack, folders that are mounted,
// and a home dashboard that exists.
func TestGrafana(t *testing.T) {
	c := loadCompose(t)
	grafana := c.Services["grafana"]
	home := grafana.hostPath(grafana.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
	exists(t, home, "the home dashboard")
	if grafana.Environment["GF_AUTH_ANONYMOUS_ENABLED"] != "false" {
		t.Error("anybody may look")
	}

	var sources struct {
		Datasources []struct{ Name, UID, Type, URL string }
	}
	if err := yaml.Unmarshal(read(t, "grafana/provisioning/datasources/spillway.yml"), &sources); err != nil {
		t.Fatal(err)
	}
	if len(sources.Datasources) != 2 {
		t.Errorf("%d data sources", len(sources.Datasources))
	}
	for _, source := range sources.Datasources {
		host, _, err := net.SplitHostPort(strings.TrimPrefix(source.URL, "http://"))
		other, known := c.Services[host]
		if err != nil || !known || source.UID == "" {
			t.Errorf("%s is at %q", source.Name, source.URL)
		}
		if !slices.ContainsFunc(other.Networks, func(n string) bool { return slices.Contains(grafana.Networks, n) }) {
			t.Errorf("Grafana does not reach %s", host)
		}
	}

	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := yaml.Unmarshal(read(t, "grafana/provisioning/dashboards/spillway.yml"), &providers); err != nil {
		t.Fatal(err)
	}
	if len(providers.Providers) != 1 || grafana.hostPath(providers.Providers[0].Options.Path+"/overview.json") != home {
		t.Errorf("dashboards are looked for in %+v", providers.Providers)
	}
}
