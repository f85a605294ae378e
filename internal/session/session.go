// Package session is what belongs to a device and outlives its connections: identity,
// subscriptions, the queue of messages it is owed, and the calls it has to answer.
//
// The flow: the gateway authenticates a connection and attaches it (Manager.Attach); from
// then on the connection's Link handles what the device sends and takes what is owed to
// it. When the connection ends, the Link is detached and the session waits, until the
// device comes back or the session expires.
//
// Any goroutine may deliver to a session, so a session has one lock. What is delivered
// goes through the session's queue and leaves on the loop of the connection of the day:
// the order of one publisher on one topic survives a change of connection.
package session

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// Session is one device's. It is made by Manager.Attach.
type Session struct {
	// Static after construction.
	manager *Manager
	device  string
	id      uint64
	created int64 // Unix milliseconds

	// Guarded by mu.
	mu      sync.Mutex
	link    *Link  // the live connection; nil while the device is away
	changed int64  // Unix milliseconds of the last connect or disconnect
	expiry  uint32 // seconds that the session outlives a connection
	missed  uint32 // messages lost to the bounds while the device was away
	woken   bool   // the loop has been asked to flush and has not yet
	timed   bool   // the expiry heap has an entry
	ended   bool

	subscriptions []store.Subscription
	next          *message.Message // a lone QoS 0 message, older than all unsent in queue
	queue         store.Queue      // nil when nothing is owed
	waiting       *router.Waiting  // QoS 1 messages that the queue has no room for
	calls         map[uint64]chan<- Reply
	traffic       Traffic
}

// Traffic counts a session's messages and their payload bytes.
type Traffic struct {
	UplinkMessages, UplinkBytes     uint64
	DownlinkMessages, DownlinkBytes uint64
}

// Device is the device's id.
func (s *Session) Device() string { return s.device }

// ID names the session; a device whose session was dropped gets another.
func (s *Session) ID() string { return strconv.FormatUint(s.id, 16) }

// Deliver implements router.Subscriber.
func (s *Session) Deliver(m *message.Message, q message.QoS) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		s.drop(router.SessionEnded, 1)
		return nil
	}
	if q == message.AtMostOnce {
		s.deliverOnce(m)
		return nil
	}
	if s.waiting != nil {
		return router.ErrFull
	}
	if err := s.push(m, q); err != nil {
		return err
	}
	s.wake()
	return nil
}

// deliverOnce takes or drops a QoS 0 message.
func (s *Session) deliverOnce(m *message.Message) {
	switch {
	case s.link == nil:
		s.drop(router.Offline, 1)
		return
	case s.next == nil && s.unsent() == 0:
		s.next = m
	case s.waiting != nil || s.push(m, message.AtMostOnce) != nil:
		s.drop(router.QueueFull, 1)
		return
	}
	s.wake()
}

// Wait implements router.Subscriber.
func (s *Session) Wait(m *message.Message, q message.QoS, t *router.Ticket) {
	s.mu.Lock()
	if s.ended || (s.waiting == nil && s.push(m, q) == nil) {
		s.wake()
		s.mu.Unlock()
		t.Done(nil)
		return
	}
	if s.waiting == nil {
		s.waiting = new(router.Waiting)
		time.AfterFunc(time.Until(t.Deadline), s.refuse)
	}
	s.waiting.Add(m, q, t)
	s.mu.Unlock()
}

// refuse tells the publishers that waited too long, and looks again when the next is due.
func (s *Session) refuse() {
	s.mu.Lock()
	if s.waiting == nil {
		s.mu.Unlock()
		return
	}
	late := s.waiting.Overdue(time.Now())
	if next, ok := s.waiting.Deadline(); ok {
		time.AfterFunc(time.Until(next), s.refuse)
	} else {
		s.waiting = nil
	}
	s.mu.Unlock()
	router.Tell(late, router.ErrTooLate)
}

// admit lets those in that wait for room. The caller tells the tickets, unlocked.
func (s *Session) admit() []*router.Ticket {
	if s.waiting == nil {
		return nil
	}
	tickets := s.waiting.Admit(func(m *message.Message, q message.QoS) bool { return s.push(m, q) == nil })
	if s.waiting.Len() == 0 {
		s.waiting = nil
	}
	return tickets
}

// push queues m. A device that is away loses its oldest message for a newer one; for one
// that is there, it is ErrFull when there is no room.
func (s *Session) push(m *message.Message, q message.QoS) error {
	if s.queue == nil {
		queue, err := s.manager.store.Queue(s.device)
		if err != nil {
			return err
		}
		s.queue = queue
	}
	for {
		err := s.queue.Push(m, q, time.Now())
		if !errors.Is(err, store.ErrFull) {
			return err
		}
		if s.link != nil {
			return router.ErrFull
		}
		if _, ok := s.queue.DropOldest(); !ok {
			return router.ErrFull
		}
		s.missed++
		s.drop(router.QueueOverflow, 1)
	}
}

// unsent is the number of queued messages that have not been sent on this connection.
func (s *Session) unsent() int {
	if s.queue == nil {
		return 0
	}
	return s.queue.Len() - s.queue.InFlight()
}

// wake asks the connection's loop to flush, once until it has.
func (s *Session) wake() {
	if s.link != nil && !s.woken {
		s.woken = true
		s.link.conn.Wake()
	}
}

// flush sends what the connection and the window have room for. On the loop, locked.
func (s *Session) flush(conn Conn, now time.Time) {
	if s.next != nil && conn.Room() {
		m := s.next
		s.next = nil
		s.send(conn, m, message.AtMostOnce, now)
	}
	for s.queue != nil && s.next == nil && s.queue.InFlight() < s.manager.config.InFlight && conn.Room() {
		m, q, ok := s.queue.Next(now)
		if !ok {
			break
		}
		s.send(conn, m, q, now)
		if q == message.AtLeastOnce && !conn.Acks() {
			s.queue.Ack(m.ID)
		}
	}
	s.tidy()
}

// send gives one message to the connection.
func (s *Session) send(conn Conn, m *message.Message, q message.QoS, now time.Time) {
	if m.Expired(now) {
		s.drop(router.Expired, 1)
		return
	}
	s.traffic.DownlinkMessages++
	s.traffic.DownlinkBytes += uint64(len(m.Payload))
	conn.Send(m, q)
}

// tidy counts what expired in the queue and lets go of an empty one.
func (s *Session) tidy() {
	if s.queue == nil {
		return
	}
	s.drop(router.Expired, s.queue.TakeExpired())
	if s.queue.Len() == 0 {
		s.closeQueue()
	}
}

// closeQueue hands the queue back to the store, which keeps what is in it. The memory of
// the device's queue is lent, as its buffers are.
func (s *Session) closeQueue() {
	_ = s.queue.Close() // the queue is empty or was dropped: nothing to lose
	s.queue = nil
}

func (s *Session) drop(why router.Drop, n int) { s.manager.router.Drops.Add(why, n) }

// Reply answers a call.
type Reply struct {
	Payload     []byte
	ContentType string
	Err         wire.Error // its Code is empty when the call succeeded
	lost        bool       // the connection ended first
}
