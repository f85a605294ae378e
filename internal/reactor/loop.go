package reactor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClosed is the error of OnClose when this side closed the connection.
var ErrClosed = errors.New("reactor: connection closed by this side")

// Task is work that is posted to a loop.
type Task interface{ Run(l *Loop) }

// TaskFunc is a function that is a Task.
type TaskFunc func(l *Loop)

// Run calls f.
func (f TaskFunc) Run(l *Loop) { f(l) }

const (
	maxEvents      = 512
	acceptsPerTurn = 64   // so that many new connections do not starve the others
	postsPerTurn   = 128  // so that many posts do not starve the sockets
	keptPosts      = 1024 // largest room for posts that is kept although few come
	readBufferLen  = 64 << 10
	yieldEvery     = 5 * time.Millisecond // sysmon acts after 10 ms
	busyGap        = 2 * time.Millisecond // between turns, on a busy loop
	busyStreak     = 8                    // consecutive turns within busyGap that make a loop busy
	maxRawWait     = 100                  // milliseconds
	maxDirty       = 64                   // dirty connections above which relieve flushes before the end of the turn
	pauseAfter     = time.Second          // a turn that takes longer than that means that the process was stopped
)

// Stats counts what a loop did. Owned by the loop; Loop.Stats returns a copy.
type Stats struct {
	Open     int    // connections at present
	Accepted uint64 // connections accepted since the start
	Refused  uint64 // connections closed at accept because the descriptor table was full
	Crowded  uint64 // connections closed at accept because there were too many
	BytesIn  uint64
	BytesOut uint64
	Lent     int // buffers lent to connections at present
}

// Loop is one event loop: a goroutine with its own epoll instance, listeners, timing wheel
// and buffers. With a private descriptor table it is locked to its thread.
type Loop struct {
	// Static after construction.
	config  *Config
	index   int
	room    int  // connections above which none is accepted; 0 means no limit
	private bool // has a descriptor table of its own
	epoll   int
	wake    int // eventfd; exists in every descriptor table, made before any was split

	// Local is data that the user of the loop attaches to it. Owned by the loop.
	Local any

	// Owned by the loop.
	conns      []*Conn // by descriptor
	wheel      wheel
	pool       pool
	readBuffer []byte
	plain      []byte // one TLS record; nil without TLS
	events     []unix.EpollEvent
	iovecs     [maxIovecs]unix.Iovec
	dirty      []*Conn   // to flush at the end of the turn
	resumed    []*Conn   // connections to which unconsumed bytes are offered again
	dying      []ending  // to destroy at the end of the turn
	running    []Task    // posts that takePosts took
	ran        int       // how many of running have run
	suspects   []suspect // connections that may have stalled
	looked     uint32    // tick at which suspects were last checked
	stats      Stats
	clients    map[*Conn]netip.AddrPort // addresses of clients behind proxies; nil while there are none
	listeners  []listener               // none if the group does not listen
	stopping   bool
	streak     int           // consecutive turns with events within busyGap
	start      time.Time     // the group's start, plus the pauses since then
	clock      time.Duration // time since start at the beginning of the turn
	now        uint32        // tick of clock; the wheel may be behind it
	asked      uint32        // tick before the kernel was asked for the events that are being handled
	full       int           // consecutive turns without advancing the wheel, because the kernel had more events
	yielded    time.Duration // clock when the scheduler was last entered
	accept     uint32        // tick at which to listen again after a failed accept; 0 means that the loop listens

	// Guarded by mu.
	mu     sync.Mutex
	posts  []Task
	asleep bool // waiting in the kernel: a post must wake the loop
	ended  bool // posts are refused

	// Safe from any goroutine.
	posted atomic.Bool // posts is not empty
	done   chan struct{}
}

type ending struct {
	conn *Conn
	err  error
}

// Index returns the loop's number in its group.
func (l *Loop) Index() int { return l.index }

// Clock returns for how long the loop had run when the turn began. Pauses of the process do not
// count, because no peer was late during them. On the loop only.
func (l *Loop) Clock() time.Duration { return l.clock }

// Open returns the number of connections. On the loop only.
func (l *Loop) Open() int { return l.stats.Open }

