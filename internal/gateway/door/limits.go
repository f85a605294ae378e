package door

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// guard protects the node: it counts connections and paces their arrival (limits_line.go), holds devices to their
// rates (limits_pace.go), and sheds load when memory is short.
type guard struct {
	// Static after construction.
	config    limit.Config
	sources   bool // source addresses have a limit
	count     *limit.Count
	rate      *limit.Rate
	allowance *limit.Allowance
	memory    *limit.Memory
	start     time.Time // zero of the buckets' time

	// Safe from any goroutine.
	unread     atomic.Uint64 // how often the use of memory could not be read
	unverified atomic.Int64  // bytes of unfinished handshakes
	exempt     atomic.Int64  // connections that are being verified although memory is short
}

// newGuard makes the guard for c, whose defaults are set. It does not watch memory yet.
func newGuard(c *Config) (*guard, error) {
	bounds := c.Limits.Connections
	bounds.Node = c.MaxConnections
	count, err := limit.NewCount(bounds)
	if err != nil {
		return nil, err
	}
	memory, err := newMemory(c)
	if err != nil {
		return nil, err
	}
	return &guard{
		config:    c.Limits,
		sources:   bounds.PerAddress > 0,
		count:     count,
		rate:      limit.NewRate(c.Limits.Connect),
		allowance: limit.NewAllowance(c.Limits.Device),
		memory:    memory,
		start:     time.Now(),
	}, nil
}

// newMemory measures the process's memory and sets the runtime's memory limit, unless c.Usage says what is in use.
func newMemory(c *Config) (*limit.Memory, error) {
	if c.Usage != nil {
		return limit.NewMemory(c.Limits.Memory, c.Usage)
	}
	read, err := limit.ProcessMemory(c.Limits.Memory.Limit)
	if err != nil {
		return nil, err
	}
	m, err := limit.NewMemory(c.Limits.Memory, read)
	if err == nil {
		limit.LimitRuntime(m.Usage().Limit)
	}
	return m, err
}

// WatchMemory sheds load as the stage of the memory requires, until the caller calls stop, which waits. each runs a
// function on every loop and waits. The gateway looks at the stage also when a device publishes and when a connection
// arrives.
func (d *Door) WatchMemory(each func(func(*reactor.Loop))) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		d.guard.memory.Run(ctx, func(stage limit.Stage) { d.shed(stage, each) }, func(error) { d.guard.unread.Add(1) })
	})
	return func() { cancel(); running.Wait() }
}

// shed does what a stage requires; limit.Stage has the order.
func (d *Door) shed(stage limit.Stage, each func(func(*reactor.Loop))) {
	d.Sessions.Shed(stage >= limit.ShedQoS0)
	if stage >= limit.CloseSlow {
		each(closeSlow)
	}
}

// closeSlow closes the devices whose sockets were full at its last call and still are. They do not read, so what is
// pending for them is discarded.
func closeSlow(l *reactor.Loop) {
	Handlers(l, func(h Handler) bool {
		c := h.Base()
		switch conn := c.conn; {
		case !conn.Blocked():
			conn.Tag &^= lagging
		case conn.Tag&lagging == 0:
			conn.Tag |= lagging
		default:
			c.Dismiss(wire.CloseSlowConsumer)
			conn.Close()
		}
		return true
	})
}

// The bits of reactor.Conn.Tag.
const (
	counted       uint8 = 1 << iota // counted in guard.count
	heldBySession                   // not read, because its publications wait for their receivers
	heldByGuard                     // not read, because it is above its rate, or memory is short
	lagging                         // its socket was full at the last closeSlow
)

// limitState is what the limits remember of a connection: while it is in the line or its handshake is unfinished, and
// if a limit is configured that needs it.
type limitState struct {
	source limit.Source
	bucket limit.Bucket
	place  *limit.Place // its place in the line; nil when it does not wait
	held   int          // bytes of its unfinished handshake
	exempt bool         // counted in guard.exempt
}

// limitState returns the state of a connection, which it makes if necessary.
func (s *Shard) limitState(conn *reactor.Conn) *limitState {
	g := s.limitStates[conn]
	if g == nil {
		g = new(limitState)
		s.limitStates[conn] = g
	}
	return g
}
