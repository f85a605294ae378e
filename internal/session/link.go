package session

import (
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// Conn is a live connection as its session sees it. One with packet identifiers is an Exchanger too. The gateway
// implements it. Its methods must not call the Link or the Manager before they return, unless they say so, because the
// session may be locked.
type Conn interface {
	// Wake makes the connection's loop call Link.Flush soon. Safe from any goroutine, must not block.
	Wake()
	// Close makes the loop tell the device why and end the connection soon. Safe from any goroutine, must not block.
	Close(why *wire.Close)
	// Do runs f on the connection's loop soon, never at once, unless the connection ends before. It returns false if
	// it knows already that the connection has ended. Safe from any goroutine, must not block.
	Do(f func()) bool

	// Loop returns the Loop of the connection. Safe from any goroutine.
	Loop() *Loop
	// Room reports whether Send may be called: the socket has little pending. On the loop.
	Room() bool
	// Send writes m as a msg packet of QoS 0 or 1. It returns false if the device cannot take m by its protocol; then
	// nothing was written, and the session drops m. On the loop.
	Send(m *message.Message, q message.QoS) (sent bool)
	// Answer writes a packet and does not keep it. It may call Manager.Detach. On the loop.
	Answer(p *wire.Packet)
	// Call writes a call and does not keep it, or returns why the device does not get it: then nothing was written. If the
	// connection is ending, it returns Ending. The session is not locked. On the loop.
	Call(p *wire.Packet) (refused string)
	// Reply writes the reply to a call of the device and does not keep it, or returns why the device cannot get it: then nothing was
	// written. It may call Manager.Detach. The session is not locked. On the loop.
	Reply(p *wire.Packet) (refused wire.Error)
	// SetReading stops or resumes reading from the device. On the loop.
	SetReading(on bool)
	// Acks reports whether the device's protocol has acknowledgements and calls. Safe from any goroutine.
	Acks() bool
}

// Ending is why a connection that is about to end takes no call.
const Ending = "the connection is ending"

// Link ties a connection to its session. The gateway embeds one in its connection; the Link identifies the connection.
// Its methods may be called on the loop only, and change nothing once a newer connection of the device is attached.
type Link struct {
	session     *Session
	conn        Conn
	permissions Permissions // nil allows all
	answers     *answers    // publications that are not answered yet; nil when there are none
}

// Session returns the session to which the link was attached, or nil before.
func (l *Link) Session() *Session { return l.session }

// Permissions returns those of Options; nil allows all.
func (l *Link) Permissions() Permissions { return l.permissions }

// Handle does what a packet of the device asks for. The packet is borrowed. An error is a *wire.Close: the device
// broke the contract.
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
	case wire.Call:
		return l.callService(p)
	case wire.Reply:
		l.reply(p)
	default:
		return wire.CloseContract.Because(p.Op.String() + " is an operation that only the gateway sends")
	}
	return nil
}

// Flush sends the replies and the queued messages that fit into the socket and the window, and commands. With search it also continues the search
// for retained messages, for a bounded number of them, and returns how many it looked at and did not send. The gateway
// calls Flush after Conn.Wake, and when a full socket has drained.
func (l *Link) Flush(search bool) (passed int) {
	s := l.session
	l.sendReplies()
	var admitted []*router.Claim
	commands := false
	s.mu.Lock()
	if s.link == l {
		commands = s.woken&toSendCommands != 0
		s.woken = 0
		admitted = s.flushAll(l.conn, nil)
		if search {
			admitted, passed = s.continueSearch(l.conn, admitted)
		}
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
	if commands {
		l.sendCommands()
	}
	return passed
}

// Searches reports whether the session still searches retained messages for its subscriptions.
func (l *Link) Searches() bool {
	s := l.session
	if s.manager.searches.sessions.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && s.manager.searches.of(s) != nil
}

// ack removes an acknowledged message from the queue. An ID that is not in flight comes too late and changes nothing.
func (l *Link) ack(id uint64) {
	s := l.session
	var admitted []*router.Claim
	s.mu.Lock()
	if s.link == l && s.removeAcknowledged(id) {
		s.acknowledged()
		admitted = s.flushAll(l.conn, nil)
		s.wakeToSearch()
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
}
