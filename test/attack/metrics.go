package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/longline/longline/internal/bench"
)

// metrics are the gateway's metrics, by name and labels.
type metrics bench.Metrics

// parse reads metrics, without those of the process and of Go.
func parse(text []byte) metrics {
	all := bench.ParseMetrics(text)
	maps.DeleteFunc(all, func(name string, _ float64) bool { return !strings.HasPrefix(name, "longline_") })
	return metrics(all)
}

// above returns by how much each has grown, without those that have not.
func (m metrics) above(before metrics) metrics {
	grown := make(metrics)
	for name, v := range m {
		if v > before[name] {
			grown[name] = v - before[name]
		}
	}
	return grown
}

// any reports whether there is a metric whose name, without longline_, begins with one of
// prefixes.
func (m metrics) any(prefixes []string) bool {
	for name := range m {
		for _, p := range prefixes {
			if strings.HasPrefix(name, "longline_"+p) {
				return true
			}
		}
	}
	return false
}

// endings are the metrics that say why connections ended, were refused or were not read.
var endings = regexp.MustCompile(`^longline_(?:closes_total\{reason|connections_refused_total\{reason|handshakes_total\{outcome|` +
	`messages_dropped_total\{reason|readers_slowed_total\{reason|connect_turns_total\{outcome|jobs_refused_total\{pool)="(\w+)"\}$`)

// welcome are the outcomes of handshakes that are no refusals.
var welcome = []string{"accepted", "connected", "at_once"}

// reasons returns how many connections and messages ended, were refused or slowed, by reason.
func (m metrics) reasons() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		label := endings.FindStringSubmatch(name)
		if label == nil || slices.Contains(welcome, label[1]) {
			continue
		}
		all = append(all, fmt.Sprintf("%s %.0f", label[1], m[name]))
	}
	return strings.Join(all, ", ")
}
