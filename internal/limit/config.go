package limit

import (
	"cmp"
	"fmt"
	"time"
)

// Config configures what protects a node. The zero value works; WithDefaults has the defaults.
type Config struct {
	Connections CountConfig  `yaml:"connections" help:"maximum number of connections per source"`
	Connect     RateConfig   `yaml:"connect" help:"how fast the node accepts connections"`
	Device      DeviceConfig `yaml:"device" help:"how much one device may send"`
	Memory      MemoryConfig `yaml:"memory" help:"what the node does when memory runs out, in this order"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Connect = c.Connect.WithDefaults()
	c.Device = c.Device.WithDefaults()
	c.Memory = c.Memory.WithDefaults()
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if err := c.Connections.Validate(); err != nil {
		return fmt.Errorf("connections.%w", err)
	}
	if err := c.Device.Validate(); err != nil {
		return fmt.Errorf("device.%w", err)
	}
	if err := c.Memory.Validate(); err != nil {
		return fmt.Errorf("memory.%w", err)
	}
	return nil
}

// CountConfig bounds concurrent connections.
type CountConfig struct {
	Node       int      `yaml:"-"` // most connections of the node; 0 is unlimited. Not an option: the gateway's max_connections.
	PerAddress int      `yaml:"per_address" help:"maximum number of connections per IPv4 address or IPv6 /64; 0 is unlimited"`
	PerPrefix  []string `yaml:"per_prefix" help:"maximum number of connections of devices whose id begins with a prefix, each as prefix=limit such as demo-=100; the longest matching prefix counts"`
}

// Validate returns what is wrong with c. The error begins with the key.
func (c CountConfig) Validate() error {
	if _, err := NewCount(c); err != nil {
		return fmt.Errorf("per_prefix: %w", err)
	}
	return nil
}

// RateConfig bounds how fast a node accepts connections.
type RateConfig struct {
	PerSecond int           `yaml:"per_second" help:"connections per second; 0 is unlimited"`
	Burst     int           `yaml:"burst" help:"connections at once after a quiet time; per_second when left out"`
	Line      int           `yaml:"line" help:"maximum number of connections that wait for their turn, resumed sessions first; further ones get 503"`
	MaxRetry  time.Duration `yaml:"max_retry" help:"the longest Retry-After of a 503"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c RateConfig) WithDefaults() RateConfig {
	c.Burst = cmp.Or(c.Burst, c.PerSecond)
	c.Line = cmp.Or(c.Line, 10_000)
	c.MaxRetry = cmp.Or(c.MaxRetry, 2*time.Minute)
	return c
}

// The values of DeviceConfig.Above.
const (
	Slow       = "slow"       // the device is not read until its rates allow it
	Disconnect = "disconnect" // the device is disconnected
)

// DeviceConfig bounds how much each device sends.
type DeviceConfig struct {
	Messages     int    `yaml:"messages" help:"packets per second and device, where each filter of a subscription counts as one; 0 is unlimited"`
	MessageBurst int    `yaml:"message_burst" help:"packets at once after a quiet time; messages when left out"`
	Bytes        int    `yaml:"bytes" unit:"bytes" help:"bytes per second and device; 0 is unlimited"`
	ByteBurst    int    `yaml:"byte_burst" unit:"bytes" help:"bytes at once after a quiet time; bytes when left out"`
	Above        string `yaml:"above" help:"what happens to a device that exceeds its rates: slow (it is read later) or disconnect"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c DeviceConfig) WithDefaults() DeviceConfig {
	c.MessageBurst = cmp.Or(c.MessageBurst, c.Messages)
	c.ByteBurst = cmp.Or(c.ByteBurst, c.Bytes)
	c.Above = cmp.Or(c.Above, Slow)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c DeviceConfig) Validate() error {
	if c.Above != Slow && c.Above != Disconnect {
		return fmt.Errorf("above: want %s or %s, not %q", Slow, Disconnect, c.Above)
	}
	return nil
}

// MemoryConfig says at which use of memory each stage begins.
type MemoryConfig struct {
	Limit       int           `yaml:"limit" unit:"bytes" help:"memory of the process; the lowest of this, GOMEMLIMIT, the control group's limit and the machine's memory counts"`
	Owed        int           `yaml:"owed" help:"percent of the limit that queued, waiting and retained messages may take; beyond it, or beyond a publisher's share of it, QoS 1 and 2 publications are refused with quota"`
	SlowReaders int           `yaml:"slow_readers" help:"percent of the limit at which a device that publishes is read only once per second"`
	RefuseNew   int           `yaml:"refuse_new" help:"percent of the limit at which new connections are refused"`
	ShedQoS0    int           `yaml:"shed_qos0" help:"percent of the limit at which QoS 0 messages that would have to wait are dropped"`
	CloseSlow   int           `yaml:"close_slow" help:"percent of the limit at which the connections of slow consumers are closed"`
	Slack       int           `yaml:"slack" help:"how many percent below its mark each of these stages ends"`
	Interval    time.Duration `yaml:"interval" help:"how often the use of memory is measured"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c MemoryConfig) WithDefaults() MemoryConfig {
	c.Owed = cmp.Or(c.Owed, 40)
	c.SlowReaders = cmp.Or(c.SlowReaders, 70)
	c.RefuseNew = cmp.Or(c.RefuseNew, 75)
	c.ShedQoS0 = cmp.Or(c.ShedQoS0, 80)
	c.CloseSlow = cmp.Or(c.CloseSlow, 85)
	c.Slack = cmp.Or(c.Slack, 5)
	c.Interval = cmp.Or(c.Interval, 250*time.Millisecond)
	return c
}

// marks returns the percents at which the stages begin.
func (c MemoryConfig) marks() [stages]int {
	return [stages]int{SlowReaders: c.SlowReaders, RefuseNew: c.RefuseNew, ShedQoS0: c.ShedQoS0, CloseSlow: c.CloseSlow}
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c MemoryConfig) Validate() error {
	if c.Slack >= c.SlowReaders {
		return fmt.Errorf("slack: %d%% is not below slow_readers (%d%%)", c.Slack, c.SlowReaders)
	}
	if c.Owed < 1 || c.Owed > 100 {
		return fmt.Errorf("owed: want 1 to 100 percent, not %d", c.Owed)
	}
	marks := c.marks()
	for s := RefuseNew; s <= CloseSlow; s++ {
		if marks[s] < marks[s-1] {
			return fmt.Errorf("%v: %d%% is below %v (%d%%), which must begin first", s, marks[s], s-1, marks[s-1])
		}
	}
	if c.CloseSlow > 100 {
		return fmt.Errorf("close_slow: %d%% is more than 100%%", c.CloseSlow)
	}
	return nil
}
