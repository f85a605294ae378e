package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Comparison has the results of servers that were measured side by side. It is the content of the JSON file.
type Comparison struct {
	Machine Machine    `json:"machine"`
	Options any        `json:"options"` // command line options of the program
	Seconds float64    `json:"seconds"` // how long the run took
	Servers []*Summary `json:"servers"` // the columns of the tables, in order

	Measures []Measure `json:"-"` // the lines of the tables, in order
}

// Measure is one line of the tables, and one panel of the chart.
type Measure struct {
	Key   string // key in Summary.Measures
	Title string
	Unit  string
}

func (m Measure) String() string { return m.Title + ", " + m.Unit }

// Summary has the results of one server.
type Summary struct {
	Name     string            `json:"name"`
	Version  string            `json:"version,omitempty"`
	Measures map[string]Spread `json:"measures"` // by Measure.Key; without measures that the server does not support
}

// Add adds the value of one repetition of a measure.
func (s *Summary) Add(key string, v float64) {
	s.Measures[key] = SpreadOf(append(s.Measures[key].Values, v)...)
}

// Named is a server that can be compared.
type Named interface{ Name() string }

// Chosen returns the servers whose names are in only, or all if only is empty. It returns an error if
// a name is unknown.
func Chosen[S Named](all []S, only []string) ([]S, error) {
	for _, name := range only {
		if !slices.ContainsFunc(all, func(s S) bool { return s.Name() == name }) {
			return nil, fmt.Errorf("there is no server %q", name)
		}
	}
	return slices.DeleteFunc(all, func(s S) bool { return len(only) > 0 && !slices.Contains(only, s.Name()) }), nil
}

// NewComparison returns a comparison of servers on this machine, without results.
func NewComparison[S Named](options any, measures []Measure, servers []S) *Comparison {
	c := &Comparison{Machine: ThisMachine(), Options: options, Measures: measures}
	for _, s := range servers {
		c.Servers = append(c.Servers, &Summary{Name: s.Name(), Measures: make(map[string]Spread)})
	}
	return c
}

// Repeat calls measure for each server in turn, with the server's index, and repeats that reps times
// in all. It writes its progress to log, and ends at the first error.
func (c *Comparison) Repeat(reps int, log io.Writer, measure func(i int, s *Summary) error) error {
	begin := time.Now()
	for rep := range reps {
		for i, s := range c.Servers {
			fmt.Fprintf(log, "[%4.0fs] repetition %d of %d: %s\n", time.Since(begin).Seconds(), rep+1, reps, s.Name)
			if err := measure(i, s); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
		}
	}
	c.Seconds = time.Since(begin).Seconds()
	return nil
}

// Server returns the summary of the named server, or nil if it is not compared.
func (c *Comparison) Server(name string) *Summary {
	i := slices.IndexFunc(c.Servers, func(s *Summary) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return c.Servers[i]
}

// WriteFiles writes the comparison to NAME.json and the chart to NAME.svg in folder, which it
// creates if necessary.
func (c *Comparison) WriteFiles(folder, name string, chart *Chart) error {
	encoded, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	var svg strings.Builder
	if err := chart.WriteSVG(&svg); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file+".json", append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(file+".svg", []byte(svg.String()), 0o644)
}
