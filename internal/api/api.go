// Package api serves the methods of longline.v1.Gateway to backends, as gRPC, gRPC-Web and
// HTTP with JSON, and on the same port server-sent events, health, metrics and profiles.
// docs/backend.md specifies it.
//
// The flow: a method checks its request against Config, calls the devices or
// the router, and maps their errors to codes. It keeps no state except the open
// subscriptions.
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
	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/internal/wire"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// Devices answers questions about devices and requests to them, on whatever node they are. When a context ends, the work ends
// and its error is returned. The error for an unknown device is devices.ErrUnknown. The methods are safe from any goroutine.
type Devices interface {
	Get(ctx context.Context, device string) (devices.Info, error)
	List(ctx context.Context, page devices.Page) ([]devices.Info, error)
	// Ledger accounts for the messages of a device.
	Ledger(ctx context.Context, device string) (devices.Ledger, error)
	// Ledgers returns the accounts of a page, and the device after which the next page begins; empty if there is none. A page of
	// unbalanced accounts may end before its limit.
	Ledgers(ctx context.Context, page devices.LedgerPage) (list []devices.Ledger, next string, err error)
	// Call sends a call to a connected device and waits for its reply.
	Call(ctx context.Context, device string, c devices.Call) (devices.Reply, error)
	// Disconnect closes a device's connection and reports whether there was one.
	Disconnect(ctx context.Context, device string, why *wire.Close) (was bool, err error)
	// Broadcast delivers m, whose topic is valid, to the devices that have a subscription in common with filter, or to
	// all when filter is empty, and returns how many they are. It does not change m.
	Broadcast(ctx context.Context, m *message.Message, filter string) (n int, err error)
}

// Gateway is what only the gateway knows. Its methods are safe from any goroutine.
type Gateway interface {
	// Drain refuses new connections, closes the existing ones and returns when none is
	// left. When ctx ends first, it returns its error, and draining goes on.
	Drain(ctx context.Context) error
	// Revoke refuses a device, or a credential with this ID, until a time, and closes the connections
	// that it concerns. It returns how many it closes.
	Revoke(b auth.Bearer, until time.Time) (closed int, err error)
}

// Commands keeps commands to devices, on whatever node they are. The methods are safe from any goroutine. Create, Cancel and Wait
// block until ctx ends.
type Commands interface {
	Config() command.Config
	// Create sets r.Created and r.Expires, and keeps r.
	Create(ctx context.Context, r *command.Request, ttl time.Duration) (c *command.Command, existed bool, err error)
	Get(id uint64) (*command.Command, error)
	List(ctx context.Context, p command.Page) (list []*command.Command, next command.Position, err error)
	Cancel(ctx context.Context, id uint64) (*command.Command, error)
	// Changed returns commands that have changed since a place, and the place to go on after; more says that there are
	// further ones.
	Changed(device string, state command.State, after uint64, limit int) (list []*command.Command, place uint64, more bool)
	// Wait returns when something has changed since a place.
	Wait(ctx context.Context, after uint64) error
}

// Check is one condition for the node to accept devices.
type Check struct {
	Name string // one word
	// Failed returns nil if the condition holds, otherwise why not, in one line that anybody may read. /readyz calls it for each
	// request, from any goroutine; it must not block.
	Failed func() error
}

// Node is the node that the API serves. The fields of the second group may be zero.
type Node struct {
	Devices Devices
	Router  *router.Router
	Gateway Gateway
	Ledger  *ledger.Keeper
	// Commands may be nil: then the node keeps none.
	Commands Commands

	// Cluster is the other nodes; nil if this node is alone.
	Cluster Cluster
	// Revocations keeps what is revoked in a cluster; nil if this node is alone.
	Revocations Revocations
	// Alone describes this node if it is alone; nil says that nothing is known of it.
	Alone func() devices.Node
	// Streams are the streams of the configuration; nil if there are none.
	Streams *stream.Set
	// Services are what devices call; nil if there are none.
	Services *service.Set
	// Sinks push messages to systems behind; nil if there are none.
	Sinks Sinks
	// Store tells of the node's store; nil says that there is none to tell of.
	Store func() *longlinev1.GetStoreResponse
	// Checks are the conditions that /readyz shows.
	Checks []Check
	// Roles knows the callers' tokens. Without it, anyone who reaches the port may do everything.
	Roles *auth.Roles
	// Certificate makes the port use TLS.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Audit logs what callers did beyond reading, and what they were refused.
	Audit *slog.Logger
	// Metrics is served at /metrics.
	Metrics http.Handler
	// Observe is called after every request that was parsed, with its
	// procedure ("/longline.v1.Gateway/Publish" or "/v1/subscribe"), its code ("ok",
	// "not_found") and its duration. For a procedure that Lasts, that is how long its client listened.
	Observe func(procedure, code string, seconds float64)
	// Options are further options of the RPC handlers: connect.WithInterceptors.
	Options []connect.HandlerOption
	// Log receives the errors of the HTTP server. Default slog.Default().
	Log *slog.Logger
}

// API implements longlinev1connect.GatewayHandler. Its methods are safe from any
// goroutine.
type API struct {
	// Static after construction.
	config Config
	node   Node
	asking time.Duration   // askTimeout, unless a test has less time
	ended  context.Context // ends the streams
	end    context.CancelFunc

	// Safe from any goroutine.
	publishing    atomic.Int64 // QoS 1 publications that wait for their receivers
	subscribers   atomic.Int64
	readers       atomic.Int64  // of streams
	acknowledging atomic.Int64  // acknowledgements of consumers that wait for the disk
	commanding    atomic.Int64  // requests about commands that wait for the store
	pages         atomic.Uint64 // requests from web pages that were refused
	serving       quota
	held          heldReaders
	acknowledged  acknowledged
	describing    chan struct{} // has a token for each stream that is being described
	conns         *portConns
}

var _ longlinev1connect.GatewayHandler = (*API)(nil)

// New returns the API of a node.
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
	if n.Alone == nil {
		n.Alone = func() devices.Node { return devices.Node{State: devices.NodeUp, Self: true} }
	}
	a := &API{config: c.WithDefaults(), node: n, asking: askTimeout, describing: make(chan struct{}, describedAtOnce)}
	a.serving.most = a.config.MaxServing
	a.conns = newPortConns(a.config.MaxConnections)
	a.ended, a.end = context.WithCancel(context.Background())
	return a
}

// PortStats counts connections of the admin port and what it refused.
type PortStats struct {
	Connections int    // at present
	Closed      uint64 // connections, to make room for others
	Reset       uint64 // requests without a valid token, on connections that had too many of them
	Pages       uint64 // requests by web pages of other origins
}

// PortStats returns the counts.
func (a *API) PortStats() PortStats {
	return PortStats{a.conns.count(), a.conns.closed.Load(), a.conns.reset.Load(), a.pages.Load()}
}

// Close ends the open streams when they have sent what their inboxes hold, and refuses later ones.
func (a *API) Close() {
	a.end()
	a.held.endAll()
}
