package api

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A client without a valid token gets bounded resources of the admin port: a number of connections,
// a number of concurrent requests on each, and a time for each answer. The bound of requests is
// per connection, so that a client that reads no answers cannot get requests for /healthz on other connections reset. A connection
// that has presented a valid token is not closed to make room for others, unless it is idle.

const (
	anonymousRequests = 4                // most concurrent requests without a valid token, per connection
	anonymousTime     = 10 * time.Second // how long the answer to one may take
)

// portConns are the connections of the admin port.
type portConns struct {
	// Static after construction.
	most int

	// Safe from any goroutine.
	closed atomic.Uint64 // connections closed to make room
	reset  atomic.Uint64 // requests reset, beyond anonymousRequests

	// Guarded by mu.
	mu   sync.Mutex
	list map[net.Conn]*portConn
	next uint64
}

// portConn is one connection.
type portConn struct {
	// Static after construction.
	order uint64 // of arrival

	// Guarded by portConns.mu.
	idle bool

	// Safe from any goroutine.
	known atomic.Bool  // it has presented a valid token, or none is needed
	busy  atomic.Int32 // requests without a valid token whose answers are not written yet
}

func newPortConns(most int) *portConns {
	return &portConns{most: most, list: make(map[net.Conn]*portConn)}
}

// portConnKey is the key of the context's value that is the request's *portConn.
type portConnKey struct{}

// join is http.Server.ConnContext: it closes a connection if there are too many: the oldest that has presented no
// token, otherwise the oldest idle one, otherwise the new one.
func (c *portConns) join(ctx context.Context, conn net.Conn) context.Context {
	c.mu.Lock()
	g := &portConn{order: c.next, idle: true}
	c.next++
	c.list[conn] = g
	var gone net.Conn
	if len(c.list) > c.most {
		gone = c.leastWanted()
		delete(c.list, gone)
	}
	c.mu.Unlock()
	if gone != nil {
		c.closed.Add(1)
		_ = gone.Close() // a connection without a request gets no answer
	}
	return context.WithValue(ctx, portConnKey{}, g)
}

// leastWanted returns the connection to close. c is locked.
func (c *portConns) leastWanted() (worst net.Conn) {
	for conn, g := range c.list {
		if worst == nil || g.goesBefore(c.list[worst]) {
			worst = conn
		}
	}
	return worst
}

// goesBefore reports whether to close g rather than o: the oldest, but among those in use the newest.
func (g *portConn) goesBefore(o *portConn) bool {
	mine, other := g.rank(), o.rank()
	switch {
	case mine != other:
		return mine < other
	case mine == inUse:
		return g.order > o.order
	}
	return g.order < o.order
}

// The ranks of connections; the lowest is closed first.
const (
	unknown = iota
	unused
	inUse
)

func (g *portConn) rank() int {
	switch {
	case !g.known.Load():
		return unknown
	case g.idle:
		return unused
	}
	return inUse
}

// change is http.Server.ConnState.
func (c *portConns) change(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch g := c.list[conn]; {
	case g == nil:
	case s == http.StateClosed, s == http.StateHijacked:
		delete(c.list, conn)
	default:
		g.idle = s == http.StateIdle
	}
}

// count returns the number of connections.
func (c *portConns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.list)
}

// markAuthorized marks the connection of a request that has a valid token, or needs none.
func markAuthorized(w http.ResponseWriter, r *http.Request) {
	if g, ok := r.Context().Value(portConnKey{}).(*portConn); ok && !g.known.Load() {
		g.known.Store(true)
	}
	if r.ProtoMajor == 1 { // the deadline of an earlier request applies to the whole connection
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	}
}

// serveAnonymous answers a request without a valid token by next, in bounded time; it resets the request when its
// connection has too many of these.
func (c *portConns) serveAnonymous(w http.ResponseWriter, r *http.Request, next func()) {
	if g, ok := r.Context().Value(portConnKey{}).(*portConn); ok {
		defer g.busy.Add(-1)
		if g.busy.Add(1) > anonymousRequests {
			c.reset.Add(1)
			panic(http.ErrAbortHandler) // the client might never read an answer
		}
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(anonymousTime)) // fails for the recorders of tests, which have no deadline
	next()
	if r.ProtoMajor == 2 {
		_ = control.Flush() // the request counts until its answer is written; fails when the client has left
	}
}
