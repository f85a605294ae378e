package balance

import (
	"cmp"
	"fmt"
)

// Config says how a node of a cluster balances.
type Config struct {
	Off       bool `yaml:"off" help:"ask no device to connect to another node, unless this node is drained"`
	PerMinute int  `yaml:"per_minute" help:"of 10,000 devices, how many this node asks at most per minute to connect to another node, unless it is drained"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.PerMinute = cmp.Or(c.PerMinute, 50)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if c.PerMinute < 1 || c.PerMinute > 10_000 {
		return fmt.Errorf("per_minute: want 1 to 10000, not %d", c.PerMinute)
	}
	return nil
}

// Policy returns the bounds that c sets.
func (c Config) Policy() Policy { return Policy{Share: float64(c.PerMinute) / 10_000} }
