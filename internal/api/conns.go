package api

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Whoever reaches the admin port without a token gets little of it: a bounded number of connections,
// of requests at a time on each, and a bounded time to take each answer. The bound of requests is each
// connection's own, so that nobody who takes no answers has /healthz of others reset. A connection that has
// shown a token is not closed for the sake of others.

const (
	strangerRequests = 4                // requests without a good token at a time, of one connection
	strangerTime     = 10 * time.Second // that the answer to one takes
)

// crowd is the connections of the admin port.
type crowd struct {
	// Static after construction.
	most int

	// Safe from any goroutine.
	closed atomic.Uint64 // connections, to make room
	reset  atomic.Uint64 // requests, beyond strangerRequests

	// Guarded by mu.
	mu    sync.Mutex
	conns map[net.Conn]*guest
	next  uint64
}

// guest is one connection.
type guest struct {
	// Static after construction.
	order uint64 // of arrival

	// Guarded by crowd.mu.
	idle bool

	// Safe from any goroutine.
	known atomic.Bool  // it has shown a good token, or none is asked for
	busy  atomic.Int32 // requests without a good token whose answers are not written yet
}

func newCrowd(most int) *crowd { return &crowd{most: most, conns: make(map[net.Conn]*guest)} }

// guestKey is the key of the context's value that is the connection's *guest.
type guestKey struct{}

// join is http.Server.ConnContext: it makes room for a connection if there are too many. The first to go
// is the oldest that has shown no token, then the oldest that is idle, then the new one itself.
func (c *crowd) join(ctx context.Context, conn net.Conn) context.Context {
	c.mu.Lock()
	g := &guest{order: c.next, idle: true}
	c.next++
	c.conns[conn] = g
	var gone net.Conn
	if len(c.conns) > c.most {
		gone = c.leastWanted()
		delete(c.conns, gone)
	}
	c.mu.Unlock()
	if gone != nil {
		c.closed.Add(1)
		_ = gone.Close() // whoever it is has nothing to be told
	}
	return context.WithValue(ctx, guestKey{}, g)
}

// leastWanted is the connection to close. c is locked.
func (c *crowd) leastWanted() (worst net.Conn) {
	for conn, g := range c.conns {
		if worst == nil || g.goesBefore(c.conns[worst]) {
			worst = conn
		}
	}
	return worst
}

// goesBefore reports whether g is closed rather than o: of those that are in use, the one that came last is.
func (g *guest) goesBefore(o *guest) bool {
	mine, other := g.rank(), o.rank()
	switch {
	case mine != other:
		return mine < other
	case mine == inUse:
		return g.order > o.order
	}
	return g.order < o.order
}

// What a connection is, the first to go first.
const (
	unknown = iota
	unused
	inUse
)

func (g *guest) rank() int {
	switch {
	case !g.known.Load():
		return unknown
	case g.idle:
		return unused
	}
	return inUse
}

// change is http.Server.ConnState.
func (c *crowd) change(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch g := c.conns[conn]; {
	case g == nil:
	case s == http.StateClosed, s == http.StateHijacked:
		delete(c.conns, conn)
	default:
		g.idle = s == http.StateIdle
	}
}

// count is the number of connections.
func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// greet notes that the connection of a request has shown a good token, or needs none.
func greet(w http.ResponseWriter, r *http.Request) {
	if g, ok := r.Context().Value(guestKey{}).(*guest); ok && !g.known.Load() {
		g.known.Store(true)
	}
	if r.ProtoMajor == 1 { // the deadline of an earlier request holds for the connection
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	}
}

// briefly answers a request without a good token by next: in a bounded time, or not at all when its connection
// has too many such requests.
func (c *crowd) briefly(w http.ResponseWriter, r *http.Request, next func()) {
	if g, ok := r.Context().Value(guestKey{}).(*guest); ok {
		defer g.busy.Add(-1)
		if g.busy.Add(1) > strangerRequests {
			c.reset.Add(1)
			panic(http.ErrAbortHandler) // an answer might never be taken
		}
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(strangerTime)) // a recorder of tests has none
	next()
	if r.ProtoMajor == 2 {
		_ = control.Flush() // the answer is written before the request counts no more; a client that left needs none
	}
}
