package door

import (
	"cmp"
	"errors"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
)

// Entrance is the way of a connection from its handshake, or its CONNECT, to its session: the
// same for all protocols. The protocol reads who the device says it is and what it wants, and
// calls Enter; the steps decide, one after the other; Greet accepts, or Handler.Fail refuses.
//
// Meanwhile the connection is not read, and the time of its handshake runs.
type Entrance struct {
	*Conn

	// What the handshake says.
	Credentials *auth.Credentials
	Options     session.Options
	// Greet accepts the handshake and calls Open. An error is why the device cannot be told:
	// it has no session then.
	Greet func(*Entrance) error

	// What the steps find out.
	identity *auth.Identity
	Device   string
	Resumed  bool   // the session was there before
	Missed   uint64 // messages that its bounds made it lose meanwhile
}

// step is a part of the way. It calls next once, on the connection's loop: with nil to go on,
// or with why the device is refused; before it returns, or later by a post, and not at all when
// the connection has closed by then.
type step func(e *Entrance, next func(error))

// steps are the way in.
var steps = [...]step{
	(*Entrance).limits, // is there room for one more connection, and is it its turn?
	(*Entrance).verify, // who is it?
	(*Entrance).claim,  // may this device come in now?
	(*Entrance).attach, // its session
}

// Enter begins the way of a connection that is Arriving. It may have been refused or greeted
// when Enter returns.
func (e *Entrance) Enter() {
	e.phase = Entering
	e.from(0)(nil)
	if e.phase == Entering {
		e.conn.PauseReading()
	}
}

// from takes the result of what is before step n, and goes on there.
func (e *Entrance) from(n int) func(error) {
	return func(err error) {
		switch {
		case e.phase != Entering: // it has ended meanwhile
		case err != nil:
			e.shard.claimed = cmp.Or(e.Device, e.Credentials.Device)
			e.Refuse(err)
			e.shard.claimed = ""
		case n < len(steps):
			steps[n](e, e.from(n+1))
		default:
			e.welcome()
		}
	}
}

// limits has the connection counted, and waits for its turn in the line.
func (e *Entrance) limits(next func(error)) {
	if !e.shard.door.Ready() {
		next(ErrDraining)
		return
	}
	e.shard.line(e.conn, e.Credentials, next)
}

// verify finds out who the device is.
func (e *Entrance) verify(next func(error)) {
	e.shard.door.admission.verify(e.conn, e.Credentials, func(i *auth.Identity, err error) {
		e.shard.verified(e.conn)
		e.identity = i
		next(err)
	})
}

// claim says what the device may do, unless it has come at a bad time.
func (e *Entrance) claim(next func(error)) {
	if !e.shard.door.Ready() {
		next(ErrDraining)
		return
	}
	e.Device = strings.Clone(e.identity.Device) // it may be a piece of a credential
	credential := newCredential(e.identity, !e.own().Acks())
	e.Options.Permissions = credential.session()
	next(e.shard.shortOf(e.Device))
}

// attach ties the connection to the device's session.
func (e *Entrance) attach(next func(error)) {
	e.shard.door.Sessions.Attach(e.Device, &e.link, e.own(), e.Options, func(found session.Attached, err error) {
		e.Resumed, e.Missed = found.Resumed, found.Missed
		next(err)
	})
}

// welcome greets the device and sends what it is owed.
func (e *Entrance) welcome() {
	e.conn.ResumeReading()
	if err := e.Greet(e); err != nil {
		e.link.ForgetWill()
		e.shard.door.Sessions.Detach(&e.link, CloseOf(err).Label)
		e.own().Fail(err)
		return
	}
	e.Run(nil)
}

// Open notes that the device is in: its handshake holds nothing any more.
func (e *Entrance) Open(outcome string) {
	e.phase = Attached
	e.shard.Handshakes[outcome]++
	_ = e.shard.holds(e.conn, 0)
	if o := e.shard.door.Config.Observer; o != nil {
		o.Attached(e.Device, e.peer())
	}
}

// Refuse ends a connection that is not attached. It counts what a limit refuses.
func (c *Conn) Refuse(why error) {
	if no := deny(why); no != nil {
		why = c.shard.count(no)
	}
	c.conn.ResumeReading()
	c.own().Fail(why)
}

// Why a connection is refused, besides what limits, verifiers and sessions say.
var (
	// ErrTooSlow is for a handshake whose time is over.
	ErrTooSlow = errors.New("the handshake took too long")
	// ErrDraining is for all that come while the node is drained.
	ErrDraining = errors.New("the gateway is being drained")
)

// TimeOut refuses a connection whose handshake's time is over.
func (c *Conn) TimeOut() {
	if c.shard.leaveLine(c.conn) {
		c.Refuse(denyForTime())
	} else {
		c.Refuse(ErrTooSlow)
	}
}

// Keeps notes that n bytes are kept of a connection that is not attached, and ends it when all
// of those keep too much.
func (c *Conn) Keeps(n int) {
	if c.phase == Attached {
		return
	}
	if c.phase == Ended {
		n = 0
	}
	if err := c.shard.holds(c.conn, n); err != nil {
		c.Refuse(err)
	}
}

// NoRoom reports whether a device has no session because there are too many.
func NoRoom(err error) bool {
	return errors.Is(err, session.ErrTooManySessions) || errors.Is(err, router.ErrQuota)
}
