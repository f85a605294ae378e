package reactor

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// TLS without a goroutine for each connection, over crypto/tls as it is.
//
// The handshake cannot be suspended, so it runs on one of a bounded number of workers,
// over a transport that the loop feeds: descriptors never leave the loop. A worker starts
// when the client's first message is complete, so that connections that say nothing hold
// none, one that waits for its client lets another run, and a handshake that stalls is cut off
// by the connection's alarm.
//
// After it, the loop drives crypto/tls: its Read is given the bytes at hand, and then an
// error that is Timeout and Temporary, across which crypto/tls keeps its state.

// ErrHandshake says that a TLS handshake failed; what went wrong is in the text.
var ErrHandshake = errors.New("TLS handshake")

// TLSConfig is what accepted connections need to speak TLS.
type TLSConfig struct {
	// Config is crypto/tls's, used as it is.
	Config *tls.Config
	// Handshakes runs them. It must not be nil.
	Handshakes *Workers
	// Timeout of a handshake. Default 10s.
	Timeout time.Duration
}

// secure is the TLS layer of a connection. Owned by the loop, except the transport, which
// the worker shares during the handshake.
type secure struct {
	conn    *tls.Conn
	pipe    transport
	out     *outbound // ciphertext that is pending
	started bool      // the handshake is on a worker
	ended   bool      // the peer was told that nothing follows
}

// release gives back what is pending and ends a handshake that is under way.
func (s *secure) release(l *Loop, err error) {
	s.pipe.abort(err)
	if s.out != nil {
		l.pool.giveBackOutbound(s.out)
		s.out = nil
	}
}

// PeerCertificates returns the chain that TLS has verified for the peer, its own certificate
// first, or nil.
func (c *Conn) PeerCertificates() []*x509.Certificate {
	if c.secure == nil {
		return nil
	}
	chains := c.secure.conn.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return nil
	}
	return chains[0]
}

// maxRecord is the most plaintext that a record has, in bytes, RFC 8446 §5.1.
const maxRecord = 16 << 10

// secureAs puts TLS on the connection, as side says. The handshake has an alarm.
func (c *Conn) secureAs(side func(net.Conn, *tls.Config) *tls.Conn, config *tls.Config) {
	s := &secure{}
	s.pipe.owner = c
	s.pipe.shake = new(handshake)
	s.pipe.shake.arrived.L = &s.pipe.shake.mu
	s.conn = side(&s.pipe, config)
	c.secure = s
	c.state |= securing
	c.SetAlarm(cmp.Or(c.loop.config.TLS.Timeout, 10*time.Second))
}

// greeted is called with each piece of the handshake that arrives.
func (c *Conn) greeted(p []byte) {
	s := c.secure
	if s.pipe.feed(p) >= maxHello { // secured reads on
		c.state |= deaf
		c.loop.watch(c)
	}
	if !s.started && s.pipe.hasMessage() {
		c.shakeHands()
	}
}

// shakeHands runs the handshake on a worker.
func (c *Conn) shakeHands() {
	s := c.secure
	s.started = true
	ok := c.loop.config.TLS.Handshakes.Do(func() {
		err := s.conn.Handshake()
		c.loop.Post(TaskFunc(func(*Loop) { c.secured(err) }))
	})
	if !ok {
		c.loop.stats.Refused++
		c.fail(fmt.Errorf("%w: too many at a time", ErrHandshake))
	}
}

// secured ends the handshake: the connection opens, or it is over.
func (c *Conn) secured(err error) {
	if c.is(closed) {
		return
	}
	if err != nil {
		c.markDirty() // the alert may still leave
		c.flush()
		c.fail(fmt.Errorf("%w: %w", ErrHandshake, err))
		return
	}
	c.state &^= securing
	early := c.secure.pipe.settle()
	if c.is(deaf) {
		c.state &^= deaf
		c.loop.watch(c)
	}
	c.handler.OnOpen(c)
	c.decrypt(early) // also when it is empty: crypto/tls may have read ahead
}

// decrypt hands the plaintext of p to the handler.
func (c *Conn) decrypt(p []byte) {
	s := c.secure
	s.pipe.in = p
	for !c.is(closed | finishing) {
		n, err := s.conn.Read(c.loop.plain)
		if n > 0 {
			c.deliver(c.loop.plain[:n])
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			break
		}
		if err != nil {
			c.fail(err)
		}
	}
	s.pipe.in = nil
	if s.out != nil { // what crypto/tls says by itself, such as the answer to a KeyUpdate
		c.markDirty()
	}
}

// seal encrypts what is pending, in as few records as it takes, and after the last of a
// connection that finishes, says so (RFC 8446 §6.1).
func (c *Conn) seal() {
	if c.is(securing) {
		return
	}
	if c.out != nil {
		c.sealPending()
	}
	if c.is(finishing) && !c.secure.ended {
		c.secure.ended = true
		if err := c.secure.conn.CloseWrite(); err != nil {
			c.fail(err)
		}
	}
}