// Handlers calls yield with the handler of every connection that has had OnOpen,
// or was dialed, until yield returns false. On the loop only.
func (l *Loop) Handlers(yield func(Handler) bool) {
	for _, c := range l.conns {
		if c != nil && !c.is(closed|securing|proxied) && !yield(c.handler) {
			return
		}
		l.relieve()
	}
}

// HandlersFrom is Handlers for at most that many descriptors, beginning at from and going on at the first one behind the last. It
// returns where the next call goes on. On the loop only.
func (l *Loop) HandlersFrom(from, most int, yield func(Handler)) (next int) {
	for range min(most, len(l.conns)) {
		if from >= len(l.conns) {
			from = 0
		}
		if c := l.conns[from]; c != nil && !c.is(closed|securing|proxied) {
			yield(c.handler)
		}
		from++
	}
	return from
}

// Stats returns the loop's counters. On the loop only.
func (l *Loop) Stats() Stats {
	s := l.stats
	s.Lent = l.pool.lent
	return s
}

// Post makes the loop run t, after the events of the turn, in the order of posts. It
// returns false if the loop has ended, so that t will not run. Safe from any goroutine.
//
// The queue has no limit: callers bound what they post (a session posts one
// wake-up until that has run).
func (l *Loop) Post(t Task) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, t)
	l.posted.Store(true)
	wake := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if wake {
		one := [8]byte{1} // a counter, little-endian on all platforms of Longline
		_, _ = unix.Write(l.wake, one[:])
	}
	return true
}

// Dial starts a connection to addr from the local address from (the zero value leaves the
// choice to the kernel). On the loop only. The loop then calls h.OnOpen or h.OnClose; if Dial returns an error,
// it calls neither.
func (l *Loop) Dial(addr netip.AddrPort, from netip.Addr, h Handler) (*Conn, error) {
	fd, err := dial(addr, from)
	if err != nil {
		return nil, err
	}
	return l.adopt(fd, h, dialing), nil
}

// DialTLS is Dial with TLS on the connection; OnOpen is called after the handshake. The group
// needs Config.TLS with Handshakes.
func (l *Loop) DialTLS(addr netip.AddrPort, from netip.Addr, config *tls.Config, h Handler) (*Conn, error) {
	c, err := l.Dial(addr, from, h)
	if err == nil {
		c.secureAs(tls.Client, config)
	}
	return c, err
}

// adopt makes a connection of a socket.
func (l *Loop) adopt(fd int, h Handler, s state) *Conn {
	c := &Conn{loop: l, handler: h, fd: int32(fd), state: s, lastInput: l.now}
	for fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*Conn, max(64, len(l.conns)/4))...)
	}
	l.conns[fd] = c
	l.stats.Open++
	l.tell(c, unix.EPOLL_CTL_ADD)
	return c
}

// interest returns the events that epoll should report for c.
func interest(c *Conn) (events uint32) {
	if !c.is(paused | dialing | heldBack) {
		events = unix.EPOLLIN
	}
	if c.is(blocked | dialing) {
		events |= unix.EPOLLOUT
	}
	return events
}

// watch updates what epoll reports for c.
func (l *Loop) watch(c *Conn) { l.tell(c, unix.EPOLL_CTL_MOD) }

// tell tells epoll what to report for c.
func (l *Loop) tell(c *Conn, op int) {
	event := unix.EpollEvent{Events: interest(c), Fd: c.fd}
	if c.state &^= noInput; event.Events&unix.EPOLLIN == 0 {
		c.state |= noInput
	}
	if err := unix.EpollCtl(l.epoll, op, int(c.fd), &event); err != nil {
		c.fail(err)
	}
}

// run is the loop's goroutine. It sends the result of setUp to ready.
func (l *Loop) run(setUp func(*Loop) error, ready chan<- error) {
	defer close(l.done)
	err := setUp(l)
	ready <- err
	if err != nil {
		l.end()
		return
	}
	for !l.stopping {
		l.turn()
	}
	l.destroyAll()
	l.end()
}

// turn is one round: wait, read, handle, write.
func (l *Loop) turn() {
	if l.full == 0 {
		l.asked = l.now
	}
	n, waited := l.wait()
	before := l.clock
	l.readClock(waited)
	if n > 0 && l.clock-before < busyGap {
		l.streak++
	} else {
		l.streak = 0
	}
	for i := range n {
		l.dispatch(&l.events[i])
		l.relieve()
	}
	if l.hasRead(n) {
		l.wheel.advance(l.asked, l.ring)
	}
	l.runTimers()
	l.runPosts()
	l.settle()
}

