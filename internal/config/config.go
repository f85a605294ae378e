// Package config reads the configuration file: one YAML document made of each package's own
// Config. The name, the meaning and the default of an option are declared once, where the
// option is: by the tags yaml, help and unit of its field and by the package's
// WithDefaults. The parser, the example and docs/configuration.md are derived from these.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/cluster"
	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/gateway/ocpp"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/model"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/source"
	"github.com/longline/longline/internal/source/feed"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
)

// Config is the whole configuration of a node. The zero value works; a zero option stands
// for its default.
type Config struct {
	Node     Node           `yaml:"node" help:"the node's number and its state"`
	Gateway  gateway.Config `yaml:"gateway" help:"the device port"`
	Auth     auth.Config    `yaml:"auth" help:"how devices authenticate and what they may do"`
	Sessions session.Config `yaml:"sessions" help:"what outlives a device's connection"`
	Commands command.Config `yaml:"commands" help:"calls to devices that outlive connections and restarts"`
	Store    store.Options  `yaml:"store" help:"queued and retained messages"`
	Router   router.Config  `yaml:"router" help:"routing of messages"`

	Streams setting.Named[stream.Config] `yaml:"streams" help:"messages that are kept on disk for backends to read, each stream under its name; needs store.path"`

	Sinks   setting.Named[sink.Config]   `yaml:"sinks" help:"systems behind that get the messages of streams, each sink under its name; a change of the file changes them without a restart"`
	Sources setting.Named[source.Config] `yaml:"sources" help:"systems behind whose records become publications, broadcasts or commands, each source under its name; a change of the file changes them without a restart"`

	Services setting.Named[service.Config] `yaml:"services" help:"what devices and the gateway call, each service under its name"`

	Models setting.Named[model.Config] `yaml:"models" help:"models that are asked about messages on their way, each under its name"`

	Cluster cluster.Config `yaml:"cluster" help:"other nodes with which this one is one gateway, on one Redis"`

	OCPP     ocpp.Config       `yaml:"ocpp" help:"chargers that speak OCPP-J"`
	Limits   limit.Config      `yaml:"limits" help:"protection against overload"`
	Register registry.Register `yaml:"register" help:"registries in which the gateway registers itself, for balancers and clients"`

	API api.Config `yaml:"api" help:"the admin port: backends, metrics, health"`
	Log Log        `yaml:"log" help:"the log, on standard error"`
}

// WithDefaults returns c with the defaults in place of zero options.
func (c Config) WithDefaults() Config {
	c.Node.State = cmp.Or(c.Node.State, c.Store.Path)
	c.Node = c.Node.WithDefaults()
	c.Router.Node = uint16(c.Node.Number)
	c.Gateway.Insecure = c.Gateway.Insecure || slices.Equal(c.Auth.Order, []string{"insecure"})
	c.Limits = c.Limits.WithDefaults()
	c.Gateway.Limits = c.Limits
	c.OCPP = c.OCPP.WithDefaults()
	c.Gateway.OCPP = c.OCPP
	c.Gateway = c.Gateway.WithDefaults()
	c.Auth = c.Auth.WithDefaults()
	c.Sessions = c.Sessions.WithDefaults()
	c.Commands = c.Commands.WithDefaults()
	c.Store = c.Store.WithDefaults()
	c.Router = c.Router.WithDefaults()
	c.Sinks = c.Sinks.WithDefaults()
	c.Sources = c.Sources.WithDefaults()
	c.Streams = withLetters(c.Streams, len(c.Sinks) > 0 || len(c.Sources) > 0 && c.Store.Path != "").WithDefaults()
	c.Services = c.Services.WithDefaults()
	c.Models = c.Models.WithDefaults()
	c.Register = c.Register.WithDefaults()
	c.Cluster = c.Cluster.WithDefaults()
	c.API.Topics = c.Sessions.Topics // the API accepts the same topics as sessions
	c.API = c.API.WithDefaults()
	c.Log = c.Log.WithDefaults()
	return c
}

