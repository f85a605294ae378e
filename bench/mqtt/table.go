package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/longline/longline/internal/bench"
)

// table is the outcome of a run, as mqtt.json has it.
type table struct {
	Machine bench.Machine `json:"machine"`
	Options *options      `json:"options"`
	Seconds float64       `json:"seconds"` // that the run took
	Servers []summary     `json:"servers"`

	rows []row
}

// summary is what was measured of one server.
type summary struct {
	Name     string                  `json:"name"`
	Version  string                  `json:"version,omitempty"`
	Measures map[string]bench.Spread `json:"measures"`
}

func newTable(o *options, servers []server) *table {
	t := &table{Machine: bench.ThisMachine(), Options: o}
	for _, s := range servers {
		t.rows = append(t.rows, row{name: s.name, values: make(map[string][]float64)})
	}
	return t
}

func (t *table) row(i int) *row { return &t.rows[i] }

// summarize turns rows into Servers.
func (t *table) summarize() {
	for _, r := range t.rows {
		s := summary{r.name, r.version, make(map[string]bench.Spread)}
		for key, values := range r.values {
			s.Measures[key] = bench.SpreadOf(values...)
		}
		t.Servers = append(t.Servers, s)
	}
}

// write prints the tables and writes the files.
func (t *table) write(folder string, out io.Writer) error {
	t.summarize()
	encoded, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	var svg strings.Builder
	chart := t.chart()
	if err := chart.WriteSVG(&svg); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "mqtt.json"), append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "mqtt.svg"), []byte(svg.String()), 0o644); err != nil {
		return err
	}
	_, err = io.WriteString(out, t.text())
	return err
}

// references are the servers that longline is held against.
var references = []string{"mosquitto", "mochi"}

// text is the outcome in Markdown: absolute values with the bars, ratios, and which bars hold.
func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n", t.describe(), t.Machine)
	t.absolute().write(&b)
	for _, base := range references {
		if t.server(base) != nil {
			t.ratios(base).write(&b)
		}
	}
	if t.server("longline") != nil {
		t.bars().write(&b)
	}
	return b.String()
}

// grid is one of the tables.
type grid struct{ bench.Grid }

func (g grid) write(b *strings.Builder) {
	_, _ = g.WriteTo(b) // a Builder takes everything
	b.WriteByte('\n')
}

// grid makes a table with a line for each measure and a column for each server.
func (t *table) grid(corner string, cell func(s *summary, key string) string) grid {
	g := grid{bench.Grid{{corner}}}
	for i := range t.Servers {
		g.Grid[0] = append(g.Grid[0], strings.TrimSpace(t.Servers[i].Name+" "+t.Servers[i].Version))
	}
	for _, m := range measures {
		line := []string{m.title + ", " + m.unit}
		for i := range t.Servers {
			line = append(line, cell(&t.Servers[i], m.key))
		}
		g.Grid = append(g.Grid, line)
	}
	return g
}

func (t *table) absolute() grid {
	g := t.grid("median (min-max)", func(s *summary, key string) string { return s.Measures[key].String() })
	g.Grid[0] = append(g.Grid[0], "bar")
	for i, m := range measures {
		bar := "-"
		if m.goal != nil {
			bar = m.goal.text(1)
		}
		g.Grid[i+1] = append(g.Grid[i+1], bar)
	}
	return g
}

func (t *table) ratios(base string) grid {
	return t.grid("times "+base, func(s *summary, key string) string { return t.ratio(s, key, base) })
}

// ratio is that of medians.
func (t *table) ratio(s *summary, key, base string) string {
	if of := t.server(base); of != nil && of.Measures[key].Median > 0 {
		return bench.Short(s.Measures[key].Median / of.Measures[key].Median)
	}
	return "-"
}

// bars says which hold: as they were set, and scaled by what a reference has in this run to what
// it had where they were set.
func (t *table) bars() grid {
	g := grid{bench.Grid{{"bars", "longline", "as set", "scaled to mosquitto", "scaled to mochi"}}}
	longline := t.server("longline")
	for _, m := range measures {
		if m.goal == nil {
			continue
		}
		value := longline.Measures[m.key].Median
		line := []string{m.title + ", " + m.unit, bench.Short(value), verdict(m.goal, value, 1)}
		for _, base := range references {
			line = append(line, t.scaled(&m, value, base))
		}
		g.Grid = append(g.Grid, line)
	}
	return g
}

// scaled is the verdict on a value by the bar, scaled to a reference.
func (t *table) scaled(m *measure, value float64, base string) string {
	of := t.server(base)
	if of == nil || m.goal.base(base) == 0 || of.Measures[m.key].Median <= 0 {
		return "-"
	}
	return verdict(m.goal, value, of.Measures[m.key].Median/m.goal.base(base))
}

func verdict(g goal, value, scale float64) string {
	if g.holds(value, scale) {
		return g.text(scale) + " held"
	}
	return g.text(scale) + " missed"
}

// server returns the summary of a name, nil if it was not measured.
func (t *table) server(name string) *summary {
	for i := range t.Servers {
		if t.Servers[i].Name == name {
			return &t.Servers[i]
		}
	}
	return nil
}

func (t *table) describe() string {
	o := t.Options
	return fmt.Sprintf("MQTT 3.1.1 over WebSocket, messages of %d B, median of %d, %v each. %d idle clients with %.0f pings/s; "+
		"%d devices, %.0f messages/s where the rate is fixed; %d messages to %d clients; a subscriber that does not read for %v.",
		o.Size, o.Reps, o.Duration, o.Many, o.Pings, o.Few, o.Rate, o.Rounds, o.Many, o.Lag)
}

// chart draws the measures that have bars.
func (t *table) chart() bench.Chart {
	c := bench.Chart{
		Title:    "Longline and other MQTT brokers",
		Subtitle: fmt.Sprintf("Over WebSocket, one processor for the server. Median and range of %d. %s", t.Options.Reps, t.Machine.CPU),
	}
	for _, m := range measures {
		if m.goal == nil {
			continue
		}
		p := bench.Panel{Title: m.title + ", " + m.unit}
		for _, s := range t.Servers {
			v := s.Measures[m.key]
			p.Bars = append(p.Bars, bench.Bar{Label: s.Name, Value: v.Median, Low: v.Min, High: v.Max, Accent: s.Name == "longline"})
		}
		c.Panels = append(c.Panels, p)
	}
	return c
}
