// Package gateway joins its rooms: it opens the device ports, lets connections in by gateway/door, serves them by
// gateway/ws, gateway/mqtt and gateway/ocpp, drains them, and exports the counters of all of that.
package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/gateway/mqtt"
	"github.com/longline/longline/internal/gateway/ocpp"
	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/proxyproto"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// Config has the options of a Gateway. The zero value works, but refuses every device: only Auth or Insecure can
// authenticate one. WithDefaults sets the defaults.
type Config struct {
	Listen           string        `yaml:"listen" help:"address that devices connect to; with insecure, 127.0.0.1:8080 when left out"`
	Insecure         bool          `yaml:"insecure" help:"accept any device id without credentials; loopback addresses only"`
	ForceInsecure    bool          `yaml:"force_insecure" help:"with insecure, listen on any address: whoever reaches the port can be any device"`
	Origins          []string      `yaml:"origins" help:"origins of web pages that may connect, such as https://example.com; any when left out"`
	MaxConnections   int           `yaml:"max_connections" help:"connections at the same time"`
	Loops            int           `yaml:"loops" help:"event loops, at most 256; 0 means one per processor"`
	MaxPayload       int           `yaml:"max_payload" unit:"bytes" help:"largest packet that a device may send"`
	HeaderBytes      int           `yaml:"header_bytes" unit:"bytes" help:"largest handshake, and largest CONNECT of MQTT with its will"`
	UnverifiedBytes  int           `yaml:"unverified_bytes" unit:"bytes" help:"memory for all unfinished handshakes and CONNECTs together"`
	HeaderFields     int           `yaml:"header_fields" help:"header lines per handshake"`
	HandshakeTimeout time.Duration `yaml:"handshake_timeout" help:"how long a handshake may take"`
	Heartbeat        time.Duration `yaml:"heartbeat" help:"silence after which a device is pinged"`
	HeartbeatTimeout time.Duration `yaml:"heartbeat_timeout" help:"silence after which its connection is closed; twice heartbeat when left out"`
	MessageTimeout   time.Duration `yaml:"message_timeout" help:"how long a message may take to arrive, from its first byte to its last; the time while the gateway does not read the device does not count"`
	PendingBytes     int           `yaml:"pending_bytes" unit:"bytes" help:"unsent bytes of a connection above which messages wait in the session's queue; answers and calls pass them"`
	StallTimeout     time.Duration `yaml:"stall_timeout" help:"how long a device may read nothing of what is pending for it; then its connection is closed as a slow consumer"`
	Compression      bool          `yaml:"compression" help:"permessage-deflate for devices that offer it"`
	CompressAbove    int           `yaml:"compress_above" unit:"bytes" help:"smallest packet that is compressed"`
	Paths            []string      `yaml:"paths" help:"paths at which devices connect besides /connect, such as /ocpp for /ocpp/{device}; / stands for every other path"`
	DefaultProtocol  string        `yaml:"default_protocol" help:"subprotocol of a device that offers none, such as ocpp1.6 for chargers that do not name it"`
	RawProtocols     []string      `yaml:"raw_protocols" help:"subprotocols in which each frame is a message, such as ocpp1.6"`
	Nodes            bool          `yaml:"nodes" help:"answer GET /v1/nodes on the device port, to anyone, with the URLs of the nodes to which a client may connect: this one, and those in the registries of the section register"`
	URL              string        `yaml:"url" help:"URL at which devices reach this node, such as wss://gw-1.example.com, for these lists; left out, it is made of register.address or gateway.listen"`
	DrainRate        int           `yaml:"drain_rate" help:"connections closed per second while draining"`
	DrainSpread      time.Duration `yaml:"drain_spread" help:"drained devices are told to come back after a random delay of up to this"`
	DrainDelay       time.Duration `yaml:"drain_delay" help:"how long a node that is drained still takes devices, while its health checks fail already, so that balancers stop sending any; in a cluster 5s when left out"`
	DrainTimeout     time.Duration `yaml:"drain_timeout" help:"how long draining may take after SIGTERM or SIGINT"`
	TLS              TLS           `yaml:"tls" help:"TLS on the device port"`
	MQTT             MQTT          `yaml:"mqtt" help:"MQTT over TCP and TLS; MQTT over WebSocket is always on"`
	Proxies          Proxies       `yaml:"proxies" help:"proxies that the gateway trusts to say who connects"`
	Limits           limit.Config  `yaml:"-"` // the section limits of the file
	OCPP             ocpp.Config   `yaml:"-"` // the section ocpp of the file

	Account *message.Account `yaml:"-"` // counts kept messages; the gateway sets its limit; nil has none

	Observer door.Observer `yaml:"-"` // may be nil

	Together bool `yaml:"-"` // other nodes take the devices: a drain closes the ports, and its devices go when somebody calls Move

	NodeList func() []byte `yaml:"-"` // returns the answer to GET /v1/nodes without blocking; needed with Nodes

	Auth *auth.Chain `yaml:"-"` // authenticates devices; nil refuses all. It outlives the gateway.
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Listen = cmp.Or(c.Listen, ":8080")
	if c.Insecure && !c.ForceInsecure && c.Listen == ":8080" {
		c.Listen = "127.0.0.1:8080"
	}
	c.MaxConnections = cmp.Or(c.MaxConnections, 100_000)
	c.MaxPayload = cmp.Or(c.MaxPayload, 256<<10)
	c.HeaderBytes = cmp.Or(c.HeaderBytes, 8<<10)
	c.UnverifiedBytes = cmp.Or(c.UnverifiedBytes, 64<<20)
	c.HeaderFields = cmp.Or(c.HeaderFields, 64)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 10*time.Second)
	c.Heartbeat = cmp.Or(c.Heartbeat, 30*time.Second)
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, 2*c.Heartbeat)
	c.MessageTimeout = cmp.Or(c.MessageTimeout, time.Minute)
	c.PendingBytes = cmp.Or(c.PendingBytes, 32<<10)
	c.StallTimeout = cmp.Or(c.StallTimeout, 30*time.Second)
	c.CompressAbove = cmp.Or(c.CompressAbove, 512)
	c.DefaultProtocol = cmp.Or(c.DefaultProtocol, wire.JSON.Name())
	c.DrainRate = cmp.Or(c.DrainRate, 5000)
	c.DrainSpread = cmp.Or(c.DrainSpread, 10*time.Second)
	c.TLS = c.TLS.WithDefaults()
	c.Limits = c.Limits.WithDefaults()
	c.MQTT = c.MQTT.WithDefaults()
	c.OCPP = c.OCPP.WithDefaults()
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 30*time.Second)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if !isAddress(c.Listen) {
		return fmt.Errorf("listen: want host:port, such as :8080, not %q", c.Listen)
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("tls.%w", err)
	}
	if err := c.MQTT.Validate(c.TLS.Cert != ""); err != nil {
		return fmt.Errorf("mqtt.%w", err)
	}
	if err := c.ws(nil).Validate(); err != nil {
		return err
	}
	if c.URL != "" {
		if err := registry.CheckNodeURL(c.URL); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	for _, p := range c.Paths {
		if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "?#% ") || strings.Contains(p, "//") {
			return fmt.Errorf("paths: want a path such as /ocpp, not %q", p)
		}
	}
	if err := c.Proxies.Validate(); err != nil {
		return fmt.Errorf("proxies.%w", err)
	}
	if c.Loops > reactor.MaxLoops {
		return fmt.Errorf("loops: want at most %[2]d, not %[1]d", c.Loops, reactor.MaxLoops)
	}
	if c.HeartbeatTimeout <= c.Heartbeat {
		return fmt.Errorf("heartbeat_timeout: %v must be longer than heartbeat, %v", c.HeartbeatTimeout, c.Heartbeat)
	}
	if listen := c.exposed(); c.Insecure && !c.ForceInsecure && listen != "" {
		return fmt.Errorf("insecure: without credentials the gateway listens only on a loopback address, such as 127.0.0.1:8080, not on %q, unless force_insecure (--insecure-anywhere)", listen)
	}
	return nil
}

