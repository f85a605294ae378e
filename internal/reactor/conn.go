package reactor

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Handler handles the events of a connection. The loop calls it; it must not block.
type Handler interface {
	// OnOpen is called first: the connection was accepted, or the dial has succeeded.
	OnOpen(c *Conn)
	// OnData gets the bytes that have arrived and were not consumed before; after
	// ResumeReading and Yield there may be none. It may change p, which is valid until it returns.
	// It returns how many bytes it consumed; the rest is offered again with the next bytes after it.
	OnData(c *Conn, p []byte) int
	// OnAlarm is called when the time of SetAlarm has come.
	OnAlarm(c *Conn)
	// OnDrained is called when all pending bytes have been sent, after Conn.Full or Conn.Blocked was true.
	OnDrained(c *Conn)
	// OnClose is called last, also when a dial failed. err is ErrClosed when this side closed,
	// io.EOF when the peer did, otherwise what went wrong.
	OnClose(c *Conn, err error)
}

// Conn is one TCP connection. Its methods may be called only on its loop.
type Conn struct {
	// Static after construction.
	loop    *Loop
	handler Handler
	fd      int32

	// Owned by the loop.
	state      state
	linked     bool   // in the wheel
	Tag        uint8  // for handlers; the reactor does not use it
	next, prev int32  // neighbours in the wheel's list, by descriptor
	due, slot  uint32 // tick of the alarm; tick at which the wheel looks at it
	lastInput  uint32 // tick at which bytes last arrived
	Since      uint32 // a time that handlers note; the reactor does not use it
	in         *inbound
	out        *outbound
	secure     *secure // nil if the connection has no TLS
}

// inbound holds bytes that have arrived and were not consumed, in a borrowed buffer. A connection
// has one only while there are such bytes.
type inbound struct{ bytes []byte }

// state is a set of flags of a connection.
type state uint16

const (
	dialing   state = 1 << iota
	dirty           // in the loop's list of connections to flush
	blocked         // the socket is full: epoll reports when it is writable
	paused          // not reading
	finishing       // writing what is pending, then ending the stream
	closed          // to be destroyed at the end of the turn
	securing        // the TLS handshake is not complete
	proxied         // the PROXY header is not complete
	toSecure        // TLS comes after the PROXY header
	awaited         // a caller waits for OnDrained, although the socket was not full
	suspected       // in the loop's list of connections that may have stalled
	heldBack        // not reading, because too much has piled up behind a full socket
	yielding        // OnData is called in the next turn, before more is read
	noInput         // epoll does not report input
)

func (c *Conn) is(s state) bool { return c.state&s != 0 }

// Loop returns the loop that owns the connection.
func (c *Conn) Loop() *Loop { return c.loop }

// Handler returns the handler of the connection's events.
func (c *Conn) Handler() Handler { return c.handler }

// Closed reports whether the connection is closed; nothing can be written any more.
func (c *Conn) Closed() bool { return c.is(closed) }

// Reserve returns an empty slice with room for n bytes after the pending ones. The
// caller appends to it and passes the result to Commit, with no other call in between.
func (c *Conn) Reserve(n int) []byte {
	if c.out == nil {
		c.out = c.loop.pool.borrowOutbound()
	}
	c.markDirty()
	return c.out.reserve(&c.loop.pool, n)
}

// Commit makes b, which was appended to the last Reserve, pending.
func (c *Conn) Commit(b []byte) { c.out.commit(&c.loop.pool, b) }

// Write appends a copy of p to the pending bytes.
func (c *Conn) Write(p []byte) { c.Commit(append(c.Reserve(len(p)), p...)) }

// Share makes b pending without copying it: b must never change again.
func (c *Conn) Share(b []byte) {
	if len(b) == 0 {
		return
	}
	if c.out == nil {
		c.out = c.loop.pool.borrowOutbound()
	}
	c.markDirty()
	c.out.share(&c.loop.pool, b)
}

// Pending returns the number of bytes that were written and not yet sent.
func (c *Conn) Pending() int {
	n := 0
	if c.out != nil {
		n = c.out.size
	}
	if c.secure != nil && c.secure.out != nil {
		n += c.secure.out.size
	}
	return n
}

// Blocked reports whether the socket was full at the last flush. OnDrained is called when
// everything has been sent.
func (c *Conn) Blocked() bool { return c.is(blocked) }

// Full reports whether the socket was full at the last flush, or limit bytes are pending
// for the next. OnDrained is called when everything has been sent.
func (c *Conn) Full(limit int) bool {
	if c.is(blocked) {
		return true
	}
	if c.Pending() < limit {
		return false
	}
	c.state |= awaited
	return true
}

