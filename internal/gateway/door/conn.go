package door

import (
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// Handler is a connection of a device, with the methods that each protocol implements in its own way. The gateway's
// loops hold only Handlers. The methods are called on the loop, unless they say otherwise.
type Handler interface {
	reactor.Handler
	session.Conn
	// Base returns the part that all connections have. Safe from any goroutine.
	Base() *Conn
	// Protocol names the protocol. Safe from any goroutine, once the session is attached.
	Protocol() string
	// Fail tells the device why the connection ends, and ends it. If the connection is not attached, that is a
	// refusal. If it has ended, Fail does nothing.
	Fail(why error)
	// CheckAlive pings or closes a silent device, and sets the next alarm.
	CheckAlive()
	// Resume reads the connection again.
	Resume()
}

// Handlers calls yield with the connections of a loop until it returns false. On the loop.
func Handlers(l *reactor.Loop, yield func(Handler) bool) {
	l.Handlers(func(h reactor.Handler) bool { return yield(HandlerOf(h)) })
}

// HandlerOf returns h as a Handler. It relies on the gateway's loops having no others.
func HandlerOf(h reactor.Handler) Handler { return h.(Handler) }

// Conn is what every connection of a device has, whatever its protocol: a transport below, a session's link above. It
// belongs to its loop; of its methods, Loop, Wake, Do, Close, Transport and Base are safe from any goroutine.
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
	Handshaking Phase = iota // for its handshake, or its CONNECT
	Admitting                // for limits and verifiers; it is not read
	Attached                 // for packets
	Ended                    // for nothing: it has ended, or is about to
)

// NewConn returns the Conn of a new connection of the loop. transport is nil until OnOpen, unless the connection has
// spoken another protocol before.
func (s *Shard) NewConn(transport *reactor.Conn) Conn { return Conn{shard: s, conn: transport} }

// handler returns the connection as its protocol implements it.
func (c *Conn) handler() Handler { return HandlerOf(c.conn.Handler()) }

// Base implements Handler.
func (c *Conn) Base() *Conn { return c }

// Transport returns the connection of the reactor; nil before OnOpen.
func (c *Conn) Transport() *reactor.Conn { return c.conn }

// Link returns the link to the session, once the connection is attached.
func (c *Conn) Link() *session.Link { return &c.link }

// Phase returns what the connection waits for.
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

// Run implements reactor.Task: Wake posts the connection, because its session has messages for it.
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
		if c.phase == Admitting || c.phase == Attached {
			f()
		}
	}))
}

// Close implements session.Conn.
func (c *Conn) Close(why *wire.Close) { c.Do(func() { c.handler().Fail(why) }) }

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

// Dismiss ends the connection for a reason that the device has not caused. A connection that is not attached is
// refused with ErrDraining.
func (c *Conn) Dismiss(why *wire.Close) {
	if c.phase == Attached {
		c.handler().Fail(why)
	} else {
		c.handler().Fail(ErrDraining)
	}
}

// Detach detaches the session when the connection has ended or is about to; further calls do nothing. why has the
// label of metrics and presence. Detach returns what the connection waited for before.
func (c *Conn) Detach(why *wire.Close) (was Phase) {
	was, c.phase = c.phase, Ended
	if was == Attached {
		c.shard.Closes[why.Label]++
		c.closing(why)
		c.shard.door.Sessions.Detach(&c.link, why.Label)
	}
	return was
}

// Bearer returns the device and the hash of its credential's ID, see IDOf. ok is false for a connection that needed no
// credential.
func (c *Conn) Bearer() (device string, credential uint64, ok bool) {
	let := credentialOf(&c.link)
	if let == nil {
		return "", 0, false
	}
	return c.link.Session().Device(), let.id, true
}

// Check closes the connection if it may not stay, or else checks whether it is alive and sets the next alarm.
func (c *Conn) Check() {
	if left, rule := c.mayStay(); left <= 0 {
		c.handler().Fail(rule)
		return
	}
	c.handler().CheckAlive()
}

// mayStay returns how long the connection may stay as it is, and the rule that it breaks then; ForEver means no limit.
// Two things end a connection: its credential expires, or an incomplete message holds a buffer for too long.
func (c *Conn) mayStay() (left time.Duration, rule *wire.Close) {
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

// SetAlarm sets the alarm of an attached connection: to after, or to the end of mayStay if that is sooner. With
// ForEver it sets none.
func (c *Conn) SetAlarm(after time.Duration) {
	left, _ := c.mayStay()
	if after = min(after, left); after < ForEver {
		c.conn.SetAlarm(max(0, after))
	}
}

// HeartbeatAfter returns after how much silence the connection is pinged: the configured time, or up to a tenth more,
// different for each connection, so that pings never come in waves.
func (c *Conn) HeartbeatAfter() time.Duration {
	config := &c.shard.door.Config
	return config.Heartbeat + jitter(c.conn, min(config.Heartbeat/10, (config.HeartbeatTimeout-config.Heartbeat)/2))
}

// HoldReading stops reading the connection, for the session.
func (c *Conn) HoldReading() { hold(c.conn, heldBySession) }

// ReleaseReading undoes HoldReading, and reports whether the connection may be read again because nobody else holds
// it.
func (c *Conn) ReleaseReading() bool { return c.shard.release(c.conn, heldBySession) }

// AfterClose runs in OnClose, with its arguments, which may come without OnOpen. It makes the limits forget the
// connection, and detaches the session. It returns what the connection waited for before.
func (c *Conn) AfterClose(conn *reactor.Conn, why error) (was Phase) {
	c.shard.exit(conn)
	if c.phase < Attached {
		c.shard.Handshakes["incomplete"]++
		if c.conn != nil {
			c.refusing("incomplete", "")
		}
	}
	return c.Detach(EndOf(why))
}

// End notes that a connection has ended that was never attached.
func (c *Conn) End() { c.phase = Ended }
