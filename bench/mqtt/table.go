package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/longline/longline/internal/bench"
)

// table is the result of a run.
type table struct {
	*bench.Comparison
	options *options
}

func newTable(o *options, servers []server) *table {
	lines := make([]bench.Measure, len(measures))
	for i, m := range measures {
		lines[i] = m.Measure
	}
	return &table{bench.NewComparison(o, lines, servers), o}
}

// write prints the tables and writes the files.
func (t *table) write(folder string, out io.Writer) error {
	chart := t.chart()
	if err := t.WriteFiles(folder, "mqtt", &chart); err != nil {
		return err
	}
	_, err := io.WriteString(out, t.text())
	return err
}

// references are the servers that bars are scaled to.
var references = []string{"mosquitto", "mochi"}

// text returns the result in Markdown: absolute values with bars, ratios, and which bars hold.
func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n%s\n", t.describe(), t.Machine, t.absolute())
	for _, base := range references {
		if t.Server(base) != nil {
			fmt.Fprintf(&b, "%s\n", t.Times(base))
		}
	}
	if t.Server("longline") != nil {
		fmt.Fprintf(&b, "%s\n", t.bars())
	}
	return b.String()
}

// absolute returns the table of medians and bars.
func (t *table) absolute() bench.Grid {
	g := t.Medians()
	g[0] = append(g[0], "bar")
	for i, m := range measures {
		bar := "-"
		if m.goal != nil {
			bar = m.goal.text(1)
		}
		g[i+1] = append(g[i+1], bar)
	}
	return g
}

// bars returns the table that says which bars hold: as they were set, and scaled by the ratio of a reference's figure in this run to
// its figure on the machine where the bar was set.
func (t *table) bars() bench.Grid {
	g := bench.Grid{{"bars", "longline", "as set", "scaled to mosquitto", "scaled to mochi"}}
	longline := t.Server("longline")
	for _, m := range measures {
		if m.goal == nil {
			continue
		}
		value := longline.Measures[m.Key].Median
		line := []string{m.String(), bench.Short(value), verdict(m.goal, value, 1)}
		for _, base := range references {
			line = append(line, t.scaled(&m, value, base))
		}
		g = append(g, line)
	}
	return g
}

// scaled returns the bar, scaled to a reference, and whether the value holds it.
func (t *table) scaled(m *measure, value float64, base string) string {
	of := t.Server(base)
	if of == nil || m.goal.base(base) == 0 || of.Measures[m.Key].Median <= 0 {
		return "-"
	}
	return verdict(m.goal, value, of.Measures[m.Key].Median/m.goal.base(base))
}

func verdict(g goal, value, scale float64) string {
	if g.holds(value, scale) {
		return g.text(scale) + " held"
	}
	return g.text(scale) + " missed"
}

func (t *table) describe() string {
	o := t.options
	return fmt.Sprintf("MQTT 3.1.1 over WebSocket, messages of %d B, median of %d, %v each. %d idle clients with %.0f pings/s; "+
		"%d devices, %.0f messages/s where the rate is fixed; %d messages to %d clients; a subscriber that does not read for %v.",
		o.Size, o.Reps, o.Duration, o.Many, o.Pings, o.Few, o.Rate, o.Rounds, o.Many, o.Lag)
}

// chart draws the measures that have bars.
func (t *table) chart() bench.Chart {
	c := bench.Chart{
		Title:    "Longline and other MQTT brokers",
		Subtitle: fmt.Sprintf("Over WebSocket, one processor for the server. Median and range of %d. %s", t.options.Reps, t.Machine.CPU),
	}
	for _, m := range measures {
		if m.goal == nil {
			continue
		}
		c.Panels = append(c.Panels, t.Panel(m.Measure))
	}
	return c
}
