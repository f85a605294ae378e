package reactor

import "golang.org/x/sys/unix"

// lateBytes is how much may be written to a connection after its socket became full, before its peer is
// not read any more: answers to what the peer sends, which it does not read.
const lateBytes = 16 << 10

// late returns the bytes that were written since the socket became full.
func (c *Conn) late() int {
	if !c.is(blocked) {
		return 0
	}
	o := c.out
	if c.secure != nil {
		o = c.secure.out
	}
	return c.Pending() - o.held
}

// block is called when the socket has taken n bytes of o, and not the rest.
func (c *Conn) block(o *outbound, n int) {
	if c.is(blocked) {
		o.held = max(0, o.held-n)
		return
	}
	c.state |= blocked
	o.held = o.size
	c.loop.watch(c)
	if c.loop.config.Stall > 0 && !c.is(suspected) {
		c.loop.suspect(c)
	}
}

// suspect is a connection whose socket was full, and how much its peer had acknowledged then.
type suspect struct {
	conn  *Conn
	acked uint64 // bytes that the peer had acknowledged
	since uint32 // tick at which it had acknowledged that much
}

// suspect watches c until its socket is not full any more.
func (l *Loop) suspect(c *Conn) {
	if len(l.suspects) == 0 {
		l.looked = l.now
	}
	c.state |= suspected
	l.suspects = append(l.suspects, suspect{c, c.acked(), l.now})
}

// checkStalls calls OnStall for the suspects that have stalled, and drops those whose sockets are not full any more.
func (l *Loop) checkStalls(now uint32) {
	l.looked = now
	patience := uint32(l.config.Stall / tick)
	var stalled []*Conn
	kept := l.suspects[:0]
	for _, s := range l.suspects {
		if s.conn.is(closed|finishing) || !s.conn.is(blocked) {
			s.conn.state &^= suspected
			continue
		}
		if acked := s.conn.acked(); acked != s.acked {
			s.acked, s.since = acked, now
		}
		if now-s.since >= patience {
			s.conn.state &^= suspected
			stalled = append(stalled, s.conn)
			continue
		}
		kept = append(kept, s)
	}
	clear(l.suspects[len(kept):])
	l.suspects = kept
	for _, c := range stalled {
		l.config.OnStall(c.handler)
	}
}

// stallTicks returns the number of ticks between two checks.
func (c *Config) stallTicks() uint32 { return max(1, uint32(c.Stall/tick/8)) }

// acked asks the kernel how many bytes the peer has acknowledged, RFC 4898 §3 (HCThruOctetsAcked).
// The number grows while a slow peer reads, even if the socket stays full.
func (c *Conn) acked() uint64 {
	info, err := unix.GetsockoptTCPInfo(int(c.fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return info.Bytes_acked
}
