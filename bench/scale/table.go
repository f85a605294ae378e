package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/bench"
)

// table is the result of a run, and the content of NAME.json.
type table struct {
	When     time.Time `json:"when"`
	Machine  string    `json:"machine"`
	Devices  int       `json:"devices"`
	Measures []measure `json:"measures"`
}

// measure is one line: a value, and its upper bound.
type measure struct {
	Phase string  `json:"phase"`
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
	Bar   float64 `json:"bar,omitempty"` // 0 means none
}

func newTable(o *options) table {
	return table{
		When:    time.Now().UTC().Truncate(time.Second),
		Machine: fmt.Sprintf("%d processors, %s, %s", runtime.NumCPU(), runtime.Version(), limits()),
		Devices: o.Devices,
	}
}

// phase adds the lines of one phase.
type phase struct {
	table *table
	name  string
}

func (t *table) phase(name string) phase {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), name)
	return phase{t, name}
}

func (p phase) add(name string, value float64, unit string) { p.bar(name, value, unit, 0) }

// bar adds a value with its upper bound.
func (p phase) bar(name string, value float64, unit string, bar float64) {
	p.table.Measures = append(p.table.Measures, measure{p.name, name, value, unit, bar})
	fmt.Fprintf(os.Stderr, "  %s: %s %s\n", name, short(value, unit), unit)
}

// short returns a value as text. A value without a unit is a count.
func short(v float64, unit string) string {
	if unit == "" && v < 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return bench.Short(v)
}

// write prints the table in Markdown and writes the file.
func (t *table) write(o *options, out io.Writer) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.Out, o.Name+".json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	_, err = io.WriteString(out, t.text())
	return err
}

func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d devices, %s, %s\n\n", t.Devices, t.When.Format(time.DateOnly), t.Machine)
	row := func(cells ...any) { fmt.Fprintf(&b, "| %-10s | %-54s | %10s | %-10s | %-10s |\n", cells...) }
	row("phase", "measure", "value", "unit", "bar")
	fmt.Fprintf(&b, "|%s|%s|%s:|%s|%s|\n", dashes(12), dashes(56), dashes(11), dashes(12), dashes(12))
	last := ""
	for _, m := range t.Measures {
		name := m.Phase
		if name == last {
			name = ""
		}
		last = m.Phase
		row(name, m.Name, short(m.Value, m.Unit), m.Unit, m.verdict())
	}
	return b.String()
}

// verdict returns the bar, and whether the value exceeds it.
func (m *measure) verdict() string {
	switch {
	case m.Bar == 0:
		return ""
	case m.Value > m.Bar:
		return "above " + bench.Short(m.Bar)
	}
	return "<= " + bench.Short(m.Bar)
}

func dashes(n int) string { return strings.Repeat("-", n) }