// wait returns the number of events, and for how long it was ready to wait. A busy loop waits
// outside the scheduler and keeps its P, because an event comes soon, and leaving and entering the scheduler costs more
// than a message, most of all for a loop that is locked to its thread. A signal ends such a wait:
// from the garbage collector, or after 10 ms from sysmon.
func (l *Loop) wait() (n int, atMost time.Duration) {
	ms := 0
	if l.sleep() {
		ms = l.patience()
	}
	switch {
	case ms == 0:
		n = events(rawEpollWait(l.epoll, l.events, 0))
	case l.streak >= busyStreak:
		ms = int(min(uint(ms), maxRawWait))
		n = events(rawEpollWait(l.epoll, l.events, uint(ms)))
	default:
		l.yield()
		n = events(epollWait(l.epoll, l.events, uint(ms)))
	}
	l.awake()
	if ms < 0 {
		return n, math.MaxInt64
	}
	return n, time.Duration(ms) * time.Millisecond
}

// events returns the number of events that a wait has found.
func events(n int, errno unix.Errno) int {
	if errno != 0 { // EINTR: there was no event
		return 0
	}
	return n
}

// yield enters the scheduler every few milliseconds. To sysmon, a goroutine that makes system calls
// and never enters the scheduler looks like one that hogs its P: it takes the P away, and wakes
// every 20 us to do it again, which costs more than a tenth of a paced echo. For a loop that
// is locked to its thread, entering costs two switches of threads: more than it saves.
func (l *Loop) yield() {
	if !l.private && l.clock-l.yielded > yieldEvery {
		l.yielded = l.clock
		runtime.Gosched()
	}
}

// sleep makes posts wake the loop from now on, and reports whether it may wait: not if a post is there already.
func (l *Loop) sleep() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = len(l.posts) == 0 && l.ran == len(l.running)
	return l.asleep
}

// awake ends sleep.
func (l *Loop) awake() {
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
}

// patience returns the milliseconds until the wheel needs the loop.
func (l *Loop) patience() int {
	if l.accept != 0 {
		return int(tick / time.Millisecond)
	}
	next := l.wheel.untilNext()
	switch {
	case len(l.suspects) > 0:
		next = min(next, l.config.stallTicks())
	case next == wheelSlots:
		return -1
	}
	next -= min(next, l.now-l.wheel.now)
	return int(time.Duration(next) * tick / time.Millisecond)
}

// readClock reads the time once per turn, after a wait of at most waited. It leaves out the time of a turn in which the
// process was stopped, or its machine did not run. All loops of a group
// stay in step for shared ticks.
func (l *Loop) readClock(waited time.Duration) {
	clock := time.Since(l.start)
	if gone := clock - l.clock; gone-waited > pauseAfter {
		pause := gone - gone%(sharedTicks*tick)
		l.start = l.start.Add(pause)
		clock -= pause
	}
	l.clock, l.now = clock, uint32(clock/tick)
}

// hasRead reports whether everything has been read that had arrived at the tick asked, given that n
// connections had events in this turn: then alarms that were due at that tick may ring. Otherwise what arrived while the loop
// did not run would be taken for silence, because the result of a wait can be older than the
// clock, or say that the wait was interrupted. If there are many events, this takes some turns, but not more.
func (l *Loop) hasRead(n int) bool {
	if l.full++; n < maxEvents || l.full*maxEvents > l.stats.Open {
		l.full = 0
	}
	return l.full == 0
}

// runTimers does what depends on the time and not on events.
func (l *Loop) runTimers() {
	if len(l.suspects) > 0 && l.now-l.looked >= l.config.stallTicks() {
		l.checkStalls(l.now)
	}
	if l.accept != 0 && int32(l.now-l.accept) >= 0 {
		l.accept = 0
		l.watchListeners(unix.EPOLL_CTL_ADD)
	}
}

// ring handles a due alarm; the wheel calls it.
func (l *Loop) ring(c *Conn) {
	switch {
	case c.is(closed):
	case c.is(finishing):
		c.fail(ErrClosed)
	case c.is(proxied):
		c.fail(fmt.Errorf("%w: it did not arrive in time", ErrProxied))
	case c.is(securing):
		c.fail(fmt.Errorf("%w: it did not finish in time", ErrHandshake))
	default:
		c.handler.OnAlarm(c)
	}
}

