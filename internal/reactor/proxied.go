package reactor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/longline/longline/internal/proxyproto"
)

// Connections of a proxy that speaks the PROXY protocol begin with a header that says for
// whom it speaks. It comes before everything, TLS too, and the handler sees nothing of it but
// RemoteAddr. What it says is kept in a map of the loop: other connections have no memory
// for it.

// ErrProxied says that a connection from a proxy did not begin with a header that is right.
var ErrProxied = errors.New("PROXY header")

// headerTime is how long a proxy may take for its header, which is the first thing it sends:
// at least 3 seconds, the specification says (§3).
const headerTime = 5 * time.Second

// received is called with what has arrived, header or not.
func (c *Conn) received(p []byte) {
	switch {
	case c.is(proxied):
		c.announced(p)
	case c.secure == nil:
		c.deliver(p)
	case c.is(securing):
		c.greeted(p)
	default:
		c.decrypt(p)
	}
}

// accepted begins with a connection: with its header, if it comes from a proxy.
func (c *Conn) accepted(secure bool) {
	if secure {
		c.state |= toSecure
	}
	if len(c.loop.config.Proxied) > 0 && c.loop.config.Proxied.Contains(c.RemoteAddr().Addr()) {
		c.state |= proxied
		c.SetAlarm(headerTime)
		return
	}
	c.open()
}

// open begins with what comes first after a header, or without one: TLS, or the handler's.
func (c *Conn) open() {
	if c.is(toSecure) {
		c.state &^= toSecure
		c.secureAs(tls.Server, c.loop.config.TLS.Config)
		return
	}
	c.handler.OnOpen(c)
}

// announced reads a header, which may come in pieces, and goes on with what is behind it.
func (c *Conn) announced(p []byte) {
	pool, in := &c.loop.pool, c.in
	if in != nil {
		in.bytes = append(pool.grow(in.bytes, len(p)), p...)
		p = in.bytes
	}
	header, n, err := proxyproto.Parse(p)
	switch {
	case err != nil:
		c.fail(fmt.Errorf("%w: %w", ErrProxied, err))
		return
	case n == 0 && in == nil:
		c.in = &inbound{append(pool.borrow(len(p)), p...)}
		return
	case n == 0:
		return
	}
	c.in = nil
	c.state &^= proxied
	c.loop.wheel.unlink(c)
	if header.Source.IsValid() {
		c.SetRemoteAddr(header.Source)
	}
	c.open()
	if n < len(p) && !c.is(closed) {
		c.received(p[n:])
	}
	if in != nil {
		pool.giveBack(in.bytes)
	}
}

// SetRemoteAddr has RemoteAddr return a from now on: who is behind a proxy, by its word.
func (c *Conn) SetRemoteAddr(a netip.AddrPort) {
	if c.loop.behind == nil {
		c.loop.behind = make(map[*Conn]netip.AddrPort)
	}
	c.loop.behind[c] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// RemoteAddr is where the peer is: as a proxy has told, or as the kernel knows it, so that it
// needs no memory here.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if a, ok := c.loop.behind[c]; ok {
		return a
	}
	return rawPeer(int(c.fd))
}
