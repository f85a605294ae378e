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

// table is the outcome of a run, as compare.json has it.
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

// write prints the tables and writes the files.
func (t *table) write(folder string, out io.Writer) error {
	for _, r := range t.rows {
		s := summary{r.name, r.version, make(map[string]bench.Spread)}
		for key, values := range r.values {
			s.Measures[key] = bench.SpreadOf(values...)
		}
		t.Servers = append(t.Servers, s)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "compare.json"), append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	var svg strings.Builder
	chart := t.chart()
	if err := chart.WriteSVG(&svg); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "compare.svg"), []byte(svg.String()), 0o644); err != nil {
		return err
	}
	_, err = io.WriteString(out, t.text())
	return err
}

// text is the outcome in Markdown: absolute values, then ratios.
func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n", t.describe(), t.Machine)
	t.grid(&b, "median (min-max)", func(s *summary, key string) string {
		v := s.Measures[key]
		switch len(v.Values) {
		case 0:
			return "-"
		case 1:
			return bench.Short(v.Median)
		}
		return fmt.Sprintf("%s (%s-%s)", bench.Short(v.Median), bench.Short(v.Min), bench.Short(v.Max))
	})
	for _, base := range []string{"floor", "gws"} {
		b.WriteByte('\n')
		t.grid(&b, "times "+base, func(s *summary, key string) string { return t.ratio(s, key, base) })
	}
	return b.String()
}

// ratio is that of medians.
func (t *table) ratio(s *summary, key, base string) string {
	for i := range t.Servers {
		if of := t.Servers[i].Measures[key].Median; t.Servers[i].Name == base && of > 0 && len(s.Measures[key].Values) > 0 {
			return bench.Short(s.Measures[key].Median / of)
		}
	}
	return "-"
}

// grid writes one table with a line for each measure.
func (t *table) grid(b *strings.Builder, corner string, cell func(*summary, string) string) {
	g := bench.Grid{{corner}}
	for i := range t.Servers {
		g[0] = append(g[0], strings.TrimSpace(t.Servers[i].Name+" "+t.Servers[i].Version))
	}
	for _, m := range measures {
		line := []string{m.title + ", " + m.unit}
		for i := range t.Servers {
			line = append(line, cell(&t.Servers[i], m.key))
		}
		g = append(g, line)
	}
	_, _ = g.WriteTo(b) // a Builder takes everything
}

func (t *table) describe() string {
	o := t.Options
	return fmt.Sprintf("Messages of %d B. Server CPU time, median of %d, %v each: echo on %d and %d connections, "+
		"%.0f messages/s paced over %d, %d broadcasts to %d, %d handshakes. Memory of %d idle connections.",
		o.Size, o.Reps, o.Duration, o.Few, o.Load, o.Rate, o.Load, o.Rounds, o.Many, o.Handshake, o.Many)
}

// chart draws the first measures: what the servers cost.
func (t *table) chart() bench.Chart {
	c := bench.Chart{
		Title:    "Longline's echo, the floor, and other WebSocket servers in Go",
		Subtitle: fmt.Sprintf("Less is better. One processor for the server. Median and range of %d. %s", t.Options.Reps, t.Machine.CPU),
	}
	for _, m := range measures[:6] {
		p := bench.Panel{Title: m.title + ", " + m.unit}
		for _, s := range t.Servers {
			v := s.Measures[m.key]
			p.Bars = append(p.Bars, bench.Bar{Label: s.Name, Value: v.Median, Low: v.Min, High: v.Max, Accent: s.Name == "longline"})
		}
		c.Panels = append(c.Panels, p)
	}
	return c
}
