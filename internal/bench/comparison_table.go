package bench

import "strings"

// Medians is the table of what was measured: medians, and ranges where there are repetitions.
func (c *Comparison) Medians() Grid {
	return c.grid("median (min-max)", func(s *Summary, key string) string {
		if v := s.Measures[key]; len(v.Values) > 0 {
			return v.String()
		}
		return "-"
	})
}

// Times is the table of the medians divided by those of the server named base.
func (c *Comparison) Times(base string) Grid {
	of := c.Server(base)
	return c.grid("times "+base, func(s *Summary, key string) string { return s.times(of, key) })
}

// times is the ratio of medians; there is none to a nil server, and none to 0.
func (s *Summary) times(of *Summary, key string) string {
	if of == nil || of.Measures[key].Median <= 0 || len(s.Measures[key].Values) == 0 {
		return "-"
	}
	return Short(s.Measures[key].Median / of.Measures[key].Median)
}

// grid makes a table with a line for each measure and a column for each server.
func (c *Comparison) grid(corner string, cell func(s *Summary, key string) string) Grid {
	g := Grid{{corner}}
	for _, s := range c.Servers {
		g[0] = append(g[0], strings.TrimSpace(s.Name+" "+s.Version))
	}
	for _, m := range c.Measures {
		line := []string{m.String()}
		for _, s := range c.Servers {
			line = append(line, cell(s, m.Key))
		}
		g = append(g, line)
	}
	return g
}

// Panel has a bar for each server, with an accent on that of longline.
func (c *Comparison) Panel(m Measure) Panel {
	p := Panel{Title: m.String()}
	for _, s := range c.Servers {
		v := s.Measures[m.Key]
		p.Bars = append(p.Bars, Bar{Label: s.Name, Value: v.Median, Low: v.Min, High: v.Max, Accent: s.Name == "longline"})
	}
	return p
}
