package door

import (
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// Handler is a connection of a device with what its protocol does in its own way: all that
// the loops hold are Handlers. Its methods are called on the loop, unless they say otherwise.
type Handler interface {
	reactor.Handler
	session.Conn
	// Base returns what all connections have. Safe from any goroutine.
	Base() *Conn
	// Protocol names the protocol. Safe from any goroutine, once the session is attached.
	Protocol() string
	// Fail tells the device why the connection ends, and ends it: one that is not attached is
	// refused. It does nothing to one that has ended.
	Fail(why error)
	// Listen looks whether the device is alive, and sets the next alarm.
	Listen()
	// Resume reads on.
	Resume()
}

// Handlers calls yield with the connections of a loop until it returns false. On the loop.
func Handlers(l *reactor.Loop, yield func(Handler) bool) {
	l.Handlers(func(h reactor.Handler) bool { return yield(HandlerOf(h)) })
}

// HandlerOf is the one place that knows that a gateway's loops hold nothing else.
func HandlerOf(h reactor.Handler) Handler { return h.(Handler) }

// Conn is what a connection of a device has, whatever protocol it speaks: a transport
// below, a session's link above. It belongs to its loop; of its methods, Loop, Wake, Do,
// Close, Transport and Base are safe from any goroutine.
type Conn struct {
	// Static after OnOpen.
	shard *Shard
	conn  *reactor.Conn

	// Owned by the loop.
	link  session.Link
	phase Phase
}

// Phase is what a connection waits for.
type Phase uint8

const (
	Arriving Phase = iota // its handshake, or its CONNECT
	Entering              // limits and verifiers: it is not read
	Attached              // packets
	Ended                 // nothing: it is over, or about to be
)

// NewConn returns a connection of the loop: transport is nil until OnOpen, unless the connection has spoken
// another protocol before.
func (s *Shard) NewConn(transport *reactor.Conn) Conn { return Conn{shard: s, conn: transport} }

// own returns the connection as its protocol has it.
func (c *Conn) own() Handler { return HandlerOf(c.conn.Handler()) }

// Base implements Handler.
func (c *Conn) Base() *Conn { return c }

// Transport is what is below: nil before OnOpen.
func (c *Conn) Transport() *reactor.Conn { return c.conn }

// Link ties the connection to its session, once it is attached.
func (c *Conn) Link() *session.Link { return &c.link }

// Phase is what the connection waits for.
func (c *Conn) Phase() Phase { return c.phase }

// Attached reports whether the connection has a session and has not ended.
func (c *Conn) Attached() bool { return c.phase == Attached }

// OnOpen implements reactor.Handler.
func (c *Conn) OnOpen(conn *reactor.Conn) {
	c.conn = conn
	if o := c.shard.door.Config.Observer; o != nil {
		o.Accepted(conn.RemoteAddr())
	}
	conn.SetAlarm(c.shard.door.Config.HandshakeTimeout)
}

// OnDrained implements reactor.Handler.
func (c *Conn) OnDrained(*reactor.Conn) { c.Run(nil) }

// Run implements reactor.Task: the session has something to send.
func (c *Conn) Run(*reactor.Loop) {
	if c.phase == Attached {
		c.flush()
	}
}

// Loop implements session.Conn.
func (c *Conn) Loop() *session.Loop { return c.shard.loop }

// Wake implements session.Conn.
func (c *Conn) Wake() { c.conn.Loop().Post(c) }

// Do implements session.Conn.
func (c *Conn) Do(f func()) bool {
	return c.conn.Loop().Post(reactor.TaskFunc(func(*reactor.Loop) {
		if c.phase == Entering || c.phase == Attached {
			f()
		}
	}))
}

// Close implements session.Conn.
func (c *Conn) Close(why *wire.Close) { c.Do(func() { c.own().Fail(why) }) }

// Room implements session.Conn.
func (c *Conn) Room() bool {
	return c.phase == Attached && !c.conn.Full(c.shard.door.Config.PendingBytes)
}

// Resume implements Handler.
func (c *Conn) Resume() {
	c.conn.ResumeReading()
	if c.phase == Attached && c.link.Searches() {
		c.Wake()
	}
}

// Dismiss ends the connection, for a reason that has nothing to do with what the device does.
// One that is not attached is told to come back.
func (c *Conn) Dismiss(why *wire.Close) {
	if c.phase == Attached {
		c.own().Fail(why)
	} else {
		c.own().Fail(ErrDraining)
	}
}

// Leave is called when the connection is over or about to be, and any number of times after:
// why has the label of metrics and presence. It returns what the connection waited for before.
func (c *Conn) Leave(why *wire.Close) (was Phase) {
	was, c.phase = c.phase, Ended
	if was == Attached {
		c.shard.Closes[why.Label]++
		c.closing(why)
		c.shard.door.Sessions.Detach(&c.link, why.Label)
	}
	return was
}

// Bearing returns the device and its credential's ID, hashed by IDOf; ok is false for a
// connection that no credential let in.
func (c *Conn) Bearing() (device string, credential uint64, ok bool) {
	let := credentialOf(&c.link)
	if let == nil {
		return "", 0, false
	}
	return c.link.Session().Device(), let.id, true
}

// Beat looks whether the connection may stay and is alive, and sets the next alarm.
func (c *Conn) Beat() {
	if left, rule := c.stays(); left <= 0 {
		c.own().Fail(rule)
		return
	}
	c.own().Listen()
}

// stays is for how long the connection may stay as it is, and the rule that it breaks then:
// ForEver is that it may. What an open connection may not do for ever is stay without a
// credential that is good, and hold the buffer of a message that does not come to its end.
func (c *Conn) stays() (left time.Duration, rule *wire.Close) {
	left = ForEver
	d := c.shard.door
	if good := credentialOf(&c.link).left(); good < ForEver {
		left, rule = good+d.Config.Auth.Config().Grace, wire.CloseTokenExpired
	}
	if conn := c.conn; conn.Since != 0 && !conn.Paused() {
		age := time.Duration(clock(conn)-conn.Since) * time.Millisecond
		if rest := d.Config.MessageTimeout - age; rest < left {
			left, rule = rest, wire.CloseSlowMessage
		}
	}
	return left, rule
}

// SetAlarm sets the alarm of an attached connection: after a time, or when it may stay no
// longer, if that is sooner; ForEver is not at all.
func (c *Conn) SetAlarm(after time.Duration) {
	left, _ := c.stays()
	if after = min(after, left); after < ForEver {
		c.conn.SetAlarm(max(0, after))
	}
}

// HeartbeatAfter is the silence after which the connection is pinged: the configured one, or
// up to a tenth more, each connection its own, so that pings never come in waves.
func (c *Conn) HeartbeatAfter() time.Duration {
	config := &c.shard.door.Config
	return config.Heartbeat + apart(c.conn, min(config.Heartbeat/10, (config.HeartbeatTimeout-config.Heartbeat)/2))
}

// HoldReading stops the reading, for the session.
func (c *Conn) HoldReading() { hold(c.conn, heldBySession) }

// ReleaseReading ends HoldReading, and reports whether the connection is to be read again: nobody else holds it.
func (c *Conn) ReleaseReading() bool { return c.shard.release(c.conn, heldBySession) }

// Exit is for a connection that is gone, and is told what OnClose was told, which may come without OnOpen: nothing
// is remembered of it. It returns what the connection waited for before.
func (c *Conn) Exit(conn *reactor.Conn, why error) (was Phase) {
	c.shard.exit(conn)
	if c.phase < Attached {
		c.shard.Handshakes["incomplete"]++
		if c.conn != nil {
			c.refusing("incomplete", "")
		}
	}
	return c.Leave(EndOf(why))
}

// End notes that the connection has ended, before it was attached.
func (c *Conn) End() { c.phase = Ended }