// withLetters returns streams with the one of dead letters, if it is needed, and with its filter, if it is there.
func withLetters(streams setting.Named[stream.Config], needed bool) setting.Named[stream.Config] {
	letters, given := streams[pump.LettersStream]
	if len(letters.Filters) > 0 || !given && !needed {
		return streams
	}
	letters.Filters = []string{pump.LettersFilter, feed.LettersFilter}
	streams = maps.Clone(streams)
	if streams == nil {
		streams = make(setting.Named[stream.Config])
	}
	streams[pump.LettersStream] = letters
	return streams
}

// Check returns what is wrong with c: what each package finds in its section, and which sections do
// not fit together. It joins one *KeyError per finding.
func (c *Config) Check() error {
	d := c.WithDefaults()
	var errs []error
	section := func(name string, err error) {
		for _, e := range setting.Errors(err) {
			errs = append(errs, keyError(name, e))
		}
	}
	section("node", d.Node.Validate())
	section("gateway", d.Gateway.Validate())
	section("auth", d.Auth.Validate())
	section("api", d.API.Validate())
	section("sessions", d.Sessions.Validate())
	section("commands", d.Commands.Validate())
	section("store", d.Store.Validate())
	section("streams", d.Streams.Validate())
	section("sinks", d.Sinks.Validate())
	section("sources", d.Sources.Validate())
	section("services", d.Services.Validate())
	section("models", d.Models.Validate())
	section("models", model.CheckTogether(d.Models))
	section("register", d.Register.Validate())
	section("cluster", d.Cluster.Validate())
	section("ocpp", d.OCPP.Validate())
	section("limits", d.Limits.Validate())
	section("log", d.Log.Validate())
	return errors.Join(append(errs, d.fit()...)...)
}

