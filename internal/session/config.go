package session

import (
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Config bounds sessions. The zero value works; WithDefaults has the defaults.
type Config struct {
	Expiry           time.Duration `yaml:"expiry" help:"how long a session outlives its connection when the device does not say"`
	MaxExpiry        time.Duration `yaml:"max_expiry" help:"the most that a device may say"`
	MaxSessions      int           `yaml:"max_sessions" help:"sessions of the node, those away included"`
	MaxSubscriptions int           `yaml:"max_subscriptions" help:"subscriptions of a session"`
	MaxFilters       int           `yaml:"max_filters" help:"filters of one sub or unsub"`
	InFlight         int           `yaml:"in_flight" help:"QoS 1 messages sent to a device and not acknowledged"`
	Unanswered       int           `yaml:"unanswered" help:"QoS 1 publications of a device that may wait for room at their receivers before it is not read any more"`
	MaxCalls         int           `yaml:"max_calls" help:"unanswered calls of a device"`
	Topics           topic.Limits  `yaml:"topics" help:"topic names and filters"`
	Queue            store.Limits  `yaml:"-"` // the store's own configuration has it
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	set(&c.Expiry, time.Hour)
	set(&c.MaxExpiry, 7*24*time.Hour)
	set(&c.MaxSessions, 2_000_000)
	set(&c.MaxSubscriptions, 100)
	set(&c.MaxFilters, 64)
	set(&c.InFlight, 32)
	set(&c.Unanswered, 32)
	set(&c.MaxCalls, 32)
	c.Topics = c.Topics.WithDefaults()
	return c
}

// set gives a field that is zero its default.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
