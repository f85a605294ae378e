package command

import (
	"cmp"
	"fmt"
	"time"
)

// Config bounds commands. The zero value works; WithDefaults has the defaults.
type Config struct {
	PerDevice     int           `yaml:"per_device" help:"commands of one device that have not ended"`
	InFlight      int           `yaml:"in_flight" help:"commands that are sent to a device and not yet answered; the others wait, in order"`
	Max           int           `yaml:"max" help:"commands of all devices that have not ended"`
	MaxBytes      int           `yaml:"max_bytes" unit:"bytes" help:"sum of their payloads, and 1 KiB for each"`
	MaxEnded      int           `yaml:"max_ended" help:"ended commands that are kept; beyond it the oldest are forgotten before keep is over"`
	MaxEndedBytes int           `yaml:"max_ended_bytes" unit:"bytes" help:"sum of their payloads and answers, and 1 KiB for each; beyond it the same"`
	MaxPayload    int           `yaml:"max_payload" unit:"bytes" help:"largest payload of a command; of a larger answer only the size is kept"`
	TTL           time.Duration `yaml:"ttl" help:"how long the device may take to answer, from the creation, if the request names no time"`
	MaxTTL        time.Duration `yaml:"max_ttl" help:"longest time that a request may name"`
	Keep          time.Duration `yaml:"keep" help:"how long an ended command is kept, so that backends can ask for it and repeat its creation"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.PerDevice = cmp.Or(c.PerDevice, 100)
	c.InFlight = cmp.Or(c.InFlight, 4)
	c.Max = cmp.Or(c.Max, 200_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 256<<20)
	c.MaxEnded = cmp.Or(c.MaxEnded, 100_000)
	c.MaxEndedBytes = cmp.Or(c.MaxEndedBytes, 128<<20)
	c.MaxPayload = cmp.Or(c.MaxPayload, 64<<10)
	c.TTL = cmp.Or(c.TTL, time.Hour)
	c.MaxTTL = cmp.Or(c.MaxTTL, 30*24*time.Hour)
	c.Keep = cmp.Or(c.Keep, 24*time.Hour)
	return c
}

// longest is the longest time that a call can name: its timeout is a number of milliseconds of 32 bits.
const longest = 49 * 24 * time.Hour

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	switch {
	case c.MaxTTL > longest:
		return fmt.Errorf("max_ttl: want at most %v, not %v", longest, c.MaxTTL)
	case c.TTL > c.MaxTTL:
		return fmt.Errorf("ttl: want at most max_ttl, which is %v, not %v", c.MaxTTL, c.TTL)
	}
	return nil
}
