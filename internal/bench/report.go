package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Report is the result of one benchmark, for people and for programs.
type Report struct {
	Title  string  `json:"title"`
	Fields []Field `json:"fields"`
	// Latency is empty if none was measured.
	Latency []Field `json:"latency,omitempty"`
}

// Field is one number.
type Field struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

// percentiles are the percentiles that a report has.
var percentiles = []struct {
	name    string
	percent float64
}{{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}}

// Add appends a number.
func (r *Report) Add(name string, value float64, unit string) {
	r.Fields = append(r.Fields, Field{name, value, unit})
}

// AddResult appends a load's result and its latency. what names the messages.
func (r *Report) AddResult(what string, result *Result) {
	r.Add(what, float64(result.Messages), "")
	r.Add("elapsed", result.Elapsed.Seconds(), "s")
	r.Add(what+" per second", result.Rate(), "")
	if result.CPU > 0 {
		r.Add("gateway CPU", 100*result.CPU.Seconds()/result.Elapsed.Seconds(), "% of a processor")
		r.Add("gateway CPU of one", float64(result.Cost())/float64(time.Microsecond), "us")
	}
	for _, p := range percentiles {
		r.Latency = append(r.Latency, Field{p.name, result.Percentile(p.percent).Seconds() * 1000, "ms"})
	}
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintln(w, r.Title); err != nil {
		return err
	}
	for _, f := range r.Fields {
		if err := f.write(w, f.Name); err != nil {
			return err
		}
	}
	for _, f := range r.Latency {
		if err := f.write(w, "latency "+f.Name); err != nil {
			return err
		}
	}
	return nil
}

func (f *Field) write(w io.Writer, name string) error {
	value := Short(f.Value)
	if f.Unit == "" { // a count
		value = thousands(fmt.Sprintf("%.0f", f.Value))
	}
	_, err := fmt.Fprintf(w, "  %-24s %12s %s\n", name, value, f.Unit)
	return err
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteSVG draws the latency.
func (r *Report) WriteSVG(w io.Writer) error {
	p := Panel{Title: "latency, ms"}
	for _, f := range r.Latency {
		p.Bars = append(p.Bars, Bar{Label: f.Name, Value: f.Value, Accent: true})
	}
	c := Chart{Title: r.Title, Panels: []Panel{p}}
	for _, f := range r.Fields {
		if c.Subtitle != "" {
			c.Subtitle += ", "
		}
		c.Subtitle += f.Name + " " + Short(f.Value) + " " + f.Unit
	}
	return c.WriteSVG(w)
}
