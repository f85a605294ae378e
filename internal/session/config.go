package session

import (
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Config bounds sessions. The zero value works: every field has a default.
type Config struct {
	// Expiry is how long a session outlives its connection when the device does not say;
	// MaxExpiry bounds what it may say. Defaults 1h and 168h.
	Expiry, MaxExpiry time.Duration
	// MaxSessions bounds the sessions of the node, those away included. Default 2,000,000.
	MaxSessions int
	// MaxSubscriptions bounds the subscriptions of one session. Default 100.
	MaxSubscriptions int
	// InFlight is how many QoS 1 messages may be sent to a device and not acknowledged.
	// Default 32.
	InFlight int
	// Unanswered is how many QoS 1 publications of a device may wait for room at their
	// receivers before the device is not read any more. Default 32.
	Unanswered int
	// MaxCalls bounds the unanswered calls of one device. Default 32.
	MaxCalls int
	// Topics bounds topic names and filters.
	Topics topic.Limits
	// Queue bounds what a session holds for its device. It is given to the store.
	Queue store.Limits
}

func (c Config) withDefaults() Config {
	set(&c.Expiry, time.Hour)
	set(&c.MaxExpiry, 7*24*time.Hour)
	set(&c.MaxSessions, 2_000_000)
	set(&c.MaxSubscriptions, 100)
	set(&c.InFlight, 32)
	set(&c.Unanswered, 32)
	set(&c.MaxCalls, 32)
	return c
}

// set gives a field that is zero its default.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