// fit returns what does not fit together between sections.
func (c *Config) fit() (errs []error) {
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			errs = append(errs, &KeyError{key, fmt.Sprintf(format, args...)})
		}
	}
	g, order := c.Gateway, c.Auth.Order
	want(!g.Insecure || len(order) == 0 || slices.Equal(order, []string{"insecure"}), "gateway.insecure",
		"needs an empty auth.order, because no device authenticates")
	want(!slices.Contains(order, "insecure") || g.OnLoopback() || g.ForceInsecure, "auth.order",
		"insecure needs a loopback address in gateway.listen such as 127.0.0.1:8080, not %q, or gateway.force_insecure", g.Listen)
	want(!slices.Contains(order, "certificate") || g.TLS.ClientAuth != "none", "auth.order",
		"certificate needs gateway.tls.client_ca")
	distinct := func(key, address, otherKey, other string) { // otherwise the kernel would distribute connections over both listeners
		want(address == "" || address != other || strings.HasSuffix(address, ":0"), key, "%q is also %s", address, otherKey)
	}
	distinct("gateway.mqtt.listen", g.MQTT.Listen, "gateway.listen", g.Listen)
	distinct("gateway.mqtt.tls_listen", g.MQTT.TLSListen, "gateway.listen", g.Listen)
	distinct("gateway.mqtt.tls_listen", g.MQTT.TLSListen, "gateway.mqtt.listen", g.MQTT.Listen)
	if _, _, err := c.Register.Reach(g.Listen); err != nil && c.Register.Address == "" {
		want(!c.Register.Given(), "register.address", "is needed, because gateway.listen, %q, does not say by which host others reach the gateway", g.Listen)
		want(!g.Nodes || g.URL != "", "gateway.url", "is needed with gateway.nodes, because gateway.listen, %q, does not say by which host devices reach the gateway", g.Listen)
	}
	_, serviceKnown := c.Services[c.OCPP.Service]
	want(serviceKnown || c.OCPP.Service == "", "ocpp.service", "services has no %q", c.OCPP.Service)
	want(!c.Services[c.OCPP.Service].Private, "ocpp.service", "%s is private, and chargers are devices", c.OCPP.Service)
	s, q, a := c.Sessions, c.Store.Queue, c.API
	want(s.Expiry <= s.MaxExpiry, "sessions.expiry",
		"%s is longer than sessions.max_expiry, %s", formatDuration(s.Expiry), formatDuration(s.MaxExpiry))
	want(s.InFlight <= q.Count, "sessions.in_flight",
		"%d is more than store.queue.count, %d, which includes them", s.InFlight, q.Count)
	want(q.Bytes >= c.Gateway.MaxPayload, "store.queue.bytes",
		"%s does not hold one message of gateway.max_payload, %s", formatBytes(q.Bytes), formatBytes(c.Gateway.MaxPayload))
	want(q.Bytes >= a.MaxPayload, "store.queue.bytes",
		"%s does not hold one message of api.max_payload, %s", formatBytes(q.Bytes), formatBytes(a.MaxPayload))
	want(a.CallTimeout <= a.MaxCallTimeout, "api.call_timeout",
		"%s is longer than api.max_call_timeout, %s", formatDuration(a.CallTimeout), formatDuration(a.MaxCallTimeout))
	want(a.Inbox.Messages <= a.MaxInbox.Messages, "api.inbox.messages",
		"%d is more than api.max_inbox.messages, %d", a.Inbox.Messages, a.MaxInbox.Messages)
	want(a.Inbox.Bytes <= a.MaxInbox.Bytes, "api.inbox.bytes",
		"%s is more than api.max_inbox.bytes, %s", formatBytes(a.Inbox.Bytes), formatBytes(a.MaxInbox.Bytes))
	if name := c.Auth.Webhook.Service; name != "" && slices.Contains(order, "webhook") {
		s, ok := c.Services[name]
		want(ok && !s.Serve, "auth.webhook.service", "%s is not a service with instances, under services", name)
		want(!ok || s.Serve || s.Private, "auth.webhook.service", "%s needs private: true, or devices could call what decides about them", name)
	}
	for name, one := range c.Models {
		s, ok := c.Services[one.Service]
		want(one.Service == "" || ok && !s.Serve && s.Protocol == service.GRPC, "models."+name+".service",
			"%s is not a service with instances and protocol grpc, under services", one.Service)
	}
	want(len(c.Streams) == 0 || c.Store.Path != "", "streams", "need store.path, the directory in which they are")
	for name, one := range c.Sinks {
		_, known := c.Streams[one.Stream]
		want(known || one.Stream == "", "sinks."+name+".stream", "streams has no %q", one.Stream)
		want(one.Model == "" || c.Models[one.Model].Sets(), "sinks."+name+".model", "models has no %q with output.set", one.Model)
	}
	want(len(c.Sinks) == 0 || slices.Contains(c.Streams[pump.LettersStream].Filters, pump.LettersFilter), "streams."+pump.LettersStream+".filters",
		"want %s among them: sinks publish what they cannot write there", pump.LettersFilter)
	for name, one := range c.Streams {
		want(one.Ack != stream.Delivered || c.hasSink(name), "streams."+name+".ack", "%s needs a sink of the stream, under sinks", stream.Delivered)
		least := stream.LeastBytes(c.MaxRecord())
		want(one.MaxBytes >= least, "streams."+name+".max_bytes",
			"%s is too little for messages of gateway.max_payload, %s, and api.max_payload, %s: want at least %s",
			formatBytes(one.MaxBytes), formatBytes(c.Gateway.MaxPayload), formatBytes(a.MaxPayload), formatBytes(least))
	}
	return errs
}

// hasSink reports whether a stream has a sink.
func (c *Config) hasSink(stream string) bool {
	for _, one := range c.Sinks {
		if one.Stream == stream {
			return true
		}
	}
	return false
}

// MaxRecord returns a bound for the record of a message. A record may be larger than the packet, by the user properties.
func (c *Config) MaxRecord() int { return 2*max(c.Gateway.MaxPayload, c.API.MaxPayload) + 256<<10 }

// KeyError says what is wrong with the value of one option.
type KeyError struct {
	Key string // such as gateway.heartbeat
	Msg string
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Msg }

// keyError makes a KeyError of a package's error about its section, which begins
// with the key.
func keyError(section string, err error) *KeyError {
	key, msg, _ := strings.Cut(err.Error(), " ")
	return &KeyError{section + "." + strings.TrimSuffix(key, ":"), msg}
}