func (c *Conn) sealPending() {
	record := c.loop.plain[:0]
	for _, segment := range c.out.segments {
		for b := segment.bytes; len(b) > 0; {
			n := min(len(b), cap(record)-len(record))
			record, b = append(record, b[:n]...), b[n:]
			if len(record) == cap(record) {
				c.sealRecord(record)
				record = record[:0]
			}
		}
	}
	c.sealRecord(record)
	c.loop.pool.giveBackOutbound(c.out)
	c.out = nil
}

func (c *Conn) sealRecord(record []byte) {
	if len(record) == 0 {
		return
	}
	if _, err := c.secure.conn.Write(record); err != nil {
		c.fail(err)
	}
}

// addCiphertext makes p pending. On the loop.
func (c *Conn) addCiphertext(p []byte) {
	l, s := c.loop, c.secure
	if s.out == nil {
		s.out = l.pool.borrowOutbound()
	}
	s.out.commit(&l.pool, append(s.out.reserve(&l.pool, len(p)), p...))
}

// transport is the net.Conn below crypto/tls. During the handshake the worker reads and
// writes and the loop feeds, with the lock; after settle only the loop touches it.
type transport struct {
	owner *Conn
	in    []byte     // bytes at hand: what arrived and was not read
	shake *handshake // nil after the handshake
}

// handshake is what loop and worker share.
type handshake struct {
	mu      sync.Mutex
	arrived sync.Cond
	err     error // the connection has ended
}

// wouldBlock is the error that crypto/tls can go on after.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no bytes at hand" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// maxHello is how many bytes may wait until the handshake is complete; then no more are read.
// A handshake has fewer, but a client may send data as soon as it has had its say in it.
const maxHello = 64 << 10

// feed adds bytes that have arrived, and returns how many wait. On the loop.
func (t *transport) feed(p []byte) int {
	t.shake.mu.Lock()
	defer t.shake.mu.Unlock()
	t.in = append(t.in, p...)
	t.shake.arrived.Signal()
	return len(t.in)
}

// hasMessage tells whether the first record is complete, or cannot become one: then
// crypto/tls has the right error. RFC 8446 §5.1: type, version, length, fragment.
func (t *transport) hasMessage() bool {
	t.shake.mu.Lock()
	defer t.shake.mu.Unlock()
	const header, recordHandshake = 5, 22
	if len(t.in) > 0 && t.in[0] != recordHandshake || len(t.in) >= maxHello {
		return true
	}
	return len(t.in) >= header && len(t.in) >= header+int(t.in[3])<<8+int(t.in[4])
}

// abort ends a handshake whose connection is gone.
func (t *transport) abort(err error) {
	if t.shake == nil {
		return
	}
	t.shake.mu.Lock()
	t.shake.err = err
	t.shake.mu.Unlock()
	t.shake.arrived.Signal()
}

// settle gives the transport to the loop and returns the bytes that came after the
// handshake.
func (t *transport) settle() []byte {
	early := bytes.Clone(t.in)
	t.in, t.shake = nil, nil
	return early
}

// Read implements net.Conn.
func (t *transport) Read(p []byte) (int, error) {
	if h := t.shake; h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(t.in) == 0 && h.err == nil {
			h.await(t)
		}
		if len(t.in) == 0 {
			return 0, h.err
		}
	}
	if len(t.in) == 0 {
		return 0, wouldBlock{}
	}
	n := copy(p, t.in)
	t.in = t.in[n:]
	return n, nil
}

// await has the worker wait for bytes. The handshakes of others go on meanwhile. Locked.
func (h *handshake) await(t *transport) {
	workers := t.owner.loop.config.TLS.Handshakes
	workers.Rest()
	for len(t.in) == 0 && h.err == nil {
		h.arrived.Wait()
	}
	workers.Resume()
}

// Write implements net.Conn.
func (t *transport) Write(p []byte) (int, error) {
	c := t.owner
	if t.shake == nil {
		c.addCiphertext(p)
		return len(p), nil
	}
	b := bytes.Clone(p)
	c.loop.Post(TaskFunc(func(*Loop) {
		if !c.is(closed) {
			c.addCiphertext(b)
			c.markDirty()
		}
	}))
	return len(p), nil
}

// What crypto/tls asks of a net.Conn besides; the loop has its own alarms and closes.

func (t *transport) Close() error                     { return nil }
func (t *transport) LocalAddr() net.Addr              { return nil }
func (t *transport) RemoteAddr() net.Addr             { return nil }
func (t *transport) SetDeadline(time.Time) error      { return nil }
func (t *transport) SetReadDeadline(time.Time) error  { return nil }
func (t *transport) SetWriteDeadline(time.Time) error { return nil }
