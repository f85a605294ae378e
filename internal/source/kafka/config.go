// Package kafka is a source that reads topics of Kafka as a member of a consumer group.
package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	client "github.com/longline/longline/internal/kafka"
)

// Config configures the source.
type Config struct {
	client.Config `yaml:",inline"`

	Topics      []string      `yaml:"topics" help:"the topics that are read"`
	Group       string        `yaml:"group" help:"the consumer group; gateways with the same one share the partitions. Left out, client_id, a dot, and the source's name"`
	From        string        `yaml:"from" help:"where a group begins that has no offset yet: oldest or newest"`
	Uncommitted bool          `yaml:"uncommitted" help:"also read what transactions have written that are not committed"`
	Timeout     time.Duration `yaml:"timeout" help:"how long the brokers may be silent before the source says that they do not answer"`
}

// The values of Config.From.
const (
	Oldest = "oldest"
	Newest = "newest"
)

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Config = c.Config.WithDefaults()
	c.From = cmp.Or(c.From, Oldest)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	return c
}

const (
	mostTopics   = 1000
	leastTimeout = time.Second
	mostTimeout  = 5 * time.Minute
)

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	errs := []error{c.Config.Validate()}
	if len(c.Topics) == 0 || len(c.Topics) > mostTopics {
		errs = append(errs, fmt.Errorf("topics: want 1 to %d topics", mostTopics))
	}
	for _, t := range c.Topics {
		if !client.ValidName(t) {
			errs = append(errs, fmt.Errorf("topics: want up to 249 of A-Z a-z 0-9 . _ -, not %q", t))
		}
	}
	if len(c.Group) > 255 {
		errs = append(errs, errors.New("group: want up to 255 bytes"))
	}
	if c.From != Oldest && c.From != Newest {
		errs = append(errs, fmt.Errorf("from: want %s or %s, not %q", Oldest, Newest, c.From))
	}
	if c.Timeout < leastTimeout || c.Timeout > mostTimeout {
		errs = append(errs, fmt.Errorf("timeout: want %v to %v", leastTimeout, mostTimeout))
	}
	return errors.Join(errs...)
}
