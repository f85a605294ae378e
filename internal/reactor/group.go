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

// Config configures a Group. A group that listens needs NewHandler; everything else has defaults.
type Config struct {
	// Listen is the TCP address to listen on, such as ":8080" or "127.0.0.1:0". Empty
	// means that the group only dials.
	Listen string
	// Name is the name of the port in errors.
	Name string
	// NewHandler makes the handler of an accepted connection, on its loop.
	NewHandler func(l *Loop) Handler
	// TLS, if not nil, is used on connections that are accepted at Listen, and at Listeners that ask for it.
	TLS *TLSConfig
	// Also are further addresses to listen on.
	Also []Listener
	// Proxied are the addresses whose connections must begin with a PROXY header.
	Proxied proxyproto.Trusted
	// ClientsBegin says that clients send first: a connection is
	// accepted with its first bytes, or when its client has sent nothing for a second.
	ClientsBegin bool
	// Stall is how long a peer may accept none of the bytes that are pending for it; 0 means for ever. After that
	// the loop calls OnStall, which ends the connection.
	Stall   time.Duration
	OnStall func(h Handler)
	// OnStart, if not nil, is called on each loop before its first connection. It may set
	// Loop.Local.
	OnStart func(l *Loop)
	// Loops is the number of event loops, at most MaxLoops; 0 means one per processor. Start makes more
	// if MaxConnections needs them.
	Loops int
	// MaxConnections is how many connections must fit; 0 means as many as the descriptor
	// limit allows. If it exceeds the limit, each loop gets a private descriptor table.
	// Connections far above it are closed without an answer: see room.
	MaxConnections int
}

// Listener is a further address, with its own handlers.
type Listener struct {
	Name       string                // of the port, in errors
	Listen     string                // as Config.Listen; not empty
	NewHandler func(l *Loop) Handler // as Config.NewHandler
	TLS        bool                  // whether Config.TLS is used
}

// listeners returns all listeners that c configures.
func (c *Config) listeners() []Listener {
	if c.Listen == "" {
		return c.Also
	}
	return append([]Listener{{c.Name, c.Listen, c.NewHandler, c.TLS != nil}}, c.Also...)
}

// Group is a set of loops that share ports. Its methods are safe from any goroutine.
type Group struct {
	config    Config
	endpoints []*endpoint
	start     time.Time
	loops     []*Loop
	wakes     []int
	private   bool
}

// processors is how many processors this process may use, before any group has raised GOMAXPROCS.
var processors = runtime.GOMAXPROCS(0)

// Processors returns how many processors the process may use. GOMAXPROCS is more.
func Processors() int { return processors }

// Start raises the descriptor limit, and GOMAXPROCS by the number of loops,
// opens the listeners and starts the loops. Call it early: each private table
// begins as a copy of what is open.
func Start(config Config) (*Group, error) {
	endpoints, err := newEndpoints(config.listeners())
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
	g := &Group{config: config, endpoints: endpoints, start: time.Now(), private: private}
	if err := startPoller(); err != nil {
		return nil, err
	}
	// A busy loop keeps its P while it waits in the kernel, and other loops do for a while, so the other
	// goroutines get as many more Ps as there are processors.
	if p := n + processors; p > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(p)
	}
	// Every wake-up must be in every table, so all are made before the first table is split.
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

// room returns how many connections a loop accepts: a quarter above its share, because the kernel distributes
// them by chance, and some more that have not finished the handshake, so that the handler can refuse those with
// an answer. 0 means no limit.
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

// setUp runs on the loop's thread, so what it opens is in the loop's own table.
func (g *Group) setUp(l *Loop) (err error) {
	if g.private {
		runtime.LockOSThread() // never unlocked: the thread and its descriptor table end with the goroutine
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
	for _, d := range g.endpoints {
		if err := l.open(d); err != nil {
			return err
		}
	}
	l.watchListeners(unix.EPOLL_CTL_ADD)
	return nil
}

// Addr returns the first listener's address, with the port that the kernel chose if the configured one
// is 0.
func (g *Group) Addr() netip.AddrPort { return g.AddrOf(0) }

// AddrOf returns the address of the i-th listener: Config.Listen, then Config.Also. It is
// the zero value if there is none.
func (g *Group) AddrOf(i int) netip.AddrPort {
	if i >= len(g.endpoints) {
		return netip.AddrPort{}
	}
	return g.endpoints[i].addr
}

// Loops returns the group's loops. Nobody may change the slice.
func (g *Group) Loops() []*Loop { return g.loops }

// Private reports whether each loop has its own descriptor table.
func (g *Group) Private() bool { return g.private }

// StopListening closes the listeners; connections stay open.
func (g *Group) StopListening() {
	g.Each(func(l *Loop) { l.stopListening() })
}

// Stats returns the sum of the loops' counters.
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

// Each runs f on every loop concurrently, and returns when all are done. It must not
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

// Close destroys the remaining connections, ends the loops and waits for them.
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
