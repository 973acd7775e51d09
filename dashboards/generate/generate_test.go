package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins()
	os.Exit(m.Run())
}

// each gives every dashboard, as it is committed.
func each(t *testing.T, test func(t *testing.T, name string, raw []byte)) {
	for name := range boards() {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("..", "grafana", name))
			if err != nil {
				t.Fatal(err)
			}
			test(t, name, raw)
		})
	}
}

// eachPanel gives every panel that is no row.
func eachPanel(t *testing.T, test func(t *testing.T, p *dashboard.Panel)) {
	each(t, func(t *testing.T, _ string, raw []byte) {
		for _, p := range decode(t, raw) {
			if p.Panel != nil {
				test(t, p.Panel)
			}
		}
	})
}

// decode reads all panels and rows, and refuses what Grafana's schema does not have.
func decode(t *testing.T, raw []byte) []dashboard.PanelOrRowPanel {
	t.Helper()
	// The strict decoder finds faults, but returns an empty list of them for none,
	// takes that for one itself, and drops rows: so what is read comes from the other.
	var faults cog.BuildErrors
	if err := dashboard.NewDashboard().UnmarshalJSONStrict(raw); !errors.As(err, &faults) || len(faults) > 0 {
		t.Fatal(err)
	}
	d := dashboard.NewDashboard()
	if err := json.Unmarshal(raw, d); err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	return d.Panels
}

