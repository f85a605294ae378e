// Package sink has the sinks of a node: which systems behind get the messages of which streams. Each is a pump (package pump) with a target, which is
// one of the packages below this one.
package sink

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/file"
	"github.com/longline/longline/internal/sink/kafka"
	"github.com/longline/longline/internal/sink/mqtt"
	"github.com/longline/longline/internal/sink/nats"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/redis"
	"github.com/longline/longline/internal/sink/sql"
	"github.com/longline/longline/internal/sink/webhook"
)

// Config configures one sink. One of its targets is given.
type Config struct {
	Stream string       `yaml:"stream" help:"the stream whose messages the sink gets, one of streams"`
	Route  route.Config `yaml:",inline"`
	Model  string       `yaml:"model" help:"the model that is asked about the messages, behind where, set and drop, one of models with output.set"`
	Pump   pump.Config  `yaml:",inline"`

	File     file.Config    `yaml:"file" help:"to a file, for a first try and for archives"`
	Kafka    kafka.Config   `yaml:"kafka" help:"to topics of Kafka"`
	MQTT     mqtt.Config    `yaml:"mqtt" help:"to another MQTT broker"`
	Webhook  webhook.Config `yaml:"webhook" help:"to a service over HTTP"`
	Postgres sql.Postgres   `yaml:"postgres" help:"to tables of PostgreSQL"`
	MySQL    sql.MySQL      `yaml:"mysql" help:"to tables of MySQL or MariaDB"`
	Redis    redis.Config   `yaml:"redis" help:"to streams of Redis or Valkey"`
	NATS     nats.Config    `yaml:"nats" help:"to streams of NATS JetStream"`
}

type kind = setting.Kind[pump.Options, pump.Target]

// kinds returns the targets of c with their keys.
func (c *Config) kinds() []kind {
	return []kind{
		setting.KindOf("file", &c.File, file.Open),
		setting.KindOf("kafka", &c.Kafka, kafka.Open),
		setting.KindOf("mqtt", &c.MQTT, mqtt.Open),
		setting.KindOf("webhook", &c.Webhook, webhook.Open),
		setting.KindOf("postgres", &c.Postgres, sql.OpenPostgres),
		setting.KindOf("mysql", &c.MySQL, sql.OpenMySQL),
		setting.KindOf("redis", &c.Redis, redis.Open),
		setting.KindOf("nats", &c.NATS, nats.Open),
	}
}

var _ setting.Section[Config] = Config{}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config { return c.withDefaults(false) }

// Sample returns c with the defaults of all targets, for the documentation.
func (c Config) Sample() Config { return c.withDefaults(true) }

func (c Config) withDefaults(all bool) Config {
	c.Route, c.Pump = c.Route.WithDefaults(), c.Pump.WithDefaults()
	for _, k := range c.kinds() {
		if k.Given || all {
			k.SetDefaults()
		}
	}
	return c
}

// Validate returns what is wrong with c, after WithDefaults: also if it has no target, or several. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	if c.Stream == "" {
		errs = append(errs, errors.New("stream: want the name of one of streams"))
	}
	errs = append(errs, setting.Errors(c.Route.Validate())...)
	errs = append(errs, setting.Errors(c.Pump.Validate())...)
	k, err := c.target()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, err := range setting.Errors(k.Validate()) {
		errs = append(errs, fmt.Errorf("%s.%w", k.Key, err))
	}
	return errors.Join(errs...)
}

// target returns the only target of c.
func (c *Config) target() (kind, error) { return setting.Only(c.kinds(), "where the messages go") }

// Kind returns the key of the target of c, such as kafka.
func (c Config) Kind() string {
	k, _ := c.target()
	return k.Key
}

// Parts are a sink that is open and does not run.
type Parts struct {
	Route  *route.Route
	Target pump.Target
}

// Needs are what opening a sink needs.
type Needs struct {
	Node     uint16
	Services *service.Set
	Watcher  *reload.Watcher
	Loops    *bridge.Loops
	Log      *slog.Logger
	Offline  bool // nothing is ever asked of another system: for checks, and for longline sink test
}

// Open opens the parts of the sink with this name. It reads files and contacts nobody. Each error begins with the key. c is valid, after WithDefaults.
func (c Config) Open(name string, n Needs) (Parts, error) {
	k, err := c.target()
	if err != nil {
		return Parts{}, err
	}
	r, err := route.Open(c.Route, route.Options{Watcher: n.Watcher, Log: n.Log, Offline: n.Offline})
	if err != nil {
		return Parts{}, err
	}
	t, err := k.Open(pump.Options{
		Name: name, Stream: c.Stream, Node: n.Node, Lanes: c.Pump.Lanes, Services: n.Services, Watcher: n.Watcher, Loops: n.Loops, Log: n.Log,
	})
	if err != nil {
		return Parts{}, fmt.Errorf("%s.%w", k.Key, err)
	}
	return Parts{r, t}, nil
}
