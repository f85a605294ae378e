package api

import (
	"time"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// Config bounds what backends may ask for. The zero value works: every field has a default.
type Config struct {
	// Address is where Listen listens, host:port. Whoever reaches it may do everything, so
	// it is on loopback by default: 127.0.0.1:8081.
	Address string

	// MaxPayload bounds the payload of a message and of a call, in bytes. Default 256 KiB.
	MaxPayload int
	// Topics bounds topic names and filters.
	Topics topic.Limits
	// MaxFilters bounds the filters of one subscription. Default 100.
	MaxFilters int
	// MaxPageSize bounds a page of ListDevices. Default 1000.
	MaxPageSize int

	// CallTimeout is how long a call waits for its answer when it does not say, and
	// MaxCallTimeout how long it may ask for. Defaults 10s and 5m.
	CallTimeout, MaxCallTimeout time.Duration

	// MaxPublishing bounds the QoS 1 publications of all backends that wait for their
	// receivers at one time. Default 10,000.
	MaxPublishing int

	// MaxSubscribers bounds the subscriptions of all backends. Default 100.
	MaxSubscribers int
	// Inbox is the buffer of a subscription that does not say, and MaxInbox the largest it
	// may ask for. Defaults 65,536 messages and 64 MiB, 1,048,576 messages and 256 MiB.
	Inbox, MaxInbox router.InboxConfig
	// Batch bounds one response of a subscription. Default 1000 messages and 1 MiB; gRPC
	// clients take 4 MiB unless told otherwise.
	Batch router.InboxConfig
	// Heartbeat is how often an idle stream of events shows that it lives. Default 15s.
	Heartbeat time.Duration
	// Stall is how long a subscriber may take for one batch before its subscription is
	// ended, so that one that hangs does not hold publishers up for ever. Default 30s.
	Stall time.Duration
}

func (c Config) withDefaults() Config {
	set(&c.Address, "127.0.0.1:8081")
	set(&c.MaxPayload, 256<<10)
	set(&c.MaxFilters, 100)
	set(&c.MaxPageSize, 1000)
	set(&c.CallTimeout, 10*time.Second)
	set(&c.MaxCallTimeout, 5*time.Minute)
	set(&c.MaxPublishing, 10_000)
	set(&c.MaxSubscribers, 100)
	set(&c.Inbox.Messages, 1<<16)
	set(&c.Inbox.Bytes, 64<<20)
	set(&c.MaxInbox.Messages, 1<<20)
	set(&c.MaxInbox.Bytes, 256<<20)
	set(&c.Batch.Messages, 1000)
	set(&c.Batch.Bytes, 1<<20)
	set(&c.Heartbeat, 15*time.Second)
	set(&c.Stall, 30*time.Second)
	return c
}

// set gives a field that is zero its default.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxBody bounds a request in bytes: a payload as base64 or as text with every second
// character escaped, and what the other fields may need.
func (c *Config) maxBody() int { return 2*c.MaxPayload + 256<<10 }
