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

// TLS without a goroutine per connection, with crypto/tls as it is.
//
// The handshake cannot be suspended, so it runs on one of a bounded number of workers,
// over a transport that the loop feeds: descriptors never leave the loop. A worker starts
// when the client's first record is complete, so that connections that send nothing hold
// none. A worker that waits for its client lets another one run, and the connection's alarm ends
// a handshake that stalls.
//
// After the handshake, the loop drives crypto/tls: Read gets the bytes that have arrived, and then an
// error that is Timeout and Temporary, after which crypto/tls keeps its state.

// ErrHandshake says that a TLS handshake failed. It is wrapped with the cause.
var ErrHandshake = errors.New("TLS handshake")

// TLSConfig configures TLS on accepted connections.
type TLSConfig struct {
	// Config is used as it is.
	Config *tls.Config
	// Handshakes runs the handshakes. It must not be nil.
	Handshakes *Workers
	// Timeout bounds a handshake. Default 10s.
	Timeout time.Duration
}

// secure is the TLS layer of a connection. Owned by the loop, except the transport, which
// the worker shares during the handshake.
type secure struct {
	conn    *tls.Conn
	pipe    transport
	out     *outbound // ciphertext that is pending
	started bool      // a worker has the handshake
	ended   bool      // the peer was sent the close alert
}

// release returns the pending buffers and ends an unfinished handshake.
func (s *secure) release(l *Loop, err error) {
	s.pipe.abort(err)
	if s.out != nil {
		l.pool.giveBackOutbound(s.out)
		s.out = nil
	}
}

// PeerCertificates returns the peer's chain as TLS verified it, its own certificate
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

// maxRecord is the most plaintext in a record, in bytes, RFC 8446 §5.1.
const maxRecord = 16 << 10

// secureAs starts TLS on the connection, as the given side. The alarm bounds the handshake.
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

// feedHandshake handles each piece of the handshake that arrives.
func (c *Conn) feedHandshake(p []byte) {
	s := c.secure
	if s.pipe.feed(p) >= maxHello { // endHandshake resumes reading
		c.state |= heldBack
		c.loop.watch(c)
	}
	if !s.started && s.pipe.hasMessage() {
		c.startHandshake()
	}
}

// startHandshake starts the handshake on a worker.
func (c *Conn) startHandshake() {
	s := c.secure
	s.started = true
	ok := c.loop.config.TLS.Handshakes.Do(func() {
		err := s.conn.Handshake()
		c.loop.Post(TaskFunc(func(*Loop) { c.endHandshake(err) }))
	})
	if !ok {
		c.loop.stats.Refused++
		c.fail(fmt.Errorf("%w: too many handshakes at the same time", ErrHandshake))
	}
}

// endHandshake ends the handshake: the connection opens, or fails.
func (c *Conn) endHandshake(err error) {
	if c.is(closed) {
		return
	}
	if err != nil {
		c.markDirty() // so that an alert can still be sent
		c.flush()
		c.fail(fmt.Errorf("%w: %w", ErrHandshake, err))
		return
	}
	c.state &^= securing
	early := c.secure.pipe.settle()
	if c.is(heldBack) {
		c.state &^= heldBack
		c.loop.watch(c)
	}
	c.handler.OnOpen(c)
	c.decrypt(early) // even if it is empty: crypto/tls may have read ahead
}

// decrypt passes the plaintext of p to the handler.
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
	if s.out != nil { // what crypto/tls sends by itself, such as the answer to a KeyUpdate
		c.markDirty()
	}
}

// seal encrypts what is pending, in as few records as possible. After the last record of a
// connection that finishes, it adds the close alert (RFC 8446 §6.1).
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
// writes and the loop feeds, holding the lock; after settle only the loop uses it.
type transport struct {
	owner *Conn
	in    []byte     // bytes that arrived and were not read
	shake *handshake // nil after the handshake
}

// handshake is what the loop and the worker share.
type handshake struct {
	mu      sync.Mutex
	arrived sync.Cond
	err     error // why the connection has ended
}

// wouldBlock is an error after which crypto/tls can continue.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no bytes have arrived" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// maxHello is how many bytes may be unread before the handshake is complete; beyond that no more are read.
// A handshake is smaller, but a client may send data as soon as its own part is complete.
const maxHello = 64 << 10

// feed adds bytes that have arrived, and returns how many are unread. On the loop.
func (t *transport) feed(p []byte) int {
	t.shake.mu.Lock()
	defer t.shake.mu.Unlock()
	t.in = append(t.in, p...)
	t.shake.arrived.Signal()
	return len(t.in)
}

// hasMessage reports whether the first record is complete, or invalid: then
// crypto/tls returns the right error. RFC 8446 §5.1: type, version, length, fragment.
func (t *transport) hasMessage() bool {
	t.shake.mu.Lock()
	defer t.shake.mu.Unlock()
	const header, recordHandshake = 5, 22
	if len(t.in) > 0 && t.in[0] != recordHandshake || len(t.in) >= maxHello {
		return true
	}
	return len(t.in) >= header && len(t.in) >= header+int(t.in[3])<<8+int(t.in[4])
}

// abort ends the handshake of a connection that has ended.
func (t *transport) abort(err error) {
	if t.shake == nil {
		return
	}
	t.shake.mu.Lock()
	t.shake.err = err
	t.shake.mu.Unlock()
	t.shake.arrived.Signal()
}

// settle passes the transport to the loop and returns the bytes that arrived after the
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

// await makes the worker wait for bytes, while other handshakes may run. Locked.
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

// The other methods of net.Conn; the loop has its own alarms and closes.

func (t *transport) Close() error                     { return nil }
func (t *transport) LocalAddr() net.Addr              { return nil }
func (t *transport) RemoteAddr() net.Addr             { return nil }
func (t *transport) SetDeadline(time.Time) error      { return nil }
func (t *transport) SetReadDeadline(time.Time) error  { return nil }
func (t *transport) SetWriteDeadline(time.Time) error { return nil }
