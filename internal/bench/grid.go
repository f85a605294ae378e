package bench

import (
	"fmt"
	"strings"
)

// Grid is a Markdown table that is padded, so that it is readable as plain text. The first line is the
// header; all lines have the same number of cells.
type Grid [][]string

// String returns the table, with a line feed at the end of each line.
func (g Grid) String() string {
	var b strings.Builder
	widths := g.widths()
	for i, line := range g {
		for column, s := range line {
			if column == 0 {
				fmt.Fprintf(&b, "| %-*s |", widths[0], s)
			} else {
				fmt.Fprintf(&b, " %*s |", widths[column], s)
			}
		}
		b.WriteByte('\n')
		if i == 0 {
			rule(&b, widths)
		}
	}
	return b.String()
}

func (g Grid) widths() []int {
	widths := make([]int, len(g[0]))
	for _, line := range g {
		for i, s := range line {
			widths[i] = max(widths[i], len(s))
		}
	}
	return widths
}

// rule returns the line below the header, which aligns the first column left and the others right.
func rule(b *strings.Builder, widths []int) {
	for i, w := range widths {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", w+2) + "|")
		} else {
			b.WriteString(strings.Repeat("-", w+1) + ":|")
		}
	}
	b.WriteByte('\n')
}
