// Package kafka is a sink that writes a stream's messages into topics of Kafka: each at least once, or with transactions exactly once.
package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/route"
)

// Config configures the sink.
type Config struct {
	client.Config `yaml:",inline"`

	Topic       string `yaml:"topic" help:"template of the topic, such as telemetry or telemetry.{payload.site}"`
	Key         string `yaml:"key" help:"template of the record's key, which says whose records keep their order; left out or where it makes an empty text, the device that published the message, or else its topic"`
	Compression string `yaml:"compression" help:"none, gzip, snappy, lz4 or zstd"`

	CreateTopics bool `yaml:"create_topics" help:"create a topic that does not exist, with the partitions and replicas that the brokers have as their default"`
	MaxTopics    int  `yaml:"max_topics" help:"topics that the sink writes to, if the topic has parts of the message; a message for one more is refused"`
	Partitions   int  `yaml:"partitions" help:"number of partitions over which keys are spread; left out, as many as the topic had when a sink of this name first wrote to it, so that a device's records stay in one partition when partitions are added"`

	Transactional bool   `yaml:"transactional" help:"write by transactions, which also have the place in the stream, so that readers with read_committed get each message once; one lane"`
	PlaceTopic    string `yaml:"place_topic" help:"an existing topic under which the place is kept, as an offset of a group of the sink's own; nothing is written to it. Left out, topic; needed if topic has parts of the message"`

	Timeout time.Duration `yaml:"timeout" help:"how long the sink waits for the brokers before it says that they do not answer; what it has given to them stays under way"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Config = c.Config.WithDefaults()
	c.Compression = cmp.Or(c.Compression, "none")
	c.MaxTopics = cmp.Or(c.MaxTopics, 100)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	if t, err := route.ParseTemplate(c.Topic); err == nil && t.Literal() {
		c.PlaceTopic = cmp.Or(c.PlaceTopic, t.String())
	}
	return c
}

const (
	mostTopics     = 10_000
	mostPartitions = 100_000
	leastTimeout   = time.Second
	mostTimeout    = 5 * time.Minute
)

var compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	errs := []error{c.Config.Validate()}
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	topic, err := route.ParseTemplate(c.Topic)
	switch {
	case c.Topic == "":
		bad(true, "topic: want a topic, or a template of one")
	case err != nil:
		bad(true, "topic: %w", err)
	case topic.Literal() && !client.ValidName(topic.String()):
		bad(true, "topic: want up to 249 of A-Z a-z 0-9 . _ -, not %q", c.Topic)
	}
	_, err = route.ParseTemplate(c.Key)
	bad(err != nil, "key: %w", err)
	bad(!slices.Contains(compressions, c.Compression), "compression: want one of %s, not %q", strings.Join(compressions, ", "), c.Compression)
	bad(c.MaxTopics < 1 || c.MaxTopics > mostTopics, "max_topics: want 1 to %d", mostTopics)
	bad(c.Partitions < 0 || c.Partitions > mostPartitions, "partitions: want 1 to %d", mostPartitions)
	bad(c.Transactional && c.PlaceTopic == "" && err == nil, "place_topic: want a topic that exists, because topic has parts of the message")
	bad(c.PlaceTopic != "" && !client.ValidName(c.PlaceTopic), "place_topic: want up to 249 of A-Z a-z 0-9 . _ -, not %q", c.PlaceTopic)
	bad(c.Timeout < leastTimeout || c.Timeout > mostTimeout, "timeout: want %v to %v", leastTimeout, mostTimeout)
	return errors.Join(errs...)
}