// OnLoopback reports whether only this machine reaches the device ports.
func (c Config) OnLoopback() bool { return c.exposed() == "" }

// exposed returns the first device port that other machines reach, or nothing.
func (c Config) exposed() string {
	for _, listen := range []string{c.Listen, c.MQTT.Listen, c.MQTT.TLSListen} {
		if listen != "" && !onLoopback(listen) {
			return listen
		}
	}
	return ""
}

// isAddress reports whether listen has the form of an address to listen on.
func isAddress(listen string) bool {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// door returns the options of the Door.
func (c Config) door(h hooks) door.Config {
	return door.Config{
		Insecure:         c.Insecure,
		MaxConnections:   c.MaxConnections,
		MaxPayload:       c.MaxPayload,
		HeaderBytes:      c.HeaderBytes,
		UnverifiedBytes:  c.UnverifiedBytes,
		HandshakeTimeout: c.HandshakeTimeout,
		Heartbeat:        c.Heartbeat,
		HeartbeatTimeout: c.HeartbeatTimeout,
		MessageTimeout:   c.MessageTimeout,
		PendingBytes:     c.PendingBytes,
		Limits:           c.Limits,
		Account:          c.Account,
		Auth:             c.Auth,
		Observer:         c.Observer,
		Usage:            h.usage,
		Slice:            h.slice,
	}
}

// ws returns the options of WebSocket. d is nil while they are checked.
func (c Config) ws(d *door.Door) ws.Config {
	forwarded, _ := proxyproto.ParseTrusted(c.Proxies.Forwarded) // checked by Proxies.Validate
	dialects := ocpp.Dialects(c.OCPP, d)
	paths := c.Paths
	if len(dialects) > 0 && !slices.Contains(paths, ocpp.Path) {
		paths = append(slices.Clone(paths), ocpp.Path)
	}
	nodes := c.NodeList
	if !c.Nodes {
		nodes = nil
	}
	return ws.Config{
		Origins:         c.Origins,
		Paths:           paths,
		HeaderFields:    c.HeaderFields,
		Compression:     c.Compression,
		CompressAbove:   c.CompressAbove,
		DefaultProtocol: c.DefaultProtocol,
		RawProtocols:    c.RawProtocols,
		Dialects:        dialects,
		Forwarded:       forwarded,
		Nodes:           nodes,
		Other: ws.Other{
			Names: mqtt.Subprotocols,
			Paths: mqtt.Paths,
			Take:  func(u *ws.Upgrade) reactor.Handler { return u.Transport.Loop().Local.(*shard).mqtt.Take(u) },
		},
	}
}

// Gateway is the device side of a node. Its methods are safe from any goroutine.
type Gateway struct {
	// Static after construction.
	config     Config
	door       *door.Door
	ws         *ws.Server
	mqtt       *mqtt.Server
	group      *reactor.Group
	keeper     *door.Keeper // nil without TLS
	stopMemory func()       // stops watching memory, and waits

	// Safe from any goroutine.
	closed  atomic.Bool
	drainer *drainer
}

// shard is what a loop keeps. Owned by the loop.
type shard struct {
	door *door.Shard
	ws   *ws.Shard
	mqtt *mqtt.Shard

	looked int // descriptor at which moveSome goes on
}

func (g *Gateway) newShard(l *reactor.Loop) *shard {
	s := g.door.NewShard(l)
	return &shard{door: s, ws: g.ws.NewShard(s), mqtt: g.mqtt.NewShard(s)}
}

// Start opens the device ports.
func Start(config Config, r *router.Router, sessions *session.Manager) (*Gateway, error) {
	return start(config, hooks{}, r, sessions)
}

// hooks are options that only tests set.
type hooks struct {
	usage func() (limit.Usage, error) // see door.Config.Usage
	slice time.Duration               // see door.Config.Slice
}

func start(config Config, h hooks, r *router.Router, sessions *session.Manager) (*Gateway, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{config: config, drainer: newDrainer()}
	var err error
	if g.keeper, err = door.OpenKeeper(config.TLS); err != nil {
		return nil, fmt.Errorf("gateway.%w", err)
	}
	if g.door, err = door.New(config.door(h), r, sessions); err != nil {
		g.keeper.Close()
		return nil, err
	}
	g.ws = ws.New(config.ws(g.door), g.door)
	g.mqtt = mqtt.New(mqtt.Config{TopicAliases: config.MQTT.TopicAliases, ServerReference: config.MQTT.ServerReference}, g.door)
	if g.group, err = g.listen(); err != nil {
		g.keeper.Close()
		g.door.Close()
		return nil, err
	}
	g.stopMemory = g.door.WatchMemory(g.group.Each)
	if config.Auth != nil {
		config.Auth.OnWithdrawn(g.withdrawn)
	}
	return g, nil
}

// listen starts the loops.
func (g *Gateway) listen() (*reactor.Group, error) {
	proxied, _ := proxyproto.ParseTrusted(g.config.Proxies.Protocol) // valid
	group, err := reactor.Start(reactor.Config{
		Listen:         g.config.Listen,
		Name:           "device port (gateway.listen)",
		TLS:            g.keeper.Reactor(),
		Loops:          g.config.Loops,
		MaxConnections: g.config.MaxConnections,
		ClientsBegin:   true,
		Stall:          g.config.StallTimeout,
		OnStall:        func(h reactor.Handler) { door.HandlerOf(h).Base().Dismiss(wire.CloseSlowConsumer) },
		OnStart:        func(l *reactor.Loop) { l.Local = g.newShard(l) },
		NewHandler:     func(l *reactor.Loop) reactor.Handler { return ws.NewDevice(l.Local.(*shard).ws) },
		Also:           g.config.MQTT.listeners(),
		Proxied:        proxied,
	})
	if errors.Is(err, reactor.ErrConnections) {
		return nil, fmt.Errorf("gateway.max_connections: %w", err)
	}
	return group, err
}

// Addr returns the address of the device port.
func (g *Gateway) Addr() netip.AddrPort { return g.group.Addr() }

// MQTTAddr returns the address for MQTT over TCP, the zero value if there is none.
func (g *Gateway) MQTTAddr() (addr netip.AddrPort) {
	if g.config.MQTT.Listen != "" {
		addr = g.group.AddrOf(1)
	}
	return addr
}

// MQTTSecureAddr returns the address for MQTT over TLS, the zero value if there is none.
func (g *Gateway) MQTTSecureAddr() (addr netip.AddrPort) {
	switch m := &g.config.MQTT; {
	case m.TLSListen == "":
	case m.Listen == "":
		addr = g.group.AddrOf(1)
	default:
		addr = g.group.AddrOf(2)
	}
	return addr
}

// Load returns how many connections there are, and how many there may be.
func (g *Gateway) Load() (connections, limit int) { return g.door.Load() }

// Ready reports whether devices should come to the gateway.
func (g *Gateway) Ready() bool { return g.door.Ready() }

// Accepts reports whether the gateway accepts the devices that come. It does for Config.DrainDelay after it is not Ready any more.
func (g *Gateway) Accepts() bool { return g.door.Accepts() }

// Close closes the remaining connections with a close frame that says why, and the device ports. After a drain it also
// tells each device when to come back.
func (g *Gateway) Close() {
	g.closed.Store(true)
	why := func() *wire.Close { return wire.CloseGoingAway }
	if !g.door.Drain() {
		why = g.farewell
	}
	g.drainer.close()
	g.group.Each(func(l *reactor.Loop) {
		door.Handlers(l, func(h door.Handler) bool {
			h.Base().Dismiss(why())
			return true
		})
	})
	g.stopMemory()
	g.group.Close()
	g.keeper.Close()
	g.door.Close()
}
