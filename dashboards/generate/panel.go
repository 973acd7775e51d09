package main

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/gauge"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/text"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// kind is how a panel is drawn.
type kind int

const (
	lines  kind = iota // time series
	number             // one value, or a few
	dial               // a share of a limit
	bars               // several of them
	cells              // a heat map of a histogram
	rowsOf             // a table
	words              // text
)

// panel is one picture. Its methods return a copy that differs in one point.
type panel struct {
	kind          kind
	title, text   string
	unit          string
	queries       []query
	width, height uint32
	steps         []step
	mapped        []dashboard.ValueMapping
	noValue       string
	stack, names  bool
	logarithmic   bool
	columns       map[string]string
}

// step is a value from which on another colour holds.
type step struct {
	from   float64
	colour string
}

// above0 is where what should be 0 is not.
const above0 = 1e-9

// below is the start of a step that holds where no other does, in place of green.
var below = math.Inf(-1)

func draw(kind kind, width, height uint32, title, unit string, queries []query) panel {
	return panel{kind: kind, width: width, height: height, title: title, unit: unit, queries: queries}
}

func series(title, unit string, queries ...query) panel {
	return draw(lines, 8, 8, title, unit, queries)
}

func single(title, unit string, queries ...query) panel {
	return draw(number, 4, 4, title, unit, queries)
}

func share(title string, queries ...query) panel {
	return draw(dial, 4, 4, title, "percentunit", queries)
}

func shares(title string, queries ...query) panel {
	return draw(bars, 8, 8, title, "percentunit", queries)
}

func heat(title, unit string, buckets query) panel {
	return draw(cells, 8, 8, title, unit, []query{buckets})
}

func list(title string, columns map[string]string, queries ...query) panel {
	p := draw(rowsOf, 12, 6, title, "none", queries)
	p.columns = columns
	return p
}

func note(title, markdown string) panel {
	p := draw(words, 8, 8, title, "", nil)
	p.text = strings.TrimSpace(markdown)
	return p
}

// about is what the panel shows, and what to make of it.
func (p panel) about(text string) panel { p.text = text; return p }

func (p panel) size(width, height uint32) panel { p.width, p.height = width, height; return p }

// steady is green at 0 and has the colour given from then on: for counts of
// what does not happen in a healthy receiver.
func (p panel) steady(colour string) panel { return p.limits(step{above0, colour}) }

// limits are thresholds: green below the first. Time series draw them as lines.
func (p panel) limits(steps ...step) panel { p.steps = steps; return p }

// empty is what stands where no series is, and says that this is as it may be.
func (p panel) empty(text string) panel { p.noValue = text; return p }

func (p panel) stacked() panel { p.stack = true; return p }

// named shows the names of the series, not their values.
func (p panel) named() panel { p.names = true; return p }

func (p panel) logScale() panel { p.logarithmic = true; return p }

// says shows text in place of the values from from to to; nil has no bound.
func (p panel) says(from, to *float64, text, colour string) panel {
	p.mapped = append(p.mapped, dashboard.ValueMapping{RangeMap: &dashboard.RangeMap{
		Type: dashboard.MappingTypeRangeToText,
		Options: dashboard.DashboardRangeMapOptions{
			From: from, To: to,
			Result: dashboard.ValueMappingResult{Text: &text, Color: &colour},
		},
	}})
	return p
}

// build is the panel for Grafana.
func (p panel) build(id uint32, at dashboard.GridPos, runbook string) (dashboard.Panel, error) {
	built, err := p.builder(runbook).Build()
	if err != nil {
		return dashboard.Panel{}, err
	}
	built.Id, built.GridPos, built.Title = &id, &at, &p.title
	if p.kind == words {
		built.Description = new("What to do, by what is red.")
		return built, nil
	}
	built.Description, built.Datasource = new(linked(p.text, runbook)), source()
	for i, query := range p.queries {
		target, err := query.target(i, p.kind).Build()
		if err != nil {
			return dashboard.Panel{}, err
		}
		built.Targets = append(built.Targets, target)
	}
	if built.FieldConfig == nil {
		built.FieldConfig = dashboard.NewFieldConfigSource()
	}
	fields := &built.FieldConfig.Defaults
	fields.Unit, fields.Mappings = &p.unit, p.mapped
	fields.Thresholds, fields.Color = p.thresholds(), p.colour()
	if p.noValue != "" {
		fields.NoValue = &p.noValue
	}
	if p.kind == number && p.unit == "none" {
		fields.Decimals = new(0.0)
	}
	if p.unit == "percentunit" && (p.kind == dial || p.kind == bars) {
		fields.Min, fields.Max = new(0.0), new(1.0)
	}
	if p.kind == lines {
		built.FieldConfig.Overrides = overrides(p.queries)
	}
	return built, built.Validate()
}

