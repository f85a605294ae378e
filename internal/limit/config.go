package limit

import (
	"cmp"
	"fmt"
	"time"
)

// Config is what protects a node. The zero value works; WithDefaults has the defaults.
type Config struct {
	Connections CountConfig  `yaml:"connections" help:"how many connections one source may have"`
	Connect     RateConfig   `yaml:"connect" help:"how fast the node takes connections"`
	Device      DeviceConfig `yaml:"device" help:"what one device may send"`
	Memory      MemoryConfig `yaml:"memory" help:"what is shed when memory runs out, in this order"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Connect = c.Connect.WithDefaults()
	c.Device = c.Device.WithDefaults()
	c.Memory = c.Memory.WithDefaults()
	return c
}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
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

// CountConfig bounds connections at the same time.
type CountConfig struct {
	Node       int      `yaml:"-"` // of the node; 0 is unlimited. Not an option: the gateway's max_connections.
	PerAddress int      `yaml:"per_address" help:"connections of one IPv4 address or one IPv6 /64; 0 is unlimited"`
	PerPrefix  []string `yaml:"per_prefix" help:"connections of the devices whose id begins so, each as prefix=limit such as demo-=100; the longest prefix counts"`
}

// Validate names what cannot be. The error begins with the key.
func (c CountConfig) Validate() error {
	if _, err := NewCount(c); err != nil {
		return fmt.Errorf("per_prefix: %w", err)
	}
	return nil
}

// RateConfig bounds how fast a node takes connections.
type RateConfig struct {
	PerSecond int           `yaml:"per_second" help:"connections a second; 0 is unlimited"`
	Burst     int           `yaml:"burst" help:"connections at once after a quiet time; as many as a second's when left out"`
	Line      int           `yaml:"line" help:"connections that wait for their turn, resumed sessions first; beyond it they get 503"`
	MaxRetry  time.Duration `yaml:"max_retry" help:"the longest Retry-After of a 503"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c RateConfig) WithDefaults() RateConfig {
	c.Burst = cmp.Or(c.Burst, c.PerSecond)
	c.Line = cmp.Or(c.Line, 10_000)
	c.MaxRetry = cmp.Or(c.MaxRetry, 2*time.Minute)
	return c
}

// What becomes of a device above its rates.
const (
	Slow       = "slow"       // it is not read until its rates allow
	Disconnect = "disconnect" // it is closed
)

// DeviceConfig bounds what each device sends.
type DeviceConfig struct {
	Messages     int    `yaml:"messages" help:"packets a second of one device, each filter of a subscription being one; 0 is unlimited"`
	MessageBurst int    `yaml:"message_burst" help:"packets at once after a quiet time; as many as a second's when left out"`
	Bytes        int    `yaml:"bytes" unit:"bytes" help:"bytes a second of one device; 0 is unlimited"`
	ByteBurst    int    `yaml:"byte_burst" unit:"bytes" help:"bytes at once after a quiet time; as many as a second's when left out"`
	Above        string `yaml:"above" help:"what becomes of a device above its rates: slow (it is read later) or disconnect"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c DeviceConfig) WithDefaults() DeviceConfig {
	c.MessageBurst = cmp.Or(c.MessageBurst, c.Messages)
	c.ByteBurst = cmp.Or(c.ByteBurst, c.Bytes)
	c.Above = cmp.Or(c.Above, Slow)
	return c
}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
func (c DeviceConfig) Validate() error {
	if c.Above != Slow && c.Above != Disconnect {
		return fmt.Errorf("above: want %s or %s, not %q", Slow, Disconnect, c.Above)
	}
	return nil
}

// MemoryConfig says at how much memory which stage begins.
type MemoryConfig struct {
	Limit       int           `yaml:"limit" unit:"bytes" help:"memory of the process; the lowest of this, GOMEMLIMIT, the control group's and the machine's counts"`
	Owed        int           `yaml:"owed" help:"percent of the limit that messages may take that are kept for somebody; beyond it, or beyond a publisher's share of it, QoS 1 and 2 publications are refused with quota"`
	SlowReaders int           `yaml:"slow_readers" help:"percent of the limit at which a device that publishes is read once a second"`
	RefuseNew   int           `yaml:"refuse_new" help:"percent at which new connections are refused"`
	ShedQoS0    int           `yaml:"shed_qos0" help:"percent at which QoS 0 messages that would have to wait are dropped"`
	CloseSlow   int           `yaml:"close_slow" help:"percent at which slow consumers are closed"`
	Slack       int           `yaml:"slack" help:"percent below its mark at which each of these ends"`
	Interval    time.Duration `yaml:"interval" help:"how often memory is looked at"`
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

// marks are the percents at which the stages begin.
func (c MemoryConfig) marks() [stages]int {
	return [stages]int{SlowReaders: c.SlowReaders, RefuseNew: c.RefuseNew, ShedQoS0: c.ShedQoS0, CloseSlow: c.CloseSlow}
}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
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
			return fmt.Errorf("%v: %d%% is below %v (%d%%), which comes before it", s, marks[s], s-1, marks[s-1])
		}
	}
	if c.CloseSlow > 100 {
		return fmt.Errorf("close_slow: %d%% is never reached", c.CloseSlow)
	}
	return nil
}
