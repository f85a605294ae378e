// Package redis has the sink that adds messages to streams of Redis, or of what speaks its protocol.
package redis

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
)

// Config says where messages are added, and how.
type Config struct {
	redisconn.Config `yaml:",inline"`

	Key      string            `yaml:"key" help:"template of the key of the stream, such as telemetry or telemetry:{payload.site}"`
	Fields   map[string]string `yaml:"fields" help:"fields of the entries, each with a template; left out, place, topic, source, time, content_type, traceparent and payload"`
	MaxLen   int64             `yaml:"max_len" help:"about how many entries a stream keeps: the oldest are removed, whether somebody has read them or not"`
	Replicas int               `yaml:"replicas" help:"a message is confirmed when this many replicas have it as well"`
	Synced   bool              `yaml:"synced" help:"a message is confirmed when the server, and the replicas, have it on disk: WAITAOF, from Redis 7.2 on, with appendonly"`
}

var _ setting.Section[Config] = Config{}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Config = c.Config.WithDefaults()
	c.MaxLen = cmp.Or(c.MaxLen, 1_000_000)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	errs := setting.Errors(c.Config.Validate())
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
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
