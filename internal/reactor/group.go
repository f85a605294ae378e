package reactor

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/proxyproto"
)

// Config is what a Group needs. Only NewHandler is needed to listen.
type Config struct {
	// Listen is the TCP address to listen on, such as ":8080" or "127.0.0.1:0". Empty
	// means that the group only dials.
	Listen string
	// Name is that of the port, for errors.
	Name string
	// NewHandler makes the handler of an accepted connection, on its loop.
	NewHandler func(l *Loop) Handler
	// TLS, if not nil, is spoken on accepted connections.
	TLS *TLSConfig
	// Also are further addresses to listen on.
	Also []Listener
	// Proxied are the addresses whose connections must begin with a PROXY header.
	Proxied proxyproto.Trusted
	// ClientsBegin says that those who connect are the first to say something: a connection is
	// accepted with its first bytes, or when its client has said nothing for a second.
	ClientsBegin bool
	// Stall is how long a peer may take nothing of what is pending for it; 0 is for ever. Then
	// OnStall is called, on the loop, which ends the connection in its way.
	Stall   time.Duration
	OnStall func(h Handler)
	// OnStart, if not nil, is called on each loop before its first connection. It may set
	// Loop.Local.
	OnStart func(l *Loop)
	// Loops is the number of event loops, at most MaxLoops; 0 is one a processor. More are made
	// when MaxConnections needs them.
	Loops int
	// MaxConnections is how many connections must fit; 0 is as many as the descriptor
	// limit lets. When it is beyond the limit, each loop takes a private descriptor table.
	// Connections that are far above it are closed unheard: see room.
	MaxConnections int
}

// Listener is a further address, with handlers of its own.
type Listener struct {
	Name       string                // of the port, for errors
	Listen     string                // as Config.Listen; not empty
	NewHandler func(l *Loop) Handler // as Config.NewHandler
	TLS        bool                  // Config.TLS is spoken
}

// listeners are all that c names.
func (c *Config) listeners() []Listener {
	if c.Listen == "" {
		return c.Also
	}
	return append([]Listener{{c.Name, c.Listen, c.NewHandler, c.TLS != nil}}, c.Also...)
}

// Group is a set of loops that share ports. Its methods are safe from any goroutine.
type Group struct {
	config  Config
	doors   []*door
	start   time.Time
	loops   []*Loop
	wakes   []int
	private bool
}

// processors is how many this process may use, before any group has asked for more Ps.
var processors = runtime.GOMAXPROCS(0)

// Start raises the descriptor limit and GOMAXPROCS, by the number of loops; it
// opens the listeners and starts the loops. Start it early: with private tables, each loop
// begins with a copy of what is open.
func Start(config Config) (*Group, error) {
	doors, err := newDoors(config.listeners())
	if err != nil {
		return nil, err
	}
	limit, err := raiseLimit()
	if err != nil {
		return nil, err
	}
	if config.Loops <= 0 {
		config.Loops = min(processors, MaxLoops)
	}
	n, private, err := plan(config.Loops, config.MaxConnections, limit)
	if err != nil {
		return nil, err
	}
	g := &Group{config: config, doors: doors, start: time.Now(), private: private}
	if err := startPoller(); err != nil {
		return nil, err
	}
	// A busy loop keeps its P while it waits in the kernel, and others do for a while: the other
	// goroutines have as many more as there are processors.
	if p := n + processors; p > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(p)
	}
	// Every wake-up must be in every table, so all are made before the first is split.
	for range n {
		wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("eventfd: %w", err)
		}
		g.wakes = append(g.wakes, wake)
	}
	for i := range n {
		if err := g.startLoop(i); err != nil {
			g.Close()
			return nil, err
		}
	}
	return g, nil
}

// room is how many connections a loop takes: a quarter above its share, for the kernel shares
// them out by chance, and some that have not shaken hands, for whoever counts to refuse those
// politely. 0 is as many as come.
func (g *Group) room() int {
	if g.config.MaxConnections == 0 {
		return 0
	}
	return g.config.MaxConnections/len(g.wakes)*5/4 + strangers
}

const strangers = 1024

func (g *Group) startLoop(i int) error {
	l := &Loop{
		room:       g.room(),
		config:     &g.config,
		index:      i,
		start:      g.start,
		private:    g.private,
		epoll:      -1,
		wake:       g.wakes[i],
		readBuffer: make([]byte, readBufferLen),
		events:     make([]unix.EpollEvent, maxEvents),
		done:       make(chan struct{}),
	}
	if g.config.TLS != nil {
		l.plain = make([]byte, maxRecord)
	}
	l.wheel.conns = &l.conns
	ready := make(chan error)
	go l.run(g.setUp, ready)
	if err := <-ready; err != nil {
		return err
	}
	g.loops = append(g.loops, l)
	return nil
}

// setUp runs on the loop's thread: what it opens is in the loop's own table.
func (g *Group) setUp(l *Loop) (err error) {
	if g.private {
		runtime.LockOSThread() // for ever: the thread and its descriptor table end with the goroutine
		if err := splitTable(); err != nil {
			return err
		}
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.wake)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wake, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if g.config.OnStart != nil {
		g.config.OnStart(l)
	}
	for _, d := range g.doors {
		if err := l.open(d); err != nil {
			return err
		}
	}
	l.watchListeners(unix.EPOLL_CTL_ADD)
	return nil
}

// Addr is the first address listened on, with the port the kernel chose when 0 was asked
// for.
func (g *Group) Addr() netip.AddrPort { return g.AddrOf(0) }

// AddrOf is the address of the i-th listener: that of Config.Listen, then Config.Also. It is
// the zero value where there is none.
func (g *Group) AddrOf(i int) netip.AddrPort {
	if i >= len(g.doors) {
		return netip.AddrPort{}
	}
	return g.doors[i].addr
}

// Loops are the group's loops. The slice must not be changed.
func (g *Group) Loops() []*Loop { return g.loops }

// Private tells whether each loop has a descriptor table of its own.
func (g *Group) Private() bool { return g.private }

// StopListening closes the listeners; connections stay.
func (g *Group) StopListening() {
	g.Each(func(l *Loop) { l.stopListening() })
}

// Stats adds up the counters of the loops.
func (g *Group) Stats() (sum Stats) {
	parts := make([]Stats, len(g.loops))
	g.Each(func(l *Loop) { parts[l.index] = l.Stats() })
	for _, s := range parts {
		sum.Open += s.Open
		sum.Accepted += s.Accepted
		sum.Refused += s.Refused
		sum.Crowded += s.Crowded
		sum.BytesIn += s.BytesIn
		sum.BytesOut += s.BytesOut
		sum.Lent += s.Lent
	}
	return sum
}

// Each runs f on every loop, at the same time, and returns when all are done. It must not
// be called on a loop.
func (g *Group) Each(f func(l *Loop)) {
	var wg sync.WaitGroup
	for _, l := range g.loops {
		wg.Add(1)
		if !l.Post(TaskFunc(func(l *Loop) { f(l); wg.Done() })) {
			wg.Done()
		}
	}
	wg.Wait()
}

// Close destroys what connections are left, ends the loops and waits for them.
func (g *Group) Close() {
	for _, l := range g.loops {
		l.Post(TaskFunc(func(l *Loop) { l.stopping = true }))
	}
	for _, l := range g.loops {
		<-l.done
	}
	for _, wake := range g.wakes {
		_ = unix.Close(wake)
	}
	g.wakes = nil
}
