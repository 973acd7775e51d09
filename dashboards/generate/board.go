package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// board is a dashboard.
type board struct {
	// uid is in the address of the dashboard and never changes.
	uid, title, about string
	rows              []row
}

// row is a question, with the panels that answer it.
type row struct {
	question string
	panels   []panel
}

// columns is the width of Grafana's grid.
const columns = 24

// json is the dashboard as Grafana takes it, with sorted keys. It is of version 1
// of Grafana's schema: the package calls it deprecated, but Grafana 11 and 12
// load version 2 behind a feature flag at best.
func (b board) json(runbook string) ([]byte, error) {
	d := dashboard.NewDashboard()
	d.Uid, d.Title, d.Description = &b.uid, &b.title, &b.about
	d.Tags = []string{"spillway"}
	d.GraphTooltip = new(dashboard.DashboardCursorSyncCrosshair)
	d.Refresh = new("15s")
	d.Time = &dashboard.DashboardDashboardTime{From: "now-1h", To: "now"}
	d.Templating.List = variables()
	d.Links = links(runbook)
	panels, err := b.panels(runbook)
	if err != nil {
		return nil, err
	}
	d.Panels = panels
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return sorted(d)
}

// sorted encodes with sorted keys, and expressions as they are written.
func sorted(value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var plain any
	if err := json.Unmarshal(raw, &plain); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(plain)
	return out.Bytes(), err
}

// panels places the rows below one another, and numbers rows and panels.
func (b board) panels(runbook string) ([]dashboard.PanelOrRowPanel, error) {
	var placed []dashboard.PanelOrRowPanel
	var id, y uint32
	for _, r := range b.rows {
		id++
		head := dashboard.NewRowPanel()
		head.Id, head.Title = id, &r.question
		head.GridPos = &dashboard.GridPos{Y: y, W: columns, H: 1}
		head.Panels = []dashboard.Panel{}
		placed = append(placed, dashboard.PanelOrRowPanel{RowPanel: head})

		places, bottom := place(r.panels, y+1)
		for i, p := range r.panels {
			id++
			built, err := p.build(id, places[i], runbook)
			if err != nil {
				return nil, fmt.Errorf("panel %q: %w", p.title, err)
			}
			placed = append(placed, dashboard.PanelOrRowPanel{Panel: &built})
		}
		y = bottom
	}
	return placed, nil
}

// place puts each panel where it fits highest, then leftmost, from line top on.
// It returns the first line below all of them.
func place(panels []panel, top uint32) (places []dashboard.GridPos, bottom uint32) {
	// taken is the first free line of each column.
	var taken [columns]uint32
	for i := range taken {
		taken[i] = top
	}
	bottom = top
	for _, p := range panels {
		best := dashboard.GridPos{W: p.width, H: p.height, Y: ^uint32(0)}
		for x := uint32(0); x+p.width <= columns; x++ {
			y := top
			for _, free := range taken[x : x+p.width] {
				y = max(y, free)
			}
			if y < best.Y {
				best.X, best.Y = x, y
			}
		}
		for x := best.X; x < best.X+p.width; x++ {
			taken[x] = best.Y + p.height
		}
		places, bottom = append(places, best), max(bottom, best.Y+p.height)
	}
	return places, bottom
}

// source is the data source, which the reader of a dashboard chooses.
func source() *common.DataSourceRef {
	return &common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

// variables are the choices at the top of each dashboard. All of job and
// instance means those that are receivers, not all that Prometheus scrapes.
func variables() []dashboard.VariableModel {
	return []dashboard.VariableModel{
		{
			Type: dashboard.VariableTypeDatasource, Name: "datasource", Label: new("Data source"),
			Query: &dashboard.StringOrMap{String: new("prometheus")},
		},
		receivers("job", "Job", "label_values(spillway_build_info, job)"),
		receivers("instance", "Receiver", `label_values(spillway_build_info{job=~"$job"}, instance)`),
	}
}

func receivers(name, label, query string) dashboard.VariableModel {
	all := dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}
	return dashboard.VariableModel{
		Type: dashboard.VariableTypeQuery, Name: name, Label: &label, Datasource: source(),
		Definition: &query,
		Query:      &dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": query, "refId": name}},
		Multi:      new(true), IncludeAll: new(true),
		Current: &dashboard.VariableOption{
			Selected: new(true),
			Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value:    all,
		},
		Refresh: new(dashboard.VariableRefreshOnTimeRangeChanged),
		Sort:    new(dashboard.VariableSortNaturalAsc),
	}
}

// links lead to the other dashboards, with the same choices, and to the runbook.
func links(runbook string) []dashboard.DashboardLink {
	return []dashboard.DashboardLink{
		{
			Title: "Spillway", Type: dashboard.DashboardLinkTypeDashboards, Icon: "external link",
			Tooltip: "The other dashboards of Spillway", Tags: []string{"spillway"},
			IncludeVars: true, KeepTime: true,
		},
		{
			Title: "Runbook", Type: dashboard.DashboardLinkTypeLink, Icon: "doc",
			Tooltip: "What each alert means, and what to do", Url: &runbook,
			Tags: []string{}, TargetBlank: true,
		},
	}
}
