package session

import (
	"cmp"
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/topic"
)

// Config bounds sessions. The zero value works; WithDefaults has the defaults.
type Config struct {
	Expiry             time.Duration `yaml:"expiry" help:"how long a session outlives its connection when the device asks for nothing else"`
	MaxExpiry          time.Duration `yaml:"max_expiry" help:"longest expiry that a device may ask for"`
	MaxSessions        int           `yaml:"max_sessions" help:"sessions of the node, including those of devices that are away"`
	PerCredential      int           `yaml:"per_credential" help:"sessions of all devices that connected with one credential, including those that are away; a quarter of max_sessions when left out"`
	WillsPerCredential int           `yaml:"wills_per_credential" unit:"bytes" help:"bytes of the wills of those devices"`
	PerPrefix          []string      `yaml:"per_prefix" help:"sessions of all devices whose id begins with a prefix, including those that are away; each as prefix=limit such as demo-=100; the longest prefix counts"`
	WillsPerPrefix     []string      `yaml:"wills_per_prefix" help:"bytes of the wills of those devices; each as prefix=limit such as demo-=65536"`
	MaxSubscriptions   int           `yaml:"max_subscriptions" help:"subscriptions per session"`
	MaxFilters         int           `yaml:"max_filters" help:"filters per sub or SUBSCRIBE"`
	InFlight           int           `yaml:"in_flight" help:"QoS 1 and 2 messages that are sent to a device and not yet acknowledged"`
	Unanswered         int           `yaml:"unanswered" help:"QoS 1 and 2 publications of a device that may wait for their answer; at this number the gateway stops reading the device. MQTT 5 devices get it as Receive Maximum"`
	AckTimeout         time.Duration `yaml:"ack_timeout" help:"how long a device may leave a message unacknowledged while publishers wait for room in its queue; then its connection is closed"`
	MaxCalls           int           `yaml:"max_calls" help:"unanswered calls per device"`
	ServiceCalls       int           `yaml:"service_calls" help:"unanswered calls of a device to services; more are refused"`
	Topics             topic.Limits  `yaml:"topics" help:"topic names and filters"`
	Observer           Observer      `yaml:"-"` // may be nil

	Commands *command.Manager `yaml:"-"` // nil if there are no commands
	Services Services         `yaml:"-"` // nil if there are none
	Owners   Owners           `yaml:"-"` // nil if the node is in no cluster
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Expiry = cmp.Or(c.Expiry, time.Hour)
	c.MaxExpiry = cmp.Or(c.MaxExpiry, 7*24*time.Hour)
	c.MaxSessions = cmp.Or(c.MaxSessions, 2_000_000)
	c.PerCredential = cmp.Or(c.PerCredential, max(1, c.MaxSessions/4))
	c.WillsPerCredential = cmp.Or(c.WillsPerCredential, 16<<20)
	c.MaxSubscriptions = cmp.Or(c.MaxSubscriptions, 1000)
	c.MaxFilters = cmp.Or(c.MaxFilters, 1000)
	c.InFlight = cmp.Or(c.InFlight, 32)
	c.Unanswered = cmp.Or(c.Unanswered, 32)
	c.AckTimeout = cmp.Or(c.AckTimeout, time.Minute)
	c.MaxCalls = cmp.Or(c.MaxCalls, 32)
	c.ServiceCalls = cmp.Or(c.ServiceCalls, 16)
	c.Topics = c.Topics.WithDefaults()
	return c
}

// Validate returns what is wrong with c. The error begins with the key.
func (c Config) Validate() error {
	_, err := newPrefixes(&c)
	return err
}
