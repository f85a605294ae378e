package session

import (
	"errors"
	"runtime"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// Deliver implements router.Subscriber.
func (s *Session) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	return s.deliver(m, q, p, true)
}

// Offer implements router.Member.
func (s *Session) Offer(m *message.Message, q message.QoS, p *router.Publication) error {
	return s.deliver(m, q, p, false)
}

// deliver takes m. With wait it waits when there is no room, else that is router.ErrFull.
func (s *Session) deliver(m *message.Message, q message.QoS, p *router.Publication, wait bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	conflate := false // a QoS 0 message takes the place of an older one of its topic
	if s.special {
		if m, q, conflate = s.tailor(m, q); m == nil {
			return nil
		}
	}
	switch {
	case s.ended:
		return s.refuseEnded(m)
	case q == message.AtMostOnce:
		s.deliverOnce(m, conflate)
		return nil
	}
	err := s.take(m, q, p)
	if errors.Is(err, router.ErrFull) && wait {
		return s.wait(m, q, p)
	}
	return err
}

// take queues a QoS 1 or 2 message behind those that wait, so that it is router.ErrFull while there are any.
func (s *Session) take(m *message.Message, q message.QoS, p *router.Publication) error {
	if s.waiting != nil {
		return router.ErrFull
	}
	if err := s.push(m, q, false); err != nil {
		return err
	}
	if s.durable() {
		p.Saved()
	}
	s.wake()
	return nil
}

// wait puts m into the line of those that wait for room.
func (s *Session) wait(m *message.Message, q message.QoS, p *router.Publication) error {
	if s.waiting == nil {
		s.waiting = s.manager.router.NewWaiting(s.refuse)
		s.manager.laggards.add(s)
	}
	if !s.waiting.Add(m, q, p) {
		return router.ErrTooLate
	}
	return nil
}

