package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"spillway/dispatch/store/redis/localredis"
)

// families are the metrics of a receiver's /metrics by name.
func (p *process) families() map[string]*dto.MetricFamily {
	p.t.Helper()
	_, body := p.adminGet("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	return families
}

// startEveryKind starts a receiver with the embedded store and TLS and one with a
// Redis and an endpoint, which between them have every metric there is.
func startEveryKind(t *testing.T) (embedded, withRedis *process) {
	t.Helper()
	cert, key := makeCertificate(t, time.Now(), time.Now().Add(time.Hour))
	server := startRedis(t, localredis.Options{})
	embedded = launch(t, t.TempDir(), "SPILLWAY_TLS_CERT="+cert, "SPILLWAY_TLS_KEY="+key)
	if err := single(server).client(t).XGroupCreateMkStream(t.Context(), rigStream(0), "inbox", "0").Err(); err != nil {
		t.Fatal(err)
	}
	withRedis = serveWithEndpoints(t, t.TempDir(), "", map[string]*hearer{"inbox": newHearer(t)}, single(server).env()...)
	withRedis.eventually(time.Minute, "the consumer group is seen", func() error {
		if withRedis.families()["spillway_stream_group_lag_seconds"] == nil {
			return fmt.Errorf("no spillway_stream_group_lag_seconds")
		}
		return nil
	})
	return embedded, withRedis
}

// allFamilies are the metrics of both kinds of receiver by name.
func allFamilies(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	embedded, withRedis := startEveryKind(t)
	all := embedded.families()
	maps.Copy(all, withRedis.families())
	return all
}

// endings are what a metric's name may end with: a unit, or what is counted.
var endings = []string{
	"_total", "_seconds", "_bytes", "_info",
	"_records", "_frames", "_partitions", "_sockets", "_connections", "_dead_letters", "_requests", "_entries", "_sublevels", "_warnings",
	"_waiting", "_running", "_catching_up", "_limit", "_ready", "_successful", "_shares", "_open", "_paused", "_dead", "_amplification",
}

// bounded are all labels there may be. Their values are fixed, but for those of
// group, which are the consumer groups that other programs make, and of the build.
var bounded = []string{"code", "reason", "lane", "type", "outcome", "op", "db", "group", "result", "level", "endpoint", "class", "version", "commit", "go_version"}

// TestMetrics holds every metric to the conventions, and asks for a place where
// somebody sees it.
func TestMetrics(t *testing.T) {
	looked := lookedAt(t)
	for name, family := range allFamilies(t) {
		if !strings.HasPrefix(name, "spillway_") {
			continue
		}
		if problems, err := promlint.NewWithMetricFamilies([]*dto.MetricFamily{family}).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v", name, problems, err)
		}
		if len(family.GetHelp()) < 10 || !strings.HasSuffix(family.GetHelp(), ".") && !strings.Contains(family.GetHelp(), ";") {
			t.Errorf("%s: the help text %q says too little", name, family.GetHelp())
		}
		if !slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) }) {
			t.Errorf("%s ends with neither a unit nor what is counted", name)
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if !slices.Contains(bounded, label.GetName()) {
					t.Errorf("%s has the label %s, which is not known to be bounded", name, label.GetName())
				}
			}
		}
		if !looked[name] {
			t.Errorf("%s is on no dashboard and in no rule: nobody looks at it", name)
		}
	}
}

// metricName finds names in a text; those with colons are of recording rules.
var metricName = regexp.MustCompile(`[a-zA-Z0-9_:]+`)

// lookedAt are the metrics that the expressions of dashboards and rules name.
func lookedAt(t *testing.T) map[string]bool {
	t.Helper()
	looked := make(map[string]bool)
	for _, expression := range slices.Concat(dashboardExpressions(t), ruleExpressions(t)) {
		maps.Copy(looked, metricsIn(expression))
	}
	return looked
}

// composeVolume is what Compose calls the receiver's volume.
const composeVolume = "spillway_spillway"

// metricsIn are the metrics of ours that a text names.
func metricsIn(text string) map[string]bool {
	found := make(map[string]bool)
	for _, name := range metricName.FindAllString(text, -1) {
		if strings.HasPrefix(name, "spillway_") && !strings.Contains(name, ":") && name != composeVolume {
			found[histogramOf(name)] = true
		}
	}
	return found
}

func dashboardFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "dashboards", "grafana", "*.json"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	return files
}

func dashboardExpressions(t *testing.T) (expressions []string) {
	for _, file := range dashboardFiles(t) {
		for _, p := range panelsOf(t, file) {
			for _, target := range p.Targets {
				expressions = append(expressions, target.Expr)
			}
		}
	}
	return expressions
}

func ruleExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	for _, name := range []string{"recording.yml", "alerts.yml"} {
		text, err := os.ReadFile(filepath.Join(repository, "dashboards", "prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Groups []struct{ Rules []struct{ Expr string } }
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		for _, group := range file.Groups {
			for _, rule := range group.Rules {
				expressions = append(expressions, rule.Expr)
			}
		}
	}
	return expressions
}

// histogramOf gives the histogram that a series belongs to, where it belongs to one.
func histogramOf(name string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if whole, ok := strings.CutSuffix(name, suffix); ok {
			return whole
		}
	}
	return name
}

// TestLookedAtExists: dashboards, rules, their unit tests and what is written of them
// name no metric that is not there.
func TestLookedAtExists(t *testing.T) {
	families := allFamilies(t)
	for name := range lookedAt(t) {
		if families[name] == nil {
			t.Errorf("the dashboards or rules name %s, which no receiver has", name)
		}
	}
	files, err := filepath.Glob(filepath.Join(repository, "dashboards", "prometheus", "tests", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no unit tests of the rules: %v", err)
	}
	for _, file := range append(files, filepath.Join(repository, runbook), filepath.Join(repository, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name := range metricsIn(string(text)) {
			if families[name] == nil {
				t.Errorf("%s names %s, which no receiver has", file, name)
			}
		}
	}
}

// series are the names and labels of all series.
func (p *process) series() map[string]bool {
	p.t.Helper()
	all := make(map[string]bool)
	for name, family := range p.families() {
		for _, m := range family.GetMetric() {
			if strings.HasPrefix(name, "spillway_") {
				all[name+fmt.Sprint(m.GetLabel())] = true
			}
		}
	}
	return all
}

// TestNoNewSeries: whatever comes in, every series is there from the start.
func TestNoNewSeries(t *testing.T) {
	p := start(t, t.TempDir())
	before := p.series()
	for i := range 30 {
		p.post([]byte(fmt.Sprintf(`{"object":"o","entry":[{"id":"1","time":%d,"changes":[{"field":"field_%d","value":{"x":%d}}]}]}`, i, i, i)))
		p.post(statusWebhook(fmt.Sprintf("wamid.%d", i), "15550001001", fmt.Sprintf("status_%d", i)))
		p.post([]byte(fmt.Sprintf(`{"not":"a webhook","n":%d}`, i)))
		post(p.webhookURL(), []byte("x"), fmt.Sprintf("sha256=%064d", i))
		request, err := http.NewRequest(fmt.Sprintf("METHOD%d", i), fmt.Sprintf("http://%s/path/%d", p.public, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+p.public+"/ws?token="+testToken(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4500+i, "bye"), time.Now().Add(time.Second))
		_ = conn.Close()
	}
	p.gather(60, caused)
	for series := range p.series() {
		if !before[series] {
			t.Errorf("the series %s was not there from the start", series)
		}
	}
}

// BenchmarkScrape is one scrape of a receiver that takes webhooks meanwhile.
func BenchmarkScrape(b *testing.B) {
	p := start(b, b.TempDir())
	ctx, stop := context.WithCancel(b.Context())
	var senders sync.WaitGroup
	for c := range 16 {
		senders.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				p.post(statusWebhook(fmt.Sprintf("wamid.%d.%d", c, i), "15550001001", "delivered"))
			}
		})
	}
	before := p.number(`spillway_ingest_requests_total{code="200"}`)
	began := time.Now()
	for b.Loop() {
		if code, _ := p.adminGet("/metrics"); code != http.StatusOK {
			b.Fatalf("answered %d", code)
		}
	}
	took := time.Since(began)
	b.ReportMetric((p.number(`spillway_ingest_requests_total{code="200"}`)-before)/took.Seconds(), "acks/s")
	stop()
	senders.Wait()
}
