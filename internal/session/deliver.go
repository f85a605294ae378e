package session

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// Deliver implements router.Subscriber.
func (s *Session) Deliver(m *message.Message, q message.QoS) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	conflate := false
	if s.special {
		if m, q, conflate = s.tailor(m, q); m == nil {
			return nil
		}
	}
	return s.deliver(m, q, conflate)
}

// deliver is Deliver. conflate lets a QoS 0 message take the place of an older one of its
// topic. Locked.
func (s *Session) deliver(m *message.Message, q message.QoS, conflate bool) error {
	switch {
	case s.ended:
		return s.refuseEnded(m)
	case q == message.AtMostOnce:
		s.deliverOnce(m, conflate)
		return nil
	case s.waiting != nil:
		return router.ErrFull
	}
	if err := s.push(m, q, false); err != nil {
		return err
	}
	s.wake()
	return nil
}

// deliverOnce takes or drops a QoS 0 message.
func (s *Session) deliverOnce(m *message.Message, conflate bool) {
	switch {
	case s.link == nil:
		s.drop(router.Offline, 1)
		return
	case s.waiting != nil: // it must not overtake
		s.drop(router.QueueFull, 1)
		return
	}
	replaces := conflate && s.next != nil && s.next.Topic == m.Topic
	switch {
	case s.unsent() == 0 && (s.next == nil || replaces):
		s.next = m
	case s.manager.shedding.Load(), s.manager.router.Short():
		s.drop(router.Shed, 1)
		return
	default:
		if err := s.push(m, message.AtMostOnce, conflate); err != nil {
			s.dropFor(err)
			return
		}
		if replaces {
			s.next = nil
		}
	}
	if replaces {
		s.drop(router.Conflated, 1)
	}
	s.wake()
}

// Wait implements router.Subscriber.
func (s *Session) Wait(m *message.Message, q message.QoS, t *router.Ticket) {
	s.mu.Lock()
	conflate := false
	if s.special {
		if m, q, conflate = s.tailor(m, q); m == nil {
			s.mu.Unlock()
			t.Done(nil)
			return
		}
	}
	err := s.deliver(m, q, conflate) // again: there may be room by now
	if errors.Is(err, router.ErrFull) {
		if s.waiting == nil {
			s.waiting = s.manager.router.NewWaiting(s.refuse)
			s.manager.laggards.add(s)
		}
		if !s.waiting.Add(m, q, t) {
			err = router.ErrTooLate
		}
	}
	s.mu.Unlock()
	switch {
	case errors.Is(err, router.ErrFull):
		return
	case errors.Is(err, router.ErrTooLate):
		s.drop(router.QueueFull, 1)
	case errors.Is(err, router.ErrGone):
		s.manager.router.Redeliver([]router.Held{{Message: m, QoS: q, Ticket: t}}, nil)
		return
	case err != nil:
		s.drop(router.Refused, 1)
	}
	t.Done(err)
}

// refuse tells the publishers that waited too long.
func (s *Session) refuse() {
	s.mu.Lock()
	if s.waiting == nil {
		s.mu.Unlock()
		return
	}
	late := s.waiting.Overdue(time.Now())
	s.forgetWaiting()
	s.mu.Unlock()
	s.drop(router.QueueFull, len(late))
	router.Tell(late, router.ErrTooLate)
}

// admit lets those in that wait for room. The caller tells the tickets, unlocked.
func (s *Session) admit() []*router.Ticket {
	if s.waiting == nil {
		return nil
	}
	tickets := s.waiting.Admit(func(m *message.Message, q message.QoS) error {
		err := s.push(m, q, false)
		if err != nil && !errors.Is(err, router.ErrFull) {
			s.drop(router.Refused, 1)
		}
		return err
	})
	s.forgetWaiting()
	return tickets
}

// forgetWaiting lets go of an empty line.
func (s *Session) forgetWaiting() {
	if s.waiting.Len() == 0 {
		s.waiting = nil
	}
}

// push queues m. A full queue gives up its oldest QoS 0 messages for it; that of a device that
// is away, its oldest of all. When that does not help, it is router.ErrFull.
func (s *Session) push(m *message.Message, q message.QoS, conflate bool) error {
	if err := s.openQueue(); err != nil {
		return err
	}
	for {
		err := s.put(m, q, conflate)
		if !errors.Is(err, store.ErrFull) {
			s.tidy()
			return err
		}
		if !s.giveWay() {
			return router.ErrFull
		}
	}
}

