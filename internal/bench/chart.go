package bench

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Chart is an SVG drawing of panels with horizontal bars.
type Chart struct {
	Title    string
	Subtitle string
	Panels   []Panel
}

// Panel shows one measure, in a scale of its own.
type Panel struct {
	Title string // includes the unit
	Bars  []Bar
}

// Bar is one value with its range.
type Bar struct {
	Label     string
	Value     float64
	Low, High float64 // range of the repetitions; equal if there is only one
	Accent    bool
}

// Sizes in pixels.
const (
	chartColumns = 2
	panelWidth   = 460
	panelGap     = 28
	chartMargin  = 24
	headHeight   = 76
	titleHeight  = 30
	barHeight    = 18
	barStep      = 26
	labelWidth   = 90
	valueWidth   = 86 // for the number after the longest bar
)

const chartStyle = `text{font:13px system-ui,sans-serif;fill:#24292f}.h{font-size:20px;font-weight:600}` +
	`.s{fill:#57606a}.p{font-weight:600}.l{text-anchor:end}.b{fill:#b6c2cf}.a{fill:#0b7285}.w{stroke:#24292f;stroke-width:1.2}`

// WriteSVG draws the chart.
func (c *Chart) WriteSVG(w io.Writer) error {
	var b strings.Builder
	rows := c.rowHeights()
	height := headHeight + chartMargin
	for _, h := range rows {
		height += h
	}
	width := 2*chartMargin + chartColumns*panelWidth + (chartColumns-1)*panelGap
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.Title), chartStyle)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	drawText(&b, "h", chartMargin, 36, c.Title)
	drawText(&b, "s", chartMargin, 58, c.Subtitle)
	y := headHeight
	for i := range c.Panels {
		column := i % chartColumns
		if column == 0 && i > 0 {
			y += rows[i/chartColumns-1]
		}
		c.Panels[i].draw(&b, chartMargin+column*(panelWidth+panelGap), y)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// rowHeights returns the heights of the rows of panels, each of its highest panel.
func (c *Chart) rowHeights() []int {
	var rows []int
	for i := range c.Panels {
		h := titleHeight + len(c.Panels[i].Bars)*barStep + panelGap
		if i%chartColumns == 0 {
			rows = append(rows, h)
		} else {
			rows[len(rows)-1] = max(rows[len(rows)-1], h)
		}
	}
	return rows
}

func (p *Panel) draw(b *strings.Builder, x, y int) {
	drawText(b, "p", x, y+16, p.Title)
	most := 0.0
	for _, bar := range p.Bars {
		most = max(most, bar.Value, bar.High)
	}
	scale := 0.0
	if most > 0 {
		scale = (panelWidth - labelWidth - valueWidth) / most
	}
	for i := range p.Bars {
		p.Bars[i].draw(b, x, y+titleHeight+i*barStep, scale)
	}
}

func (bar *Bar) draw(b *strings.Builder, x, y int, scale float64) {
	class := "b"
	if bar.Accent {
		class = "a"
	}
	left, baseline, middle := float64(x+labelWidth), y+14, float64(y)+barHeight/2
	drawText(b, "l", x+labelWidth-8, baseline, bar.Label)
	fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", class, left, y, bar.Value*scale, barHeight)
	if bar.High > bar.Low {
		fmt.Fprintf(b, `<line class="w" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n", left+bar.Low*scale, left+bar.High*scale, middle, middle)
	}
	drawText(b, "v", int(left+max(bar.Value, bar.High)*scale)+6, baseline, Short(bar.Value))
}

func drawText(b *strings.Builder, class string, x, y int, s string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, escape(s))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

// Short writes a value with three digits, or all of a whole number.
func Short(v float64) string {
	decimals := 2
	switch {
	case v >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case v >= 100:
		decimals = 0
	case v >= 10:
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func thousands(s string) string {
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