func (p panel) thresholds() *dashboard.ThresholdsConfig {
	base := green
	if p.steps == nil {
		base = plain
	}
	config := &dashboard.ThresholdsConfig{
		Mode:  dashboard.ThresholdsModeAbsolute,
		Steps: []dashboard.Threshold{{Color: base}},
	}
	for _, s := range p.steps {
		if s.from == below {
			config.Steps[0].Color = s.colour
			continue
		}
		config.Steps = append(config.Steps, dashboard.Threshold{Value: &s.from, Color: s.colour})
	}
	return config
}

func (p panel) colour() *dashboard.FieldColor {
	mode := dashboard.FieldColorModeIdThresholds
	if p.kind == lines {
		mode = dashboard.FieldColorModeIdPaletteClassicByName
	}
	return &dashboard.FieldColor{Mode: mode}
}

func (p panel) builder(runbook string) cog.Builder[dashboard.Panel] {
	switch p.kind {
	case number:
		return p.number()
	case dial:
		return gauge.NewPanelBuilder().
			ShowThresholdMarkers(true).
			Orientation(common.VizOrientationAuto).
			ReduceOptions(last())
	case bars:
		return bargauge.NewPanelBuilder().
			DisplayMode(common.BarGaugeDisplayModeBasic).
			Orientation(common.VizOrientationHorizontal).
			ReduceOptions(last())
	case cells:
		return p.heatmap()
	case rowsOf:
		return p.table()
	case words:
		return text.NewPanelBuilder().Mode(text.TextModeMarkdown).Content(linked(p.text, runbook))
	default:
		return p.timeseries()
	}
}

func last() *common.ReduceDataOptionsBuilder {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

func (p panel) number() *stat.PanelBuilder {
	mode := common.BigValueTextModeAuto
	if p.names {
		mode = common.BigValueTextModeName
	}
	colour := common.BigValueColorModeBackground
	if p.steps == nil {
		colour = common.BigValueColorModeNone
	}
	return stat.NewPanelBuilder().
		GraphMode(common.BigValueGraphModeNone).
		ColorMode(colour).
		TextMode(mode).
		Orientation(common.VizOrientationAuto).
		ReduceOptions(last())
}

func (p panel) timeseries() *timeseries.PanelBuilder {
	built := timeseries.NewPanelBuilder().
		LineWidth(1).FillOpacity(8).ShowPoints(common.VisibilityModeNever).AxisSoftMin(0).
		Tooltip(common.NewVizTooltipOptionsBuilder().
			Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true))
	if p.stack {
		built.Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal)).FillOpacity(40)
	}
	// A line along the axis would say nothing.
	if p.steps != nil && p.steps[0].from != above0 {
		built.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
	}
	if p.logarithmic {
		built.ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10))
	}
	return built
}

func (p panel) heatmap() *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().
		Calculate(false).
		Color(heatmap.NewHeatmapColorOptionsBuilder().
			Mode(heatmap.HeatmapColorModeScheme).Scheme("Oranges").Scale(heatmap.HeatmapColorScaleExponential).
			Exponent(0.5).Steps(64)).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(p.unit)).
		CellGap(1).
		FilterValues(heatmap.NewFilterValueRangeBuilder().Le(1e-9)).
		Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle).YHistogram(true))
}

// table shows the labels of columns under the names given there, and no others.
func (p panel) table() *table.PanelBuilder {
	built := table.NewPanelBuilder().
		ShowHeader(true).
		Footer(common.NewTableFooterOptionsBuilder().Reducer([]string{}))
	names := slices.Sorted(maps.Keys(p.columns))
	return built.
		WithTransformation(dashboard.DataTransformerConfig{
			Id: "filterFieldsByName", Options: map[string]any{"include": map[string]any{"names": names}},
		}).
		WithTransformation(dashboard.DataTransformerConfig{
			Id: "organize", Options: map[string]any{"renameByName": p.columns},
		})
}

var alertName = regexp.MustCompile(`\bSpillway[A-Z][A-Za-z]+`)

// linked leads from the names of alerts to their sections of the runbook.
func linked(markdown, runbook string) string {
	return alertName.ReplaceAllStringFunc(markdown, func(alert string) string {
		return "[" + alert + "](" + runbook + "#" + strings.ToLower(alert) + ")"
	})
}
