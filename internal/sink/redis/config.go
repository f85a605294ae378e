// Package redis has the sink that adds messages to streams of Redis, or of what speaks its protocol.
package redis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
)

// Config says where messages are added, and how.
type Config struct {
	Addresses []string       `yaml:"addresses" help:"host:port of the server, of some nodes of a cluster, or of the sentinels"`
	Username  string         `yaml:"username" help:"user of the servers"`
	Password  setting.Secret `yaml:"password" help:"password of the user, or of the servers"`
	Database  int            `yaml:"database" help:"number of the database; a cluster has 0 alone"`
	Sentinel  Sentinel       `yaml:"sentinel" help:"the server is the primary that sentinels name"`
	TLS       TLS            `yaml:"tls" help:"encryption"`
	Timeout   time.Duration  `yaml:"timeout" help:"how long the servers may take to answer"`

	Key      string            `yaml:"key" help:"template of the key of the stream, such as telemetry or telemetry:{payload.site}"`
	Fields   map[string]string `yaml:"fields" help:"fields of the entries, each with a template; left out, place, topic, source, time, content_type, traceparent and payload"`
	MaxLen   int64             `yaml:"max_len" help:"about how many entries a stream keeps: the oldest are removed, whether somebody has read them or not"`
	Replicas int               `yaml:"replicas" help:"a message is confirmed when this many replicas have it as well"`
	Synced   bool              `yaml:"synced" help:"a message is confirmed when the server, and the replicas, have it on disk: WAITAOF, from Redis 7.2 on, with appendonly"`
}

// Sentinel is how the primary is found.
type Sentinel struct {
	Primary  string         `yaml:"primary" help:"its name at the sentinels, whose addresses are those in addresses"`
	Username string         `yaml:"username" help:"user of the sentinels"`
	Password setting.Secret `yaml:"password" help:"password of the user, or of the sentinels"`
}

// TLS is how connections are encrypted.
type TLS struct {
	Enabled     bool `yaml:"enabled" help:"connections are encrypted"`
	setting.TLS `yaml:",inline"`
}

var _ setting.Section[Config] = Config{}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.MaxLen = cmp.Or(c.MaxLen, 1_000_000)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Addresses) == 0, "addresses: want host:port")
	for _, a := range c.Addresses {
		host, port, err := net.SplitHostPort(a)
		n, notNumber := strconv.ParseUint(port, 10, 16)
		bad(err != nil || host == "" || notNumber != nil || n == 0, "addresses: want host:port, not %q", setting.WithoutUser(a))
	}
	bad(c.Username != "" && !c.Password.Given(), "username: want password as well")
	bad(c.Database < 0 || c.Database > 1<<20, "database: want 0 to %d, not %d", 1<<20, c.Database)
	s := c.Sentinel
	bad(s.Primary == "" && (s.Username != "" || s.Password.Given()), "sentinel.primary: want the primary's name")
	bad(s.Username != "" && !s.Password.Given(), "sentinel.username: want sentinel.password as well")
	bad(!c.TLS.Enabled && c.TLS.TLS != (setting.TLS{}), "tls.enabled: want true, or no other key of tls")
	if err := c.TLS.Validate(); err != nil {
		bad(true, "tls.%w", err)
	}
	bad(c.Timeout < 10*time.Millisecond || c.Timeout > 5*time.Minute, "timeout: want 10ms to 5m, not %v", c.Timeout)
	bad(c.Key == "", "key: want a key, or a template of one")
	bad(c.MaxLen < 1, "max_len: want at least 1, not %d", c.MaxLen)
	bad(c.Replicas < 0 || c.Replicas > 100, "replicas: want 0 to 100, not %d", c.Replicas)
	_, _, err := c.templates()
	return errors.Join(append(errs, setting.Errors(err)...)...)
}

const (
	maxKey   = 1 << 10  // bytes of a key
	maxField = 16 << 20 // bytes of a field
)

// field is one field of an entry.
type field struct {
	name  string
	value route.Template
}

// templates returns the key, and the fields in the order of their names.
func (c Config) templates() (key route.Template, fields []field, err error) {
	key, keyErr := route.ParseTemplate(c.Key)
	errs := []error{}
	if keyErr != nil {
		errs = append(errs, fmt.Errorf("key: %w", keyErr))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		t, err := route.ParseTemplate(c.Fields[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("fields.%s: %w", name, err))
		}
		fields = append(fields, field{name, t.AtMost(maxField)})
	}
	return key.AtMost(maxKey), fields, errors.Join(errs...)
}
