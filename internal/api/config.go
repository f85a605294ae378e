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

// Config bounds what backends may request. The zero value works; WithDefaults has the
// defaults.
type Config struct {
	Address        string             `yaml:"address" help:"host:port that backends connect to; without a tokens file only a loopback address is allowed"`
	Tokens         string             `yaml:"tokens" help:"file with one token per line: a role (read, operate or admin), sha256: with the token's SHA-256 in hexadecimal digits, and a name; read again when it changes; without it, anyone who reaches the port may do everything"`
	Cert           string             `yaml:"cert" help:"certificate chain for TLS, a PEM file; read again when it changes"`
	Key            string             `yaml:"key" help:"private key of cert, a PEM file; read again when it changes"`
	Origins        []string           `yaml:"origins" help:"origins of web pages that may call the API, such as https://example.com, in addition to the port's own origin"`
	Audit          string             `yaml:"audit" help:"file to which every request except reading is appended as one line of JSON; - is standard error"`
	MaxPayload     int                `yaml:"max_payload" unit:"bytes" help:"largest payload of a message or call"`
	Topics         topic.Limits       `yaml:"-"` // the limits of the sessions
	MaxConnections int                `yaml:"max_connections" help:"maximum number of connections of the port; beyond it the oldest one without a valid token is closed"`
	MaxFilters     int                `yaml:"max_filters" help:"maximum number of filters per subscription"`
	MaxPageSize    int                `yaml:"max_page_size" help:"maximum number of devices per page of ListDevices"`
	CallTimeout    time.Duration      `yaml:"call_timeout" help:"how long a call waits for its reply if the request names no timeout"`
	MaxCallTimeout time.Duration      `yaml:"max_call_timeout" help:"longest timeout that a call may name"`
	MaxPublishing  int                `yaml:"max_publishing" help:"maximum number of QoS 1 publications of all backends that wait for their receivers"`
	MaxSubscribers int                `yaml:"max_subscribers" help:"maximum number of subscriptions of all backends"`
	MaxReaders     int                `yaml:"max_readers" help:"maximum number of backends that read streams at once"`
	MaxServing     int                `yaml:"max_serving" help:"maximum number of streams by which backends with one token serve services"`
	Inbox          router.InboxConfig `yaml:"inbox" help:"the buffer of a subscription if the request names no size"`
	MaxInbox       router.InboxConfig `yaml:"max_inbox" help:"the largest buffer that a subscription may request"`
	Batch          router.InboxConfig `yaml:"batch" help:"the most that one response of a subscription or a consumer holds; gRPC clients accept 4 MiB unless configured otherwise"`
	Heartbeat      time.Duration      `yaml:"heartbeat" help:"how often the gateway sends a comment on an idle stream of events"`
	Stall          time.Duration      `yaml:"stall" help:"how long a subscriber or a consumer may take to accept one batch; after that its connection is closed, so that it does not delay publishers for ever"`
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
	c.MaxReaders = cmp.Or(c.MaxReaders, 100)
	c.MaxServing = cmp.Or(c.MaxServing, 100)
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

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("cert: want both cert and key, or neither")
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return fmt.Errorf("address: want host:port, not %q", c.Address)
	}
	if c.Tokens == "" && !isLoopback(host) {
		return fmt.Errorf("tokens: missing; without it api.address must be a loopback address such as 127.0.0.1:8081, not %q", c.Address)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// maxBody bounds a request in bytes: a payload as base64, or as text in which every second
// character is escaped, and the other fields.
func (c *Config) maxBody() int { return 2*c.MaxPayload + 256<<10 }
