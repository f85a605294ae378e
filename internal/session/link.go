package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// Conn is a live connection as its session sees it; one with packet identifiers is an
// Exchanger too. The gateway implements it. Its methods
// must not call the Link or the Manager before they return, unless they say so: the session
// may be locked.
type Conn interface {
	// Wake has the connection's loop call Link.Flush soon. Safe from any goroutine, must
	// not block.
	Wake()
	// Close has the loop end the connection soon and tell the device why. Safe from any
	// goroutine, must not block.
	Close(why *wire.Close)
	// Do runs f on the connection's loop soon, never at once, unless the connection has ended
	// by then; it reports false when that is known already. Safe from any goroutine, must not
	// block.
	Do(f func()) bool

	// Loop is the connection's. Safe from any goroutine.
	Loop() *Loop
	// Room tells whether the socket keeps up, so that Send may be called. On the loop.
	Room() bool
	// Send writes m as a msg packet of QoS 0 or 1. On the loop.
	Send(m *message.Message, q message.QoS)
	// Answer writes a packet, which it does not keep. On the loop; it may call
	// Manager.Detach.
	Answer(p *wire.Packet)
	// SetReading stops reading what the device sends, or goes on. On the loop.
	SetReading(on bool)
	// Acks tells whether the device's protocol has acknowledgements and calls. Safe from any
	// goroutine.
	Acks() bool
}

// Link ties a connection to its session. The gateway embeds one in its connection; the
// link's identity is the connection's. Its methods may be called on the loop only, and
// change nothing once a newer connection of the device is attached.
type Link struct {
	session     *Session
	conn        Conn
	permissions Permissions // nil allows all
	answers     *answers    // publications not answered yet; nil when there are none
}

// Session is the session that the link was attached to; nil before.
func (l *Link) Session() *Session { return l.session }

// Permissions are those of Options; nil allows all.
func (l *Link) Permissions() Permissions { return l.permissions }

// Handle does what a packet of the device says. The packet is borrowed. An error is a
// *wire.Close: the device broke the contract.
func (l *Link) Handle(p *wire.Packet) error {
	switch p.Op {
	case wire.Pub:
		return l.publish(p)
	case wire.Ack:
		l.ack(p.ID)
	case wire.Sub:
		l.subscribe(p)
	case wire.Unsub:
		l.unsubscribe(p)
	case wire.Reply:
		l.reply(p)
	default:
		return wire.CloseContract.Because(p.Op.String() + " is not for a device to send")
	}
	return nil
}

// Flush sends what is owed and fits, and with search goes on to look for what is retained, for a
// bounded time: it returns at how many messages it looked that it did not send. The gateway calls
// it after Conn.Wake, and when a socket that was full has drained.
func (l *Link) Flush(search bool) (passed int) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	if s.link == l {
		s.woken = false
		admitted = s.flushAll(l.conn, nil)
		if search {
			admitted, passed = s.goOn(l.conn, admitted)
		}
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
	return passed
}

// Searches reports whether the session still looks for what is retained for its subscriptions.
func (l *Link) Searches() bool {
	s := l.session
	if s.manager.searches.sessions.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && s.manager.searches.of(s) != nil
}

// ack takes a message off what is owed. An id that is not in flight is late and harmless.
func (l *Link) ack(id uint64) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	if s.link == l && s.forgo(id) {
		s.acknowledged()
		admitted = s.flushAll(l.conn, nil)
		s.wakeToSearch()
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
}
