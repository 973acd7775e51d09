package main

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const (
	green  = "green"
	yellow = "#EAB839"
	red    = "red"
	// plain has no meaning: for what is neither good nor bad.
	plain = "text"
)

// colour is one of a label's values, as a regular expression.
type colour struct{ value, colour string }

// colours are the same on all dashboards. What is not here has a colour of the
// palette by its name, and so the same everywhere as well.
var colours = map[string][]colour{
	"lane": {{"express", "blue"}, {"bulk", "purple"}},
	"db":   {{"log", "blue"}, {"store", "orange"}},
	"code": {
		{"2[0-9][0-9]", green}, {"40[0458]|413|431", yellow}, {"401|403", "orange"}, {"503", red},
		{"100[01]", green}, {"1012", "blue"}, {"1005|1006", "light-blue"}, {"100[2789]|4001", yellow},
		{"4009", "orange"}, {"1013", "dark-orange"}, {"4008", red}, {"other", "purple"},
	},
	"outcome": {{"fresh", green}, {"duplicate", "light-blue"}, {"stale", yellow}, {"dead", red}},
	"level":   {{"debug", "light-blue"}, {"info", green}, {"warn", yellow}, {"error", red}},
	"reason":  {{"in_flight", yellow}, {"log|full", red}, {"overload|queue", "orange"}, {"stopping|closed", "light-blue"}, {"disk|failed", "dark-red"}},
	"result":  {{"ok|delivered", green}, {"failed|gone", red}, {"retry", yellow}, {"refused", "orange"}},
}

// overrides colours the series of queries by the labels in their legends, and
// draws medians dashed, limits as thin red lines.
func overrides(queries []query) []dashboard.DashboardFieldConfigSourceOverrides {
	var all []dashboard.DashboardFieldConfigSourceOverrides
	add := func(pattern string, properties ...dashboard.DynamicConfigValue) {
		all = append(all, dashboard.DashboardFieldConfigSourceOverrides{
			Matcher:    dashboard.MatcherConfig{Id: "byRegexp", Options: "/" + pattern + "/"},
			Properties: properties,
		})
	}
	dash := dashboard.DynamicConfigValue{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{6, 4}}}
	flat := dashboard.DynamicConfigValue{Id: "custom.fillOpacity", Value: 0}
	unstacked := dashboard.DynamicConfigValue{Id: "custom.stacking", Value: map[string]any{"mode": "none", "group": "A"}}
	has := func(part string) bool {
		for _, q := range queries {
			if strings.Contains(q.legend, part) {
				return true
			}
		}
		return false
	}
	for _, label := range []string{"lane", "db", "code", "outcome", "level", "reason", "result"} {
		if has("{{" + label + "}}") {
			for _, c := range colours[label] {
				add(`(^| )(`+c.value+`)( |$)`, fixed(c.colour))
			}
		}
	}
	if has("p50 ") || has("p99 ") {
		add("^p50 ", dash)
	} else if has("p99") {
		add("^p50$", fixed("blue"), dash)
		add("^p99$", fixed("orange"))
	}
	if has("limit") {
		add("limit", fixed(red), dash, flat, unstacked)
	}
	return all
}

func fixed(colour string) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": colour}}
}
