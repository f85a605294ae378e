package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// guard protects the node: it counts connections and paces them (limits_enter.go), holds
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
	stop      func()    // ends watching memory, and waits

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
		stop:      func() {},
	}, nil
}

// newMemory looks at the process's memory, and has the runtime keep below its limit, unless a
// test says what is in use.
func newMemory(c *Config) (*limit.Memory, error) {
	if c.usage != nil {
		return limit.NewMemory(c.Limits.Memory, c.usage)
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

// watchMemory sheds, from now until guard.stop, what the stage of the memory calls for.
// Devices that publish and connections that come look at the stage themselves.
func (g *Gateway) watchMemory() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		g.guard.memory.Run(ctx, g.shed, func(error) { g.guard.unread.Add(1) })
	})
	g.guard.stop = func() { cancel(); running.Wait() }
}

// shed does what a stage calls for, design: the order is that of limit.Stage.
func (g *Gateway) shed(stage limit.Stage) {
	g.sessions.Shed(stage >= limit.ShedQoS0)
	if stage >= limit.CloseSlow {
		g.group.Each(closeSlow)
	}
}

// closeSlow closes the devices whose sockets were full the last time it looked and still are.
// Nobody reads there: what is pending is given up at once.
func closeSlow(l *reactor.Loop) {
	handlers(l, func(h handler) bool {
		c := h.base()
		switch conn := c.conn; {
		case !conn.Blocked():
			conn.Tag &^= lagging
		case conn.Tag&lagging == 0:
			conn.Tag |= lagging
		default:
			c.dismiss(wire.CloseSlowConsumer)
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
func (s *shard) guest(conn *reactor.Conn) *guest {
	g := s.guests[conn]
	if g == nil {
		g = new(guest)
		s.guests[conn] = g
	}
	return g
}