func (s *Session) put(m *message.Message, q message.QoS, conflate bool) error {
	now := time.Now()
	if !conflate {
		return s.queue.Push(m, q, now)
	}
	old, err := s.queue.Conflate(m, now)
	if old != nil {
		s.drop(router.Conflated, 1)
	}
	return err
}

// giveWay drops one message of a full queue for a newer one, if there is one to drop. Nobody waits for a device that is
// away, or has not acknowledged in time.
func (s *Session) giveWay() bool {
	if _, ok := s.queue.DropOldestQoS0(); ok {
		s.drop(router.QueueFull, 1)
		return true
	}
	if s.link != nil && !s.faithless() {
		return false
	}
	if _, ok := s.queue.DropOldest(); !ok {
		return false
	}
	s.missed++
	s.drop(router.QueueOverflow, 1)
	return true
}

// dropFor counts a message that push did not take.
func (s *Session) dropFor(err error) {
	if errors.Is(err, router.ErrFull) {
		s.drop(router.QueueFull, 1)
	} else {
		s.drop(router.Refused, 1)
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

// flushAll sends what there is room for, and lets in those that wait for the queue, until
// nothing moves. On the loop, locked; the caller tells the tickets, unlocked.
func (s *Session) flushAll(conn Conn) (admitted []*router.Ticket) {
	now := time.Now()
	for {
		s.flush(conn, now)
		more := s.admit()
		if len(more) == 0 {
			return admitted
		}
		admitted = append(admitted, more...)
	}
}

// flush sends what the connection and the window have room for.
func (s *Session) flush(conn Conn, now time.Time) {
	if m := s.next; m != nil && conn.Room() {
		s.next = nil
		if m.Expired(now) {
			s.drop(router.Expired, 1)
		} else {
			s.send(conn, m, message.AtMostOnce)
		}
	}
	for s.queue != nil && s.next == nil && s.inWindow() && conn.Room() {
		m, q, ok := s.queue.Next(now)
		if !ok {
			break
		}
		s.send(conn, m, q)
	}
	if t := s.exchange(); t != nil {
		if s.unsent() == 0 {
			t.sent.loseAll()
		}
		t.release()
	}
	s.tidy()
}

// inWindow reports whether the device is sent one more message. There is a queue. One that does not acknowledge is
// trusted with one.
func (s *Session) inWindow() bool {
	open, window := s.queue.InFlight(), s.manager.config.InFlight
	if t := s.exchange(); t != nil {
		open, window = t.sent.open(), int(t.window)
	}
	if open == 0 {
		return window > 0
	}
	return open < window && !s.faithless()
}

// send gives one message to the connection.
func (s *Session) send(conn Conn, m *message.Message, q message.QoS) {
	s.traffic.DownlinkMessages++
	s.traffic.DownlinkBytes += uint64(len(m.Payload))
	t := s.exchange()
	switch {
	case q == message.AtMostOnce:
		conn.Send(m, q)
	case t != nil:
		t.send(m, q)
	default:
		conn.Send(m, message.AtLeastOnce)
		if !conn.Acks() {
			s.queue.Ack(m.ID)
		}
	}
}

// openQueue borrows the device's queue from the store, with what it holds.
func (s *Session) openQueue() error {
	if s.queue != nil {
		return nil
	}
	queue, err := s.manager.store.Queue(s.device)
	if err != nil {
		return err
	}
	s.queue = queue
	return nil
}

// tidy counts what expired in the queue and hands an empty one back to the store, a while
// later if the device is there: the memory of a queue is lent, as buffers are.
func (s *Session) tidy() {
	if s.queue == nil {
		return
	}
	s.drop(router.Expired, s.queue.TakeExpired())
	switch {
	case s.queue.Len() > 0:
	case s.link == nil:
		s.closeQueue()
	case !s.lingers:
		s.lingers = true
		s.manager.lingering.add(s)
	}
}

func (s *Session) closeQueue() {
	s.manager.note(s.queue.Close())
	s.queue = nil
}
