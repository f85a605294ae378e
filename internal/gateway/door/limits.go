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

// guard protects the node: it counts connections and paces them (limits_line.go), holds
// devices to their rates (limits_pace.go), and sheds when memory runs out.
type guard struct {
	// Static after construction.
	config    limit.Config
	sources   bool // connections are counted by source address
	count     *limit.Count
	rate      *limit.Rate
	allowance *limit.Allowance
	memory    *limit.Memory
	start     time.Time // origin of the buckets' time

	// Safe from any goroutine.
	unread     atomic.Uint64 // times that the use of memory could not be read
	unverified atomic.Int64  // bytes of unfinished handshakes
	cures      atomic.Int64  // connections that are verified although memory is short
}

// newGuard holds c, whose defaults are set. Memory is not watched yet.
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

// newMemory looks at the process's memory, and has the runtime keep below its limit, unless a
// test says what is in use.
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

// WatchMemory sheds, from now until the function that it returns has run, what the stage of the memory calls for. each runs
// a function on every loop and waits. Devices that publish and connections that come look at the stage themselves.
func (d *Door) WatchMemory(each func(func(*reactor.Loop))) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		d.guard.memory.Run(ctx, func(stage limit.Stage) { d.shed(stage, each) }, func(error) { d.guard.unread.Add(1) })
	})
	return func() { cancel(); running.Wait() }
}

// shed does what a stage calls for, design: the order is that of limit.Stage.
func (d *Door) shed(stage limit.Stage, each func(func(*reactor.Loop))) {
	d.Sessions.Shed(stage >= limit.ShedQoS0)
	if stage >= limit.CloseSlow {
		each(closeSlow)
	}
}

// closeSlow closes the devices whose sockets were full the last time it looked and still are.
// Nobody reads there: what is pending is given up at once.
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

// What a connection's Tag notes.
const (
	counted       uint8 = 1 << iota // in guard.count
	heldBySession                   // not read: its publications wait for their receivers
	heldByGuard                     // not read: it is above its rates, or memory runs out
	lagging                         // its socket was full when closeSlow looked last
)

// guest is what the limits remember of a connection, when one is configured that has to, and
// while it waits in the line.
type guest struct {
	source limit.Source
	bucket limit.Bucket
	place  *limit.Place // nil when it does not wait
	held   int          // bytes of its unfinished handshake
	cures  bool         // it is verified although memory is short
}

// guest returns what is remembered of a connection.
func (s *Shard) guest(conn *reactor.Conn) *guest {
	g := s.guests[conn]
	if g == nil {
		g = new(guest)
		s.guests[conn] = g
	}
	return g
}
