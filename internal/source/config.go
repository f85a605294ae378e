// Package source has the sources of a node: which records of systems behind become publications, broadcasts or commands. Each is a feed.Source with a
// feed, which is one of the packages below this one.
package source

import (
	"errors"
	"fmt"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/source/feed"
	"github.com/longline/longline/internal/source/kafka"
	"github.com/longline/longline/internal/source/mqtt"
)

// Config configures one source. One of its feeds is given.
type Config struct {
	Feed  feed.Config  `yaml:",inline"`
	Route route.Config `yaml:",inline"`

	Kafka kafka.Config `yaml:"kafka" help:"from topics of Kafka"`
	MQTT  mqtt.Config  `yaml:"mqtt" help:"from another MQTT broker"`
}

var _ setting.Section[Config] = Config{}

type kind = setting.Kind[feed.Options, feed.Feed]

// kinds returns the feeds of c with their keys.
func (c *Config) kinds() []kind {
	return []kind{
		setting.KindOf("kafka", &c.Kafka, kafka.Open),
		setting.KindOf("mqtt", &c.MQTT, mqtt.Open),
	}
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config { return c.withDefaults(false) }

// Sample returns c with the defaults of all feeds, for the documentation.
func (c Config) Sample() Config { return c.withDefaults(true) }

func (c Config) withDefaults(all bool) Config {
	c.Feed, c.Route = c.Feed.WithDefaults(), c.Route.WithDefaults()
	for _, k := range c.kinds() {
		if k.Given || all {
			k.SetDefaults()
		}
	}
	return c
}

// Validate returns what is wrong with c, after WithDefaults: also if it has no feed, or several. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	errs = append(errs, setting.Errors(c.Feed.Validate())...)
	errs = append(errs, setting.Errors(c.Route.Validate())...)
	k, err := c.feed()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, err := range setting.Errors(k.Validate()) {
		errs = append(errs, fmt.Errorf("%s.%w", k.Key, err))
	}
	// The table of an MQTT source says on which topics records are published.
	if k.Key != "mqtt" && c.Feed.MakesNothing() {
		errs = append(errs, errors.New("publish: want one of publish, broadcast and command"))
	}
	return errors.Join(errs...)
}

// feed returns the only feed of c.
func (c *Config) feed() (kind, error) { return setting.Only(c.kinds(), "where the records come from") }

// Kind returns the key of the feed of c, such as kafka.
func (c Config) Kind() string {
	k, _ := c.feed()
	return k.Key
}