// SetAlarm makes the loop call OnAlarm once after d, never earlier, and at most three ticks of the wheel
// later. Long alarms wait for a tick that all loops of the group share, at most half a second:
// so a sleeping loop, and the processor, wakes once for many heartbeats. Alarms
// beyond farAlarm ring at farAlarm. A connection has one alarm: setting it again moves it.
func (c *Conn) SetAlarm(d time.Duration) {
	if c.is(closed) {
		return
	}
	d = min(d, farAlarm)
	due := c.loop.now + 1 + uint32((d+tick-1)/tick) // the current tick began earlier
	if d >= longAlarm {
		due += (sharedTicks - due%sharedTicks) % sharedTicks
	}
	c.loop.wheel.set(c, due)
}

// Unread reports whether bytes of the peer are unread: not consumed, or still in the kernel.
func (c *Conn) Unread() bool {
	if c.in != nil {
		return true
	}
	n, err := unix.IoctlGetInt(int(c.fd), unix.TIOCINQ)
	return err == nil && n > 0
}

// Silence returns for how long nothing has arrived from the peer while it was being read, in steps of the
// wheel's ticks. It is 0 while the peer is not read because it does not read its answers.
func (c *Conn) Silence() time.Duration {
	if c.is(heldBack) {
		return 0
	}
	return time.Duration(c.loop.now-c.lastInput) * tick
}

// PauseReading leaves what the peer sends in the kernel, so that TCP slows the peer down. epoll is
// told only when something arrives: most pauses end earlier.
func (c *Conn) PauseReading() {
	if !c.is(closed) {
		c.state |= paused
	}
}

// ResumeReading ends PauseReading. Unconsumed bytes are offered again in this turn, and
// Silence counts from now.
func (c *Conn) ResumeReading() {
	if c.is(closed) || !c.is(paused) {
		return
	}
	c.state &^= paused
	c.lastInput = c.loop.now
	if c.is(noInput) {
		c.loop.watch(c)
	}
	c.loop.resumed = append(c.loop.resumed, c)
}

// Yield is called by a handler that has used the loop for long enough: OnData is called again in the
// next turn, after the events of other connections. Nothing is read before that.
func (c *Conn) Yield() {
	if !c.is(yielding | closed) {
		c.state |= yielding
		c.loop.Post((*turn)(c))
	}
}

// Yields reports whether the connection waits for the next turn after Yield.
func (c *Conn) Yields() bool { return c.is(yielding) }

// turn is the task that ends a Yield.
type turn Conn

// Run implements Task.
func (t *turn) Run(*Loop) {
	c := (*Conn)(t)
	c.state &^= yielding
	if !c.is(paused | closed) {
		c.offer()
	}
}

// Paused reports whether reading is paused.
func (c *Conn) Paused() bool { return c.is(paused) }

// Finish sends what is pending, for ten seconds at most, ends the stream, and closes once
// the peer has ended its own, or after a second: closing at once could destroy what the
// peer has not read yet (RFC 9112 §9.6 explains it). What still arrives is discarded; a peer
// that sends a whole read buffer at once is not read any more.
func (c *Conn) Finish() {
	if !c.is(finishing | closed) {
		c.state |= finishing
		c.SetAlarm(flushTime)
		c.markDirty()
	}
}

const (
	flushTime  = 10 * time.Second
	lingerTime = time.Second
)

// Close drops the connection and what is pending on it. OnClose is called at the end of the
// turn.
func (c *Conn) Close() { c.fail(ErrClosed) }

// fail closes the connection because of err.
func (c *Conn) fail(err error) {
	if c.is(closed) {
		return
	}
	if c.is(securing) && !errors.Is(err, ErrHandshake) {
		err = fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	c.state |= closed
	c.loop.dying = append(c.loop.dying, ending{c, err})
}

// Become makes h the connection's handler, because the protocol has changed. OnOpen is
// not called again. What the last OnData does not consume is offered to h in this turn.
func (c *Conn) Become(h Handler) {
	c.handler = h
	c.loop.resumed = append(c.loop.resumed, c)
}

// Probe makes the kernel send keep-alive probes to a peer that has been silent for that long, and fail
// the connection when three of them are not answered, RFC 1122 §4.2.3.6. It is for peers
// that need not send anything.
func (c *Conn) Probe(silence time.Duration) {
	seconds := max(1, int(silence/time.Second))
	_ = unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
	_ = unix.SetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(1, seconds/3))
	_ = unix.SetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3)
}

