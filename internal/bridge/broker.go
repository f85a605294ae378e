// Package bridge is the client's side of MQTT, for the sinks and sources that connect Longline with another broker: connections in both
// versions, tables of topics, and what keeps messages from going round in circles.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Broker is another broker. Its methods are safe from any goroutine.
type Broker struct {
	// Static after Open.
	config   Config
	version  mqtt.Version
	address  string // HOST:PORT
	dial     func(ctx context.Context) (net.Conn, error)
	password func() []byte
	log      *slog.Logger

	// Of 3.1.1, see bridgeBit: the next CONNECT does not say that its client is a bridge; the broker has accepted one that did.
	plain, bridges atomic.Bool
}

// Open returns the broker of c, which is valid and has its defaults. It contacts nobody; errors begin with the key.
func Open(c Config, w *reload.Watcher, log *slog.Logger) (*Broker, error) {
	u, address, err := c.address()
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	b := &Broker{config: c, version: versions[c.Version], address: address, log: log.With("broker", address)}
	if b.password, err = c.Password.Follow(w, nil); err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	var plain net.Dialer
	connect := plain.DialContext
	if u.Scheme == "mqtts" || u.Scheme == "wss" {
		var protocols []string
		if u.Scheme == "wss" {
			protocols = []string{"http/1.1"}
		}
		if connect, err = c.TLS.Dialer(w, &plain, protocols...); err != nil {
			return nil, fmt.Errorf("tls.%w", err)
		}
	}
	b.dial = func(ctx context.Context) (net.Conn, error) { return connect(ctx, "tcp", address) }
	if u.Scheme == "ws" || u.Scheme == "wss" {
		b.dial = func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, u.String(), connect) }
	}
	return b, nil
}

// Name returns the name by which messages that were at the broker are known, see Loops.
func (b *Broker) Name() string {
	if b.config.Broker != "" {
		return b.config.Broker
	}
	return b.address
}

// Shared reports whether other gateways may know the broker by the same name.
func (b *Broker) Shared() bool { return b.config.Broker != "" }

// Version returns the version of MQTT that connections to the broker have.
func (b *Broker) Version() mqtt.Version { return b.version }

// dialSocket makes a connection of WebSocket for MQTT, MQTT 5 §6, over one that connect makes.
func dialSocket(ctx context.Context, url string, connect func(ctx context.Context, network, address string) (net.Conn, error)) (net.Conn, error) {
	client := &http.Client{
		Transport:     &http.Transport{DialContext: connect, DialTLSContext: connect, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != "mqtt" { // [MQTT-6.0.0-3]
		_ = ws.CloseNow()
		return nil, errors.New("the server does not speak MQTT over WebSocket")
	}
	return &socket{websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws}, nil
}

// socket is a connection of WebSocket. Close does not wait for the other side.
type socket struct {
	net.Conn
	ws *websocket.Conn
}

func (s *socket) Close() error { return s.ws.CloseNow() }
