package bench

import "strings"

// Medians returns the table of results: medians, with ranges if there are repetitions.
func (c *Comparison) Medians() Grid {
	return c.grid("median (min-max)", func(s *Summary, key string) string {
		if v := s.Measures[key]; len(v.Values) > 0 {
			return v.String()
		}
		return "-"
	})
}

// Times returns the table of medians divided by those of the server named base.
func (c *Comparison) Times(base string) Grid {
	of := c.Server(base)
	return c.grid("times "+base, func(s *Summary, key string) string { return s.times(of, key) })
}

// times returns the ratio of medians. There is none if the base is nil or its median is 0.
func (s *Summary) times(of *Summary, key string) string {
	if of == nil || of.Measures[key].Median <= 0 || len(s.Measures[key].Values) == 0 {
		return "-"
	}
	return Short(s.Measures[key].Median / of.Measures[key].Median)
}

// grid returns a table with a line per measure and a column per server.
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

// Panel returns a panel with a bar per server. It highlights the bar of longline.
func (c *Comparison) Panel(m Measure) Panel {
	p := Panel{Title: m.String()}
	for _, s := range c.Servers {
		v := s.Measures[m.Key]
		p.Bars = append(p.Bars, Bar{Label: s.Name, Value: v.Median, Low: v.Min, High: v.Max, Accent: s.Name == "longline"})
	}
	return p
}
