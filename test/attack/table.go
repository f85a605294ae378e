package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/longline/longline/internal/bench"
)

// table prints each row at once.
type table struct {
	out   io.Writer
	floor time.Duration
}

func newTable(out io.Writer, o *options) *table {
	t := &table{out, o.Floor}
	fmt.Fprintf(out, "%d honest devices, %.0f messages per second of QoS 1 over TLS. %s\n", o.Devices, o.Rate, bench.ThisMachine())
	fmt.Fprintf(out, "Held: p99 within %d times calm (calm being %v at least), memory within the bound, a metric that shows the limit.\n\n", slower, o.Floor)
	t.cells("attack", "limit", "memory: calm, peak, bound", "p99: calm, attacked", "", "closed, refused, slowed and dropped, by reason", "")
	t.cells("---", "---", "---:", "---:", "---:", "---", "---")
	return t
}

func (t *table) cells(c ...any) {
	fmt.Fprintf(t.out, "| %-20s | %-44s | %-25s | %-19s | %5s | %-46s | %s |\n", c...)
}

// row adds an attack.
func (t *table) row(o *outcome) {
	verdict := "held"
	if len(o.missed) > 0 {
		verdict = "MISSED: " + strings.ReplaceAll(strings.Join(o.missed, "; "), "\n", ", ")
	}
	t.cells(o.attack.name, o.attack.limit, fmt.Sprintf("%d, %d, %d MiB", o.calm>>20, o.peak>>20, o.bound()>>20),
		fmt.Sprintf("%s, %s ms", millis(o.before), millis(o.at)), fmt.Sprintf("%.1fx", o.ratio(t.floor)),
		o.rises.reasons(), verdict)
}

// ratio returns the factor by which the honest devices' acknowledgements were slower, as judge computes it.
func (o *outcome) ratio(floor time.Duration) float64 {
	return o.at.Seconds() / max(o.before, floor).Seconds()
}

func millis(d time.Duration) string { return bench.Short(d.Seconds() * 1000) }