func TestRunbookAsGenerated(t *testing.T) {
	markdown, err := os.ReadFile(filepath.Join("..", "RUNBOOK.md"))
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile(filepath.Join("..", "runbook", "runbook.html"))
	if err != nil {
		t.Fatal(err)
	}
	html, err := page(markdown)
	if err != nil {
		t.Fatal(err)
	}
	if string(html) != string(committed) {
		t.Error("the page is not what the program writes: run make dashboards, and commit")
	}
	// Whatever it links to within itself is there, in the form that alerts use, too.
	for _, link := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(string(html), -1) {
		if !strings.Contains(string(html), `id="`+link[1]+`"`) {
			t.Errorf("it links to #%s, which is not there", link[1])
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (Spillway\w+)$`).FindAllStringSubmatch(string(markdown), -1) {
		if !strings.Contains(string(html), `id="`+strings.ToLower(heading[1])+`"`) {
			t.Errorf("%s has no anchor", heading[1])
		}
	}
}

func TestCommittedAsGenerated(t *testing.T) {
	each(t, func(t *testing.T, name string, raw []byte) {
		generated, err := boards()[name].json(runbookURL)
		if err != nil {
			t.Fatal(err)
		}
		if string(generated) != string(raw) {
			t.Error("the file is not what the program writes: run make dashboards, and commit")
		}
	})
	files, err := filepath.Glob("../grafana/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(boards()) {
		t.Errorf("files %v, dashboards %v", files, slices.Sorted(maps.Keys(boards())))
	}
}

func TestDashboards(t *testing.T) {
	uids := map[string]string{}
	each(t, func(t *testing.T, name string, raw []byte) {
		var d struct {
			UID, Title, Description, Timezone, Refresh string
			Tags                                       []string
			Editable                                   bool
			SchemaVersion, GraphTooltip                int
			Inputs                                     any `json:"__inputs"`
			ID                                         any
			Time                                       struct{ From, To string }
			Links                                      []dashboard.DashboardLink
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(d.UID, "spillway-") || uids[d.UID] != "" {
			t.Errorf("uid %q, which %q has too", d.UID, uids[d.UID])
		}
		uids[d.UID] = name
		if d.Title == "" || d.Description == "" || d.Timezone != "browser" || d.Refresh != "15s" ||
			!slices.Equal(d.Tags, []string{"spillway"}) || !d.Editable || d.GraphTooltip != 1 || d.Time.From != "now-1h" {
			t.Errorf("settings %+v", d)
		}
		if d.Inputs != nil || d.ID != nil {
			t.Error("it has __inputs or an id, and so wants an edit before it loads")
		}
		// Grafana 11.0 has 39, and migrates from any older one.
		if d.SchemaVersion < 39 {
			t.Errorf("schema version %d", d.SchemaVersion)
		}
		if len(d.Links) != 2 {
			t.Errorf("links %+v", d.Links)
		}
	})
}

func TestEveryPanelIsWhole(t *testing.T) {
	eachPanel(t, func(t *testing.T, p *dashboard.Panel) {
		if p.Title == nil || *p.Title == "" {
			t.Errorf("panel %d has no title", *p.Id)
			return
		}
		if p.Description == nil || len(*p.Description) < 10 {
			t.Errorf("%s: no description", *p.Title)
		}
		if p.Type == "text" {
			return
		}
		if p.FieldConfig.Defaults.Unit == nil || *p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("%s: no unit", *p.Title)
		}
		if *p.Datasource.Uid != "${datasource}" {
			t.Errorf("%s: data source %s", *p.Title, *p.Datasource.Uid)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s: no query", *p.Title)
		}
		for _, target := range p.Targets {
			query := target.(*prometheus.Dataquery)
			if *query.Datasource.Uid != "${datasource}" {
				t.Errorf("%s: data source %s", *p.Title, *query.Datasource.Uid)
			}
			if query.Expr == "" || strings.Contains(query.Expr, "@") {
				t.Errorf("%s: expression %q", *p.Title, query.Expr)
			}
		}
	})
}

// A range that is fixed shows nothing where scrapes are far apart, and too much
// where they are not; only what is told of a longer time has one.
var fixedRanges = []string{"15m", "1h", "24h"}

func TestRangesAndBuckets(t *testing.T) {
	ranges := regexp.MustCompile(`\[([^]]*)\]`)
	bounds := regexp.MustCompile(`le="[0-9]+"`)
	eachPanel(t, func(t *testing.T, p *dashboard.Panel) {
		for _, target := range p.Targets {
			expr := target.(*prometheus.Dataquery).Expr
			for _, found := range ranges.FindAllStringSubmatch(expr, -1) {
				if found[1] != "$__rate_interval" && !slices.Contains(fixedRanges, found[1]) {
					t.Errorf("%s: range %s", *p.Title, found[1])
				}
			}
			// Prometheus 3 writes le="1.0".
			if bounds.MatchString(expr) {
				t.Errorf("%s: a whole bound is not found in Prometheus 3: %s", *p.Title, expr)
			}
		}
	})
}

func TestGrid(t *testing.T) {
	each(t, func(t *testing.T, _ string, raw []byte) {
		ids := map[uint32]bool{}
		taken := map[[2]uint32]string{}
		for _, p := range decode(t, raw) {
			var id uint32
			var title string
			var at dashboard.GridPos
			if p.RowPanel != nil {
				id, title, at = p.RowPanel.Id, *p.RowPanel.Title, *p.RowPanel.GridPos
			} else {
				id, title, at = *p.Panel.Id, *p.Panel.Title, *p.Panel.GridPos
			}
			if id == 0 || ids[id] {
				t.Errorf("%s: id %d is not its own", title, id)
			}
			ids[id] = true
			if at.W == 0 || at.H == 0 || at.X+at.W > columns {
				t.Errorf("%s: place %+v", title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other := taken[[2]uint32{x, y}]; other != "" {
						t.Fatalf("%s lies over %s", title, other)
					}
					taken[[2]uint32{x, y}] = title
				}
			}
		}
	})
}

// What is red is explained: each dashboard has one text, and what it names is there.
func TestTexts(t *testing.T) {
	quoted := regexp.MustCompile(`"([^"]+)"`)
	titles := map[string]bool{}
	each(t, func(t *testing.T, _ string, raw []byte) {
		for _, p := range decode(t, raw) {
			if p.RowPanel != nil {
				titles[*p.RowPanel.Title] = true
			} else {
				titles[*p.Panel.Title] = true
			}
		}
	})
	for name, b := range boards() {
		var notes int
		for _, r := range b.rows {
			for _, p := range r.panels {
				if p.kind != words {
					continue
				}
				notes++
				for _, found := range quoted.FindAllStringSubmatch(p.text, -1) {
					if !titles[found[1]] {
						t.Errorf("%s: the text names %q, which no panel or row is called", name, found[1])
					}
				}
			}
		}
		if notes != 1 {
			t.Errorf("%s: %d texts", name, notes)
		}
	}
}

// The alerts that texts and descriptions name are there, and so are in the runbook.
func TestAlertsExist(t *testing.T) {
	rules, err := os.ReadFile("../prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range boards() {
		var named int
		for _, r := range b.rows {
			for _, p := range r.panels {
				for _, alert := range alertName.FindAllString(p.text, -1) {
					named++
					if !strings.Contains(string(rules), "alert: "+alert+"\n") {
						t.Errorf("%s, %s: there is no alert %s", name, p.title, alert)
					}
				}
			}
		}
		if named == 0 {
			t.Errorf("%s names no alert", name)
		}
	}
}
