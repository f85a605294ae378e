package reactor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/longline/longline/internal/proxyproto"
)

// A connection from a proxy that uses the PROXY protocol begins with a header with the client's
// address. The header comes before everything else, also TLS, and the handler sees only its result,
// RemoteAddr. The address is in a map of the loop, so other connections need no memory
// for it.

// ErrProxied says that a connection from a proxy did not begin with a valid header.
var ErrProxied = errors.New("PROXY header")

// headerTime is how long a proxy may take for its header, which is the first thing it sends.
// The specification requires at least 3 seconds (§3).
const headerTime = 5 * time.Second

// received handles what has arrived, with or without a header.
func (c *Conn) received(p []byte) {
	switch {
	case c.is(proxied):
		c.readHeader(p)
	case c.secure == nil:
		c.deliver(p)
	case c.is(securing):
		c.feedHandshake(p)
	default:
		c.decrypt(p)
	}
}

// accepted begins a connection: with its header, if it comes from a proxy.
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

// open begins what follows the header, or an accept without header: TLS, or the handler's protocol.
func (c *Conn) open() {
	if c.is(toSecure) {
		c.state &^= toSecure
		c.secureAs(tls.Server, c.loop.config.TLS.Config)
		return
	}
	c.handler.OnOpen(c)
}

// readHeader reads a header, which may arrive in pieces, and continues with the bytes after it.
func (c *Conn) readHeader(p []byte) {
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

// SetRemoteAddr makes RemoteAddr return a: the client behind a proxy, as the proxy states it.
func (c *Conn) SetRemoteAddr(a netip.AddrPort) {
	if c.loop.clients == nil {
		c.loop.clients = make(map[*Conn]netip.AddrPort)
	}
	c.loop.clients[c] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// RemoteAddr returns the peer's address: as a proxy stated it, otherwise as the kernel knows it, so that it
// needs no memory here.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if a, ok := c.loop.clients[c]; ok {
		return a
	}
	return rawPeer(int(c.fd))
}
