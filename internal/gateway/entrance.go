package gateway

import (
	"cmp"
	"errors"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
)

// entrance is the way of a connection from its handshake, or its CONNECT, to its session: the
// same for all protocols. The protocol reads who the device says it is and what it wants, and
// calls enter; the steps decide, one after the other; greet accepts, or handler.fail refuses.
//
// Meanwhile the connection is not read, and the time of its handshake runs.
type entrance struct {
	*connection

	// What the handshake says.
	credentials *auth.Credentials
	options     session.Options
	// greet accepts the handshake and calls open. An error is why the device cannot be told:
	// it has no session then.
	greet func(*entrance) error

	// What the steps find out.
	identity *auth.Identity
	device   string
	resumed  bool   // the session was there before
	missed   uint64 // messages that its bounds made it lose meanwhile
}

// step is a part of the way. It calls next once, on the connection's loop: with nil to go on,
// or with why the device is refused; before it returns, or later by a post, and not at all when
// the connection has closed by then.
type step func(e *entrance, next func(error))

// steps are the way in.
var steps = [...]step{
	(*entrance).limits, // is there room for one more connection, and is it its turn?
	(*entrance).verify, // who is it?
	(*entrance).claim,  // may this device come in now?
	(*entrance).attach, // its session
}

// enter begins the way of a connection that is arriving. It may have been refused or greeted
// when enter returns.
func (e *entrance) enter() {
	e.phase = entering
	e.from(0)(nil)
	if e.phase == entering {
		e.conn.PauseReading()
	}
}

// from takes the result of what is before step n, and goes on there.
func (e *entrance) from(n int) func(error) {
	return func(err error) {
		switch {
		case e.phase != entering: // it has ended meanwhile
		case err != nil:
			e.shard.claimed = cmp.Or(e.device, e.credentials.Device)
			e.refuse(err)
			e.shard.claimed = ""
		case n < len(steps):
			steps[n](e, e.from(n+1))
		default:
			e.welcome()
		}
	}
}

// limits has the connection counted, and waits for its turn in the line.
func (e *entrance) limits(next func(error)) {
	if e.shard.gateway.draining.Load() {
		next(errDraining)
		return
	}
	e.shard.line(e.conn, e.credentials, next)
}

// verify finds out who the device is.
func (e *entrance) verify(next func(error)) {
	e.shard.gateway.admission.verify(e.conn, e.credentials, func(i *auth.Identity, err error) {
		e.shard.verified(e.conn)
		e.identity = i
		next(err)
	})
}

// claim says what the device may do, unless it has come at a bad time.
func (e *entrance) claim(next func(error)) {
	if e.shard.gateway.draining.Load() {
		next(errDraining)
		return
	}
	e.device = strings.Clone(e.identity.Device) // it may be a piece of a credential
	credential := newCredential(e.identity, !e.own().Acks())
	e.options.Permissions = credential.session()
	next(e.shard.shortOf(e.device))
}

// attach ties the connection to the device's session.
func (e *entrance) attach(next func(error)) {
	var err error
	e.resumed, e.missed, err = e.shard.gateway.sessions.Attach(e.device, &e.link, e.own(), e.options)
	next(err)
}

// welcome greets the device and sends what it is owed.
func (e *entrance) welcome() {
	e.conn.ResumeReading()
	if err := e.greet(e); err != nil {
		e.link.ForgetWill()
		e.shard.gateway.sessions.Detach(&e.link, closeOf(err).Label)
		e.own().fail(err)
		return
	}
	e.Run(nil)
}

// open notes that the device is in: its handshake holds nothing any more.
func (e *entrance) open(outcome string) {
	e.phase = attached
	e.shard.handshakes[outcome]++
	_ = e.shard.holds(e.conn, 0)
	if o := e.shard.gateway.config.Observer; o != nil {
		o.Attached(e.device, e.peer())
	}
}

// refuse ends a connection that is not attached. It counts what a limit refuses.
func (c *connection) refuse(why error) {
	if no := deny(why); no != nil {
		why = c.shard.count(no)
	}
	c.conn.ResumeReading()
	c.own().fail(why)
}

// errTooSlow is why a handshake ends whose time is over.
var errTooSlow = errors.New("the handshake took too long")

// timeOut refuses a connection whose handshake's time is over.
func (c *connection) timeOut() {
	if c.shard.leaveLine(c.conn) {
		c.refuse(denyForTime())
	} else {
		c.refuse(errTooSlow)
	}
}

// keeps notes that n bytes are kept of a connection that is not attached, and ends it when all
// of those keep too much.
func (c *connection) keeps(n int) {
	if c.phase == attached {
		return
	}
	if c.phase == ended {
		n = 0
	}
	if err := c.shard.holds(c.conn, n); err != nil {
		c.refuse(err)
	}
}

// noRoom reports whether a device has no session because there are too many.
func noRoom(err error) bool {
	return errors.Is(err, session.ErrTooManySessions) || errors.Is(err, router.ErrQuota)
}
