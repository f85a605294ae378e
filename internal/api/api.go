// Package api serves the methods of longline.v1.Gateway to backends, as gRPC, gRPC-Web and
// HTTP with JSON, and on the same port server-sent events, health, metrics and profiles.
// docs/backend.md specifies it.
//
// The flow: a method checks its request against Config, does its work on the sessions or
// the router, and turns their errors into codes. It keeps no state but the subscriptions
// that are open.
package api

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// Devices is what is known of devices and can be asked of them, on whatever node they are. A context that ends ends the work,
// and its error is returned. An unknown device is devices.ErrUnknown. Its methods are safe from any goroutine.
type Devices interface {
	Get(ctx context.Context, device string) (devices.Info, error)
	List(ctx context.Context, page devices.Page) ([]devices.Info, error)
	// Call asks a device that is connected for something, and waits for its reply.
	Call(ctx context.Context, device string, c devices.Call) (devices.Reply, error)
	// Disconnect closes a device's connection and reports whether there was one.
	Disconnect(ctx context.Context, device string, why *wire.Close) (was bool, err error)
	// Broadcast delivers m, whose topic is valid, to the devices with a subscription in common with filter, to all when it is empty, and
	// returns how many they are. m is not changed.
	Broadcast(ctx context.Context, m *message.Message, filter string) (n int, err error)
}

// Gateway is what only the gateway knows. Its methods are safe from any goroutine.
type Gateway interface {
	// Drain refuses new connections, closes those that there are and returns when none is
	// left. When ctx ends first, it returns its error, and draining goes on.
	Drain(ctx context.Context) error
	// Revoke closes the connections of a device, or those with a credential of this ID, and
	// has it refused until a time. It returns how many it closes.
	Revoke(b auth.Bearer, until time.Time) (closed int, err error)
}

// Check is one thing that has to be well for the node to take devices.
type Check struct {
	Name string // a word
	// Failed returns why it is not well, in one line that anybody may read, nil when it is. It is called for each request
	// of /readyz, from any goroutine, and must not block.
	Failed func() error
}

// Node is what the API is of. The fields of the second group may be zero.
type Node struct {
	Devices Devices
	Router  *router.Router
	Gateway Gateway

	// Checks are what /readyz shows.
	Checks []Check
	// Roles knows the tokens of callers. Without it, whoever reaches the port may do all.
	Roles *auth.Roles
	// Certificate has the port speak TLS.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Audit takes what callers did that may do more than read, and what they may not.
	Audit *slog.Logger
	// Metrics is served at /metrics.
	Metrics http.Handler
	// Observe is told of every request that was understood, when it is done: its
	// procedure ("/longline.v1.Gateway/Publish" or "/v1/subscribe"), its code ("ok",
	// "not_found") and how long it took. A stream takes as long as it lives.
	Observe func(procedure, code string, seconds float64)
	// Options are further options of the RPC handlers: connect.WithInterceptors.
	Options []connect.HandlerOption
	// Log takes what goes wrong in serving. Default slog.Default().
	Log *slog.Logger
}

// API implements longlinev1connect.GatewayHandler. Its methods are safe from any
// goroutine.
type API struct {
	// Static after construction.
	config Config
	node   Node
	ended  context.Context // ends the streams
	end    context.CancelFunc

	// Safe from any goroutine.
	publishing  atomic.Int64 // QoS 1 publications without an answer
	subscribers atomic.Int64
	pages       atomic.Uint64 // requests of web pages that were refused
	crowd       *crowd
}

var _ longlinev1connect.GatewayHandler = (*API)(nil)

// New makes the API of a node.
func New(c Config, n Node) *API {
	if n.Observe == nil {
		n.Observe = func(string, string, float64) {}
	}
	if n.Audit == nil {
		n.Audit = slog.New(slog.DiscardHandler)
	}
	if n.Log == nil {
		n.Log = slog.Default()
	}
	a := &API{config: c.WithDefaults(), node: n}
	a.crowd = newCrowd(a.config.MaxConnections)
	a.ended, a.end = context.WithCancel(context.Background())
	return a
}

// PortStats counts what the admin port bounds and refuses.
type PortStats struct {
	Connections int    // now
	Closed      uint64 // connections, to make room for others
	Reset       uint64 // requests without a good token, of connections that had too many of them
	Pages       uint64 // requests that web pages of other origins made
}

// PortStats returns them.
func (a *API) PortStats() PortStats {
	return PortStats{a.crowd.count(), a.crowd.closed.Load(), a.crowd.reset.Load(), a.pages.Load()}
}

// Close ends the streams when they have sent what is there, and those that come later.
func (a *API) Close() { a.end() }
