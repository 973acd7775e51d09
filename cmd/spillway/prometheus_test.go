package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// server is a program of others that a test runs: Prometheus, Alertmanager.
type server struct {
	t   testing.TB
	url string
}

// startServer starts a program on a free port; arguments gets the address. It is
// ready where path is answered 200.
func startServer(t testing.TB, program, path string, arguments func(address string) []string) *server {
	t.Helper()
	binary, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is needed (apt-get install %s): %v", program, program, err)
	}
	address := freeAddress(t)
	cmd := exec.Command(binary, arguments(address)...)
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		_ = output.Close()
		if text, err := os.ReadFile(output.Name()); t.Failed() && err == nil {
			t.Logf("output of %s:\n%s", program, text)
		}
	})
	s := &server{t: t, url: "http://" + address}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.get(path, nil); err == nil {
			return s
		}
		select {
		case <-exited:
			t.Fatalf("%s ended at once", program)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready", program)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (s *server) get(path string, query url.Values) ([]byte, error) {
	response, err := http.Get(s.url + path + "?" + query.Encode())
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", response.StatusCode, body)
	}
	return body, err
}

// startPrometheus scrapes the receivers by the config in the README, but each second
// and with the rules where they are; alerts go to alertmanager, which may be nil.
func startPrometheus(t *testing.T, alertmanager *server, receivers []*process, flags ...string) *server {
	t.Helper()
	rules, err := filepath.Abs(filepath.Join(repository, "dashboards", "prometheus"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, p := range receivers {
		targets = append(targets, strconv.Quote(p.admin))
	}
	told := "127.0.0.1:1" // nobody
	if alertmanager != nil {
		told = strings.TrimPrefix(alertmanager.url, "http://")
	}
	text := readmeBlock(t, "scrape", "yaml")
	for from, to := range map[string]string{
		"_interval: 15s":   "_interval: 1s",
		"recording.yml":    filepath.Join(rules, "recording.yml"),
		"alerts.yml":       filepath.Join(rules, "alerts.yml"),
		"127.0.0.1:9093":   told,
		`"127.0.0.1:9090"`: strings.Join(targets, ","),
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the config of the README has no %s:\n%s", from, text)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startServer(t, "prometheus", "/-/ready", func(address string) []string {
		return append([]string{
			"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address,
		}, flags...)
	})
}

// startAlertmanager starts one with the config that comes with the dashboards.
func startAlertmanager(t testing.TB) *server {
	t.Helper()
	config := filepath.Join(repository, "dashboards", "alertmanager", "alertmanager.yml")
	return startServer(t, "prometheus-alertmanager", "/-/ready", func(address string) []string {
		return []string{
			"--config.file=" + config, "--storage.path=" + t.TempDir(), "--web.listen-address=" + address, "--cluster.listen-address=",
		}
	})
}

// query gives the values of an expression, without those that are no number.
func (s *server) query(expression string) (values []float64, err error) {
	body, err := s.get("/api/v1/query", url.Values{"query": {expression}})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	var samples []struct{ Value [2]any }
	if answer.Data.ResultType == "scalar" {
		samples = make([]struct{ Value [2]any }, 1)
		err = json.Unmarshal(answer.Data.Result, &samples[0].Value)
	} else {
		err = json.Unmarshal(answer.Data.Result, &samples)
	}
	if err != nil {
		return nil, err
	}
	for _, sample := range samples {
		var value float64
		if _, err := fmt.Sscan(fmt.Sprint(sample.Value[1]), &value); err == nil && value == value {
			values = append(values, value)
		}
	}
	return values, nil
}

// until waits for an expression to have values.
func (s *server) until(within time.Duration, expression string) []float64 {
	s.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(time.Second) {
		values, err := s.query(expression)
		if err == nil && len(values) > 0 {
			return values
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s has no values within %s: %v", expression, within, err)
		}
	}
}

// panel is what of a dashboard's panel is asked of Prometheus.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
	Panels  []panel // of a row
}

// panelsOf are the panels of a dashboard that show data.
func panelsOf(t testing.TB, file string) (panels []panel) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var dashboard panel
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	rest := dashboard.Panels
	for len(rest) > 0 {
		p := rest[0]
		rest = append(rest[1:], p.Panels...)
		if len(p.Targets) > 0 {
			panels = append(panels, p)
		}
	}
	return panels
}

// variables stand for what Grafana puts in.
var variables = strings.NewReplacer(
	"$__rate_interval", "10s", "$__interval", "10s", "$__range", "1m",
	"${instance:regex}", ".*", "$instance", ".*", "$job", ".*")

// quietPanels are those that show nothing while all is well.
var quietPanels = map[string]bool{"Alerts that fire": true}

// TestPanels has a real Prometheus scrape receivers of all kinds while campaigns
// are played to them, and asks it for every panel of every dashboard.
func TestPanels(t *testing.T) {
	if !full() {
		t.Skip("in make test-full: it needs Prometheus")
	}
	secure, withRedis := startEveryKind(t)
	embedded := start(t, t.TempDir())
	receivers := []*process{embedded, withRedis, secure}
	s := startPrometheus(t, nil, receivers)
	native := startPrometheus(t, nil, receivers, "--enable-feature=native-histograms")
	for _, p := range []*process{embedded, withRedis} {
		campaign := exec.Command(buildBinary(t), "bench", "campaign", "--url", p.webhookURL(),
			"--app-secret", testAppSecret, "--jwt-secret", testJWTSecret, "--recipients", "6000")
		if err := campaign.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { // it is a load here: its verdict on a busy machine is no matter
			_ = campaign.Process.Kill()
			_ = campaign.Wait()
		}()
	}
	s.until(time.Minute, `sum(rate(spillway_stream_frames_total[10s])) > 100`)
	for _, file := range dashboardFiles(t) {
		for _, p := range panelsOf(t, file) {
			if err := s.shows(p); err != nil {
				t.Errorf("%s: panel %q: %v", filepath.Base(file), p.Title, err)
			}
		}
	}
	for _, histogram := range []string{"spillway_ingest_ack_seconds", "spillway_dispatch_delivery_seconds", "spillway_store_seconds", "spillway_log_commit_seconds"} {
		native.until(30*time.Second, fmt.Sprintf("histogram_quantile(0.99, sum(rate(%s[10s])))", histogram))
	}
	took := s.until(time.Second, `max by () (quantile_over_time(0.99, scrape_duration_seconds[1m]))`)
	t.Logf("p99 of the scrapes of a busy receiver: %.1f ms", took[0]*1e3)
}

// shows is nil once each expression of a panel has values.
func (s *server) shows(p panel) error {
	var errs []error
	for _, target := range p.Targets {
		expression := variables.Replace(target.Expr)
		var values []float64
		var err error
		for range 20 {
			if values, err = s.query(expression); err == nil && len(values) > 0 {
				break
			}
			time.Sleep(time.Second)
		}
		if err != nil || len(values) == 0 && !quietPanels[p.Title] {
			errs = append(errs, fmt.Errorf("%d values of %s: %v", len(values), expression, err))
		}
	}
	return errors.Join(errs...)
}

// alerts are the names of the alerts that Alertmanager has, with their descriptions.
func (s *server) alerts() map[string]string {
	s.t.Helper()
	body, err := s.get("/api/v2/alerts", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var found []struct{ Labels, Annotations map[string]string }
	if err := json.Unmarshal(body, &found); err != nil {
		s.t.Fatal(err)
	}
	alerts := make(map[string]string)
	for _, a := range found {
		alerts[a.Labels["alertname"]] = a.Annotations["description"]
	}
	return alerts
}