// deliverOnce takes or drops a QoS 0 message.
func (s *Session) deliverOnce(m *message.Message, conflate bool) {
	switch {
	case s.link == nil:
		s.lose(m, router.Offline)
		return
	case s.waiting != nil: // it must not overtake
		s.lose(m, router.QueueFull)
		return
	}
	old := s.next
	replaces := conflate && old != nil && old.Topic == m.Topic
	switch {
	case s.unsent() == 0 && (s.next == nil || replaces):
		s.next = m
	case s.manager.shedding.Load(), s.manager.router.Short(m.Debtor):
		s.lose(m, router.Shed)
		return
	default:
		if err := s.push(m, message.AtMostOnce, conflate); err != nil {
			s.dropFor(m, err)
			return
		}
		if replaces {
			s.next = nil
		}
	}
	if replaces {
		s.lose(old, router.Conflated)
	}
	s.wake()
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

// admit lets some of those in that wait for room, and appends their claims to admitted. The caller tells them,
// unlocked.
func (s *Session) admit(admitted []*router.Claim) []*router.Claim {
	if s.waiting == nil {
		return admitted
	}
	admitted = s.waiting.Admit(admitted, func(m *message.Message, q message.QoS) error {
		err := s.push(m, q, false)
		if err != nil && !errors.Is(err, router.ErrFull) {
			s.lose(m, router.Refused)
		}
		return err
	})
	s.forgetWaiting()
	return admitted
}

// admitAway lets in all that waits for a device that is away, at the expense of its oldest messages. It does a part of
// it; a goroutine does the rest, if there is any.
func (s *Session) admitAway() {
	if s.admitSomeAway() {
		s.manager.admitting.Go(func() {
			for s.admitSomeAway() {
				runtime.Gosched()
			}
		})
	}
}

// admitSomeAway is a part of admitAway. It reports whether more waits, and somebody else who may come does not
// let it in: the connection of a device that is back does.
func (s *Session) admitSomeAway() (more bool) {
	var admitted []*router.Claim
	s.mu.Lock()
	if s.link == nil {
		admitted = s.admit(nil)
		more = s.waiting != nil && len(admitted) > 0
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
	return more
}

// tell answers the publishers of messages that were let in, once those are safe. No lock may be held.
func (m *Manager) tell(admitted []*router.Claim) {
	if !m.durable || len(admitted) == 0 {
		router.Tell(admitted, nil)
		return
	}
	m.store.Commit(func(err error) { router.Tell(admitted, err) })
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
	s.openQueue()
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
		s.lose(old, router.Conflated)
	}
	return err
}

// giveWay drops one message of a full queue for a newer one, if there is one to drop. Nobody waits for a device that is
// away, or has not acknowledged in time.
func (s *Session) giveWay() bool {
	if m, ok := s.queue.DropOldestQoS0(); ok {
		s.lose(m, router.QueueFull)
		return true
	}
	if s.link != nil && !s.faithless() {
		return false
	}
	m, ok := s.queue.DropOldest()
	if !ok {
		return false
	}
	s.missed++
	s.lose(m, router.QueueOverflow)
	return true
}

// dropFor counts a message that push did not take.
func (s *Session) dropFor(m *message.Message, err error) {
	if errors.Is(err, router.ErrFull) {
		s.lose(m, router.QueueFull)
	} else {
		s.lose(m, router.Refused)
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

// admitAtOnce is how many of those that wait are let in in one turn of the loop, about.
const admitAtOnce = 128

// flushAll sends what there is room for, and lets in those that wait for the queue, until nothing moves. When there
// are many, the loop goes on in its next turn. It appends the claims of those it let in to admitted; the caller tells
// them, unlocked. On the loop, locked.
func (s *Session) flushAll(conn Conn, admitted []*router.Claim) []*router.Claim {
	now := time.Now()
	for {
		s.flush(conn, now)
		before := len(admitted)
		admitted = s.admit(admitted)
		switch {
		case len(admitted) == before:
			return admitted
		case len(admitted) >= admitAtOnce:
			s.wake()
			return admitted
		}
	}
}

// flush sends what the connection and the window have room for.
func (s *Session) flush(conn Conn, now time.Time) {
	if s.link.holds() {
		return
	}
	if m := s.next; m != nil && conn.Room() {
		s.next = nil
		if m.Expired(now) {
			s.lose(m, router.Expired)
		} else {
			s.countDown(m, message.AtMostOnce)
			conn.Send(m, message.AtMostOnce)
		}
	}
	if t := s.exchange(); t != nil && s.queue != nil {
		s.release(t, now)
	}
	for s.queue != nil && s.next == nil && s.inWindow() && conn.Room() && s.sendNext(conn, now) {
	}
	s.tidy()
}

// inWindow reports whether the device is sent one more message. There is a queue. One that does not acknowledge is
// trusted with one.
func (s *Session) inWindow() bool {
	open, window := s.queue.Open(), s.manager.config.InFlight
	if t := s.exchange(); t != nil {
		window = int(t.window)
	}
	if open == 0 {
		return window > 0
	}
	return open < window && !s.faithless()
}

// sendNext gives the connection the next message of the queue, if there is one.
func (s *Session) sendNext(conn Conn, now time.Time) bool {
	if t := s.exchange(); t != nil {
		return s.sendPacket(t, now)
	}
	m, q, ok := s.queue.Next(now)
	if !ok {
		return false
	}
	s.countDown(m, q)
	conn.Send(m, min(q, message.AtLeastOnce))
	if q > message.AtMostOnce && !conn.Acks() {
		s.forgo(m.ID)
	}
	return true
}

// countDown counts a message that is sent.
func (s *Session) countDown(m *message.Message, q message.QoS) {
	s.traffic.DownlinkMessages++
	s.traffic.DownlinkBytes += uint64(len(m.Payload))
	s.observeSent(m, q)
}

// openQueue borrows the device's queue from the store, with what it holds.
func (s *Session) openQueue() {
	if s.queue == nil {
		s.queue = s.manager.store.Queue(s.device)
	}
}

// tidy counts what expired in the queue and hands an empty one back to the store, a while
// later if the device is there: the memory of a queue is lent, as buffers are.
func (s *Session) tidy() {
	if s.queue == nil {
		return
	}
	s.drop(router.Expired, s.queue.TakeExpired())
	switch {
	case !s.queue.Empty():
	case s.link == nil:
		s.closeQueue()
	case !s.lingers:
		s.lingers = true
		s.manager.lingering.add(s)
	}
}

func (s *Session) closeQueue() {
	s.queue.Close()
	s.queue = nil
}
