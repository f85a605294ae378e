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
	return &table{bench.NewComparison(o, measures, servers), o}
}

// write prints the tables and writes the files.
func (t *table) write(folder string, out io.Writer) error {
	chart := t.chart()
	if err := t.WriteFiles(folder, "compare", &chart); err != nil {
		return err
	}
	_, err := io.WriteString(out, t.text())
	return err
}

// text returns the result in Markdown: absolute values, then ratios.
func (t *table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n%s", t.describe(), t.Machine, t.Medians())
	for _, base := range []string{"floor", "gws"} {
		fmt.Fprintf(&b, "\n%s", t.Times(base))
	}
	return b.String()
}

func (t *table) describe() string {
	o := t.options
	return fmt.Sprintf("Messages of %d B. Server CPU time, median of %d, %v each: echo on %d and %d connections, "+
		"%.0f messages/s paced over %d, %d broadcasts to %d, %d handshakes. Memory of %d idle connections.",
		o.Size, o.Reps, o.Duration, o.Few, o.Load, o.Rate, o.Load, o.Rounds, o.Many, o.Handshake, o.Many)
}

// chart draws the first measures, which are what the servers cost.
func (t *table) chart() bench.Chart {
	c := bench.Chart{
		Title:    "Longline's echo, the floor, and other WebSocket servers in Go",
		Subtitle: fmt.Sprintf("Less is better. One processor for the server. Median and range of %d. %s", t.options.Reps, t.Machine.CPU),
	}
	for _, m := range measures[:6] {
		c.Panels = append(c.Panels, t.Panel(m))
	}
	return c
}
