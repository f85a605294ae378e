package api

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// Config bounds what backends may ask for. The zero value works; WithDefaults has the
// defaults.
type Config struct {
	Address        string             `yaml:"address" help:"host:port that backends connect to; a loopback address when there is no tokens file"`
	Tokens         string             `yaml:"tokens" help:"who may do what: lines of read, operate or admin, sha256: with the token's SHA-256 in hexadecimal digits, and a name; read again when it changes; without it, whoever reaches the port may do everything"`
	Cert           string             `yaml:"cert" help:"certificate chain for TLS, a PEM file; read again when it changes"`
	Key            string             `yaml:"key" help:"its private key, a PEM file; read again when it changes"`
	Origins        []string           `yaml:"origins" help:"origins of web pages that may call, such as https://example.com, besides the port's own"`
	Audit          string             `yaml:"audit" help:"file to which everything that is done, but reading, is appended as lines of JSON; - is standard error"`
	MaxPayload     int                `yaml:"max_payload" unit:"bytes" help:"largest payload of a message or call"`
	Topics         topic.Limits       `yaml:"-"` // those of the sessions
	MaxConnections int                `yaml:"max_connections" help:"connections of the port; beyond it the oldest that has shown no token is closed"`
	MaxFilters     int                `yaml:"max_filters" help:"filters of a subscription"`
	MaxPageSize    int                `yaml:"max_page_size" help:"devices of a page of ListDevices"`
	CallTimeout    time.Duration      `yaml:"call_timeout" help:"how long a call waits for its answer when it does not say"`
	MaxCallTimeout time.Duration      `yaml:"max_call_timeout" help:"the most that a call may say"`
	MaxPublishing  int                `yaml:"max_publishing" help:"QoS 1 publications of all backends that wait for their receivers at one time"`
	MaxSubscribers int                `yaml:"max_subscribers" help:"subscriptions of all backends"`
	Inbox          router.InboxConfig `yaml:"inbox" help:"the buffer of a subscription that does not say"`
	MaxInbox       router.InboxConfig `yaml:"max_inbox" help:"the largest buffer that a subscription may ask for"`
	Batch          router.InboxConfig `yaml:"batch" help:"one response of a subscription; gRPC clients take 4 MiB unless told otherwise"`
	Heartbeat      time.Duration      `yaml:"heartbeat" help:"how often an idle stream of events shows that it lives"`
	Stall          time.Duration      `yaml:"stall" help:"how long a subscriber may take for one batch before it is ended, so that it does not hold publishers up for ever"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Address = cmp.Or(c.Address, "127.0.0.1:8081")
	c.MaxPayload = cmp.Or(c.MaxPayload, 256<<10)
	c.MaxConnections = cmp.Or(c.MaxConnections, 1000)
	c.MaxFilters = cmp.Or(c.MaxFilters, 100)
	c.MaxPageSize = cmp.Or(c.MaxPageSize, 1000)
	c.CallTimeout = cmp.Or(c.CallTimeout, 10*time.Second)
	c.MaxCallTimeout = cmp.Or(c.MaxCallTimeout, 5*time.Minute)
	c.MaxPublishing = cmp.Or(c.MaxPublishing, 10_000)
	c.MaxSubscribers = cmp.Or(c.MaxSubscribers, 100)
	c.Inbox.Messages = cmp.Or(c.Inbox.Messages, 1<<16)
	c.Inbox.Bytes = cmp.Or(c.Inbox.Bytes, 64<<20)
	c.MaxInbox.Messages = cmp.Or(c.MaxInbox.Messages, 1<<20)
	c.MaxInbox.Bytes = cmp.Or(c.MaxInbox.Bytes, 256<<20)
	c.Batch.Messages = cmp.Or(c.Batch.Messages, 1000)
	c.Batch.Bytes = cmp.Or(c.Batch.Bytes, 1<<20)
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.Stall = cmp.Or(c.Stall, 30*time.Second)
	return c
}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("cert: cert and key go together")
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return fmt.Errorf("address: want host:port, not %q", c.Address)
	}
	if c.Tokens == "" && !isLoopback(host) {
		return fmt.Errorf("tokens: is missing; without it the admin port is on a loopback address only, such as 127.0.0.1:8081, not on %q", c.Address)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// maxBody bounds a request in bytes: a payload as base64 or as text with every second
// character escaped, and what the other fields may need.
func (c *Config) maxBody() int { return 2*c.MaxPayload + 256<<10 }
