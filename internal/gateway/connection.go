package gateway

import (
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// handler is a connection of a device with what its protocol does in its own way: all that
// the loops hold are handlers. Its methods are called on the loop, unless they say otherwise.
type handler interface {
	reactor.Handler
	session.Conn
	// base returns what all connections have. Safe from any goroutine.
	base() *connection
	// speaks names the protocol. Safe from any goroutine, once the session is attached.
	speaks() string
	// fail tells the device why the connection ends, and ends it: one that is not attached is
	// refused. It does nothing to one that has ended.
	fail(why error)
	// listen looks whether the device is alive, and sets the next alarm.
	listen()
	// resume reads on.
	resume()
}

var (
	_ handler = (*device)(nil)
	_ handler = (*mqttStream)(nil)
	_ handler = (*mqttSocket)(nil)
)

// handlers calls yield with the connections of a loop until it returns false. On the loop.
func handlers(l *reactor.Loop, yield func(handler) bool) {
	l.Handlers(func(h reactor.Handler) bool { return yield(handlerOf(h)) })
}

// handlerOf is the one place that knows that a gateway's loops hold nothing else.
func handlerOf(h reactor.Handler) handler { return h.(handler) }

// connection is what a connection of a device has, whatever protocol it speaks: a transport
// below, a session's link above. It belongs to its loop; of its methods, Index, Wake, Do,
// Close, transport and base are safe from any goroutine.
type connection struct {
	// Static after OnOpen.
	shard *shard
	conn  *reactor.Conn

	// Owned by the loop.
	link  session.Link
	phase phase
}

// phase is what a connection waits for.
type phase uint8

const (
	arriving phase = iota // its handshake, or its CONNECT
	entering              // limits and verifiers: it is not read
	attached              // packets
	ended                 // nothing: it is over, or about to be
)

// own returns the connection as its protocol has it.
func (c *connection) own() handler { return handlerOf(c.conn.Handler()) }

// base implements handler.
func (c *connection) base() *connection { return c }

func (c *connection) transport() *reactor.Conn { return c.conn }

// OnOpen implements reactor.Handler.
func (c *connection) OnOpen(conn *reactor.Conn) {
	c.conn = conn
	if o := c.shard.gateway.config.Observer; o != nil {
		o.Accepted(conn.RemoteAddr())
	}
	conn.SetAlarm(c.shard.gateway.config.HandshakeTimeout)
}

// OnDrained implements reactor.Handler.
func (c *connection) OnDrained(*reactor.Conn) { c.Run(nil) }

// Run implements reactor.Task: the session has something to send.
func (c *connection) Run(*reactor.Loop) {
	if c.phase == attached {
		c.flush()
	}
}

// Loop implements session.Conn.
func (c *connection) Loop() *session.Loop { return c.shard.loop }

// Wake implements session.Conn.
func (c *connection) Wake() { c.conn.Loop().Post(c) }

// Do implements session.Conn.
func (c *connection) Do(f func()) bool {
	return c.conn.Loop().Post(reactor.TaskFunc(func(*reactor.Loop) {
		if c.phase == attached {
			f()
		}
	}))
}

// Close implements session.Conn.
func (c *connection) Close(why *wire.Close) { c.Do(func() { c.own().fail(why) }) }

// Room implements session.Conn.
func (c *connection) Room() bool {
	return c.phase == attached && !c.conn.Full(c.shard.gateway.config.PendingBytes)
}

// resume implements handler.
func (c *connection) resume() {
	c.conn.ResumeReading()
	if c.phase == attached && c.link.Searches() {
		c.Wake()
	}
}

// dismiss ends the connection, for a reason that has nothing to do with what the device does.
// One that is not attached is told to come back.
func (c *connection) dismiss(why *wire.Close) {
	if c.phase == attached {
		c.own().fail(why)
	} else {
		c.own().fail(errDraining)
	}
}

// leave is called when the connection is over or about to be, and any number of times after:
// why has the label of metrics and presence. It reports whether it was attached.
func (c *connection) leave(why *wire.Close) (was phase) {
	was, c.phase = c.phase, ended
	if was == attached {
		c.shard.closes[why.Label]++
		c.closing(why)
		c.shard.gateway.sessions.Detach(&c.link, why.Label)
	}
	return was
}

// bearing returns the device and its credential's ID, hashed by idOf; ok is false for a
// connection that no credential let in.
func (c *connection) bearing() (device string, credential uint64, ok bool) {
	let := credentialOf(&c.link)
	if let == nil {
		return "", 0, false
	}
	return c.link.Session().Device(), let.id, true
}

// beat looks whether the connection may stay and is alive, and sets the next alarm.
func (c *connection) beat() {
	if left, rule := c.stays(); left <= 0 {
		c.own().fail(rule)
		return
	}
	c.own().listen()
}

// stays is for how long the connection may stay as it is, and the rule that it breaks then:
// forEver is that it may. What an open connection may not do for ever is stay without a
// credential that is good, and hold the buffer of a message that does not come to its end.
func (c *connection) stays() (left time.Duration, rule *wire.Close) {
	left = forEver
	g := c.shard.gateway
	if good := credentialOf(&c.link).left(); good < forEver {
		left, rule = good+g.admission.chain.Config().Grace, wire.CloseTokenExpired
	}
	if conn := c.conn; conn.Since != 0 && !conn.Paused() {
		age := time.Duration(clock(conn)-conn.Since) * time.Millisecond
		if rest := g.config.MessageTimeout - age; rest < left {
			left, rule = rest, wire.CloseSlowMessage
		}
	}
	return left, rule
}

// setAlarm sets the alarm of an attached connection: after a time, or when it may stay no
// longer, if that is sooner; forEver is not at all.
func (c *connection) setAlarm(after time.Duration) {
	left, _ := c.stays()
	if after = min(after, left); after < forEver {
		c.conn.SetAlarm(max(0, after))
	}
}
