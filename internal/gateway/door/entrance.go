package door

import (
	"cmp"
	"errors"
	"strings"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
)

// Entrance brings a connection from its handshake, or its CONNECT, to its session, in the same way for all protocols.
// The protocol reads who the device claims to be and what it asks for, and calls Begin. The steps decide, one after
// the other; then Greet accepts the device, or Handler.Fail refuses it.
//
// Meanwhile the connection is not read, and its handshake timeout runs.
type Entrance struct {
	*Conn

	// From the handshake.
	Credentials *auth.Credentials
	Options     session.Options
	// Greet answers the handshake and calls Accepted. If the device cannot be told, it returns why, and the device
	// gets no session.
	Greet func(*Entrance) error

	// Set by the steps.
	identity *auth.Identity
	Device   string
	Resumed  bool   // the session existed before
	Missed   uint64 // messages that the queue dropped for its bounds meanwhile
}

// step is one decision. It calls next once, on the connection's loop, with nil to continue or with why the device is
// refused: before it returns, or later by a post, and not at all if the connection closes before.
type step func(e *Entrance, next func(error))

// steps are run in this order.
var steps = [...]step{
	(*Entrance).limits,    // is there room for one more connection, and has its turn come?
	(*Entrance).verify,    // which device is it?
	(*Entrance).authorize, // what may it do, and may it connect now?
	(*Entrance).attach,    // give it its session
}

// Begin starts the steps for a connection that is Handshaking. When Begin returns, the device may have been refused or
// greeted already.
func (e *Entrance) Begin() {
	e.phase = Admitting
	e.resumeAt(0)(nil)
	if e.phase == Admitting {
		e.conn.PauseReading()
	}
}

// resumeAt returns the function that takes the result of step n-1 and runs step n.
func (e *Entrance) resumeAt(n int) func(error) {
	return func(err error) {
		switch {
		case e.phase != Admitting: // the connection has ended meanwhile
		case err != nil:
			e.shard.claimed = cmp.Or(e.Device, e.Credentials.Device)
			e.Refuse(err)
			e.shard.claimed = ""
		case n < len(steps):
			steps[n](e, e.resumeAt(n+1))
		default:
			e.accept()
		}
	}
}

// limits counts the connection, and waits for its turn in the line.
func (e *Entrance) limits(next func(error)) {
	if !e.shard.door.Accepts() {
		next(ErrDraining)
		return
	}
	e.shard.line(e.conn, e.Credentials, next)
}

// verify authenticates the device.
func (e *Entrance) verify(next func(error)) {
	e.shard.door.admission.verify(e.conn, e.Credentials, func(i *auth.Identity, err error) {
		e.shard.verificationEnded(e.conn)
		e.identity = i
		next(err)
	})
}

// authorize sets the device's permissions. It refuses the device while the node is drained or short of memory.
func (e *Entrance) authorize(next func(error)) {
	if !e.shard.door.Accepts() {
		next(ErrDraining)
		return
	}
	e.Device = strings.Clone(e.identity.Device) // it may share the memory of a credential
	credential := newCredential(e.identity, !e.handler().Acks())
	e.Options.Permissions = credential.session()
	e.Options.Admit = func() error { return e.shard.door.admission.revoked(e.identity) } // Gateway.Revoke does not find the connection before it is attached
	next(e.shard.checkMemory(e.Device))
}

// attach attaches the connection to the device's session.
func (e *Entrance) attach(next func(error)) {
	e.shard.door.Sessions.Attach(e.Device, &e.link, e.handler(), e.Options, func(found session.Attached, err error) {
		e.Resumed, e.Missed = found.Resumed, found.Missed
		next(err)
	})
}

// accept greets the device and sends its queued messages.
func (e *Entrance) accept() {
	e.conn.ResumeReading()
	if err := e.Greet(e); err != nil {
		e.link.ForgetWill()
		e.shard.door.Sessions.Detach(&e.link, CloseOf(err).Label)
		e.handler().Fail(err)
		return
	}
	e.Run(nil)
}

// Accepted notes that the device was greeted: the connection is Attached, and its handshake takes no memory any more.
func (e *Entrance) Accepted(outcome string) {
	e.phase = Attached
	e.shard.Handshakes[outcome]++
	_ = e.shard.countHandshakeBytes(e.conn, 0)
	if o := e.shard.door.Config.Observer; o != nil {
		o.Attached(e.Device, e.peer())
	}
}

// Refuse ends a connection that is not attached. It counts refusals by limits.
func (c *Conn) Refuse(why error) {
	if no := deny(why); no != nil {
		why = c.shard.count(no)
	}
	c.conn.ResumeReading()
	c.handler().Fail(why)
}

// Refusals that are not from limits, verifiers and sessions.
var (
	// ErrTooSlow refuses a connection because its handshake took longer than Config.HandshakeTimeout.
	ErrTooSlow = errors.New("the handshake took too long")
	// ErrDraining refuses a connection because the node is being drained.
	ErrDraining = errors.New("the gateway is being drained")
)

// TimeOut refuses a connection whose handshake timeout has passed.
func (c *Conn) TimeOut() {
	if c.shard.leaveLine(c.conn) {
		c.Refuse(denyForTime())
	} else {
		c.Refuse(ErrTooSlow)
	}
}

// CountHandshakeBytes notes that the node keeps n bytes of a connection that is not attached. If all such connections
// have too many bytes, it refuses this one.
func (c *Conn) CountHandshakeBytes(n int) {
	if c.phase == Attached {
		return
	}
	if c.phase == Ended {
		n = 0
	}
	if err := c.shard.countHandshakeBytes(c.conn, n); err != nil {
		c.Refuse(err)
	}
}

// NoRoom reports whether err refuses a device because the node has too many sessions or kept messages.
func NoRoom(err error) bool {
	return errors.Is(err, session.ErrTooManySessions) || errors.Is(err, router.ErrQuota)
}