// connOf returns the connection with this descriptor, nil if there is none.
func (l *Loop) connOf(fd int32) *Conn {
	if int(fd) >= len(l.conns) {
		return nil
	}
	return l.conns[fd]
}

func (l *Loop) dispatch(e *unix.EpollEvent) {
	if int(e.Fd) == l.wake {
		var buf [8]byte
		_, _ = rawRead(l.wake, buf[:])
		return
	}
	// An event of a descriptor that was closed and reused in this turn is only a
	// hint: the read returns EAGAIN.
	c := l.connOf(e.Fd)
	if c == nil {
		l.acceptAt(e.Fd)
		return
	}
	if c.is(closed) {
		return
	}
	if c.is(dialing) {
		c.connected()
		return
	}
	if e.Events&unix.EPOLLOUT != 0 {
		c.flush()
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 || c.is(closed|yielding) {
		return
	}
	switch {
	case !c.is(paused | heldBack):
		c.receive()
	case e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0:
		c.fail(io.EOF)
	case !c.is(noInput):
		l.watch(c)
	}
}

// runPosts runs some of the tasks that were posted before the call. The rest, and tasks that these post, run in
// later turns, so that neither many posts nor a chain of posts starves the sockets.
func (l *Loop) runPosts() {
	if l.ran == len(l.running) {
		if !l.posted.Load() {
			return
		}
		l.takePosts()
	}
	some := l.running[l.ran:min(l.ran+postsPerTurn, len(l.running))]
	l.ran += len(some)
	for i, t := range some {
		some[i] = nil
		t.Run(l)
		l.relieve()
	}
}

// takePosts makes the posts the tasks to run.
func (l *Loop) takePosts() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cap(l.running) > keptPosts && len(l.running) < cap(l.running)/4 {
		l.running = nil // there were many once
	}
	l.running, l.posts, l.ran = l.posts, l.running[:0], 0
	l.posted.Store(false)
}

// settle ends the turn: it offers unconsumed bytes again, flushes, and destroys closed connections.
func (l *Loop) settle() {
	for i := 0; i < len(l.resumed); i++ {
		if c := l.resumed[i]; !c.is(closed | paused | yielding) {
			c.offer()
		}
		l.resumed[i] = nil
	}
	l.resumed = l.resumed[:0]
	for len(l.dirty) > 0 || len(l.dying) > 0 {
		l.flushDirty()
		for i := 0; i < len(l.dying); i++ {
			l.destroy(l.dying[i])
			l.dying[i] = ending{}
		}
		l.dying = l.dying[:0]
	}
}

// relieve flushes when many connections are dirty, while their memory is in the cache: otherwise
// a broadcast to thousands would load each connection twice.
func (l *Loop) relieve() {
	if len(l.dirty) >= maxDirty {
		l.flushDirty()
	}
}

func (l *Loop) flushDirty() {
	for i := 0; i < len(l.dirty); i++ {
		l.dirty[i].flush()
		l.dirty[i] = nil
	}
	l.dirty = l.dirty[:0]
}

// destroy releases everything that a connection has and calls OnClose.
func (l *Loop) destroy(e ending) {
	c := e.conn
	l.wheel.unlink(c)
	l.conns[c.fd] = nil
	rawClose(int(c.fd))
	if c.in != nil {
		l.pool.giveBack(c.in.bytes)
		c.in = nil
	}
	if c.out != nil {
		l.pool.giveBackOutbound(c.out)
		c.out = nil
	}
	if c.secure != nil {
		c.secure.release(l, e.err)
	}
	delete(l.clients, c)
	l.stats.Open--
	c.handler.OnClose(c, e.err)
}

func (l *Loop) destroyAll() {
	for _, c := range l.conns {
		if c != nil {
			c.fail(ErrClosed)
		}
	}
	l.settle()
}

// end refuses posts from now on, runs those that are left, and closes the loop's
// descriptors.
func (l *Loop) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	for l.posted.Load() || l.ran < len(l.running) {
		l.runPosts()
	}
	l.closeListeners()
	if l.epoll >= 0 {
		_ = unix.Close(l.epoll)
	}
}