func (c *Conn) markDirty() {
	if !c.is(dirty | closed | blocked) {
		c.state |= dirty
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// receive reads; the loop calls it when the socket is readable.
func (c *Conn) receive() {
	l := c.loop
	if c.late() > lateBytes {
		c.state |= heldBack
		l.watch(c)
		return
	}
	n, errno := rawReceive(int(c.fd), l.readBuffer)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		c.fail(errno)
		return
	case n == 0 && c.is(finishing):
		c.fail(ErrClosed)
		return
	case n == 0:
		c.fail(io.EOF)
		return
	}
	l.stats.BytesIn += uint64(n)
	if c.is(finishing) {
		if n == len(l.readBuffer) {
			c.PauseReading() // too much: TCP slows the peer down until the connection is closed
		}
		return
	}
	c.lastInput = l.now
	c.received(l.readBuffer[:n])
}

// deliver passes p to the handler, after the bytes that it left before, and keeps what it leaves.
func (c *Conn) deliver(p []byte) {
	l := c.loop
	if c.in != nil {
		c.in.bytes = append(l.pool.grow(c.in.bytes, len(p)), p...)
		if !c.is(paused | yielding) {
			c.offer()
		}
		return
	}
	used := 0
	if !c.is(paused | yielding) {
		used = c.handler.OnData(c, p)
	}
	if used < len(p) && !c.is(closed) {
		c.in = &inbound{append(l.pool.borrow(len(p)-used), p[used:]...)}
	}
}

// offer passes the kept bytes to the handler, and keeps what it leaves.
func (c *Conn) offer() {
	if c.in == nil {
		c.handler.OnData(c, nil)
		return
	}
	b, pool := c.in.bytes, &c.loop.pool
	switch rest := b[c.handler.OnData(c, b):]; {
	case len(rest) == 0:
		c.in = nil
		pool.giveBack(b)
	case cap(b) > smallBuffer && len(rest) <= cap(b)/4: // do not keep a large buffer for few bytes
		c.in.bytes = append(pool.borrow(len(rest)), rest...)
		pool.giveBack(b)
	default:
		c.in.bytes = b[:copy(b, rest)]
	}
}

// flush writes what is pending with one system call.
func (c *Conn) flush() {
	l := c.loop
	c.state &^= dirty
	if c.is(closed | dialing) {
		return
	}
	pending := &c.out
	if c.secure != nil {
		c.seal()
		pending = &c.secure.out
	}
	if o := *pending; o != nil && o.size > 0 {
		n, errno := o.write(int(c.fd), &l.iovecs)
		if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
			c.fail(errno)
			return
		}
		if errno != 0 {
			n = 0
		}
		l.stats.BytesOut += uint64(n)
		o.advance(&l.pool, n)
		if o.size > 0 {
			c.block(o, n)
			return
		}
	}
	if *pending != nil {
		l.pool.giveBackOutbound(*pending)
		*pending = nil
	}
	switch {
	case c.is(blocked):
		if c.is(heldBack) {
			c.lastInput = l.now
		}
		c.state &^= blocked | heldBack | awaited
		l.watch(c)
		if !c.is(securing) { // during a TLS handshake the handler has not had OnOpen, and has written nothing
			c.handler.OnDrained(c)
		}
	case c.is(awaited): // in the next turn, because other connections are waiting too
		l.Post((*drained)(c))
	}
	if c.is(finishing) && c.out == nil {
		c.SetAlarm(lingerTime)
		if err := unix.Shutdown(int(c.fd), unix.SHUT_WR); err != nil {
			c.fail(err)
		}
	}
}

// drained is the task that calls OnDrained for a connection whose socket was not full.
type drained Conn

// Run implements Task.
func (d *drained) Run(*Loop) {
	c := (*Conn)(d)
	if c.is(awaited) && !c.is(blocked|closed) {
		c.state &^= awaited
		c.handler.OnDrained(c)
	}
}

// connected finishes a dial; the loop calls it when the socket becomes writable.
func (c *Conn) connected() {
	if errno, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
		c.fail(cmpErr(err, unix.Errno(errno)))
		return
	}
	c.state &^= dialing
	c.loop.watch(c)
	c.lastInput = c.loop.now
	if c.secure != nil {
		c.startHandshake()
		return
	}
	c.handler.OnOpen(c)
	if c.out != nil {
		c.markDirty()
	}
}

func cmpErr(err error, errno unix.Errno) error {
	if err != nil {
		return err
	}
	return errno
}

// Hash returns a number that differs between connections, to spread what all of them do over time.
func (c *Conn) Hash() uint64 {
	return (uint64(c.fd) + uint64(c.loop.index)<<32) * 0x9E3779B97F4A7C15 >> 16
}
