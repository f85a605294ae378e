package session

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// Deliver implements router.Subscriber.
func (s *Session) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	return s.Offer(m, q, router.Terms{Wait: true}, p)
}

// Offer implements router.Member. The messages in the queue of a device that has left may be on their way to other members, so they must
// not be dropped for m while another member is on line.
func (s *Session) Offer(m *message.Message, q message.QoS, t router.Terms, p *router.Publication) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.OnLine && s.link == nil && (!s.ended || s.isShadow()):
		return router.ErrAway
	case s.skips(m):
		return nil
	}
	return s.offer(m, q, t, p)
}

// offer is Offer for a message that the session takes if it can. The session is locked.
func (s *Session) offer(m *message.Message, q message.QoS, t router.Terms, p *router.Publication) error {
	conflate := false // whether a QoS 0 message replaces an older one of its topic
	if s.special {
		if m, q, conflate = s.applyOptions(m, q); m == nil {
			return nil
		}
	}
	if s.isShadow() {
		return s.passOn(m, q, p)
	}
	return s.accept(m, q, t, conflate, p)
}

// accept takes a message as it is. The session is locked.
func (s *Session) accept(m *message.Message, q message.QoS, t router.Terms, conflate bool, p *router.Publication) (err error) {
	switch {
	case s.ended:
		return s.refuseEnded(m)
	case q == message.AtMostOnce:
		s.deliverOnce(m, conflate)
	default:
		if err = s.take(m, q, p, t.Wait); errors.Is(err, router.ErrFull) && t.Wait {
			err = s.wait(m, q, p)
		}
	}
	s.countTaken(m, p, err)
	return err
}

// take queues a QoS 1 or 2 message. While others wait for room it returns router.ErrFull, so that m does not overtake
// them. drop says that older messages of a device that is away may be dropped for it.
func (s *Session) take(m *message.Message, q message.QoS, p *router.Publication, drop bool) error {
	if s.waiting != nil {
		return router.ErrFull
	}
	if err := s.push(m, q, false, drop); err != nil {
		return err
	}
	if s.durable() {
		p.Saved()
	}
	s.wake()
	return nil
}

// wait adds m to the line of messages that wait for room.
func (s *Session) wait(m *message.Message, q message.QoS, p *router.Publication) error {
	if s.waiting == nil {
		s.waiting = s.manager.router.NewWaiting(s.refuse)
		s.manager.ackTimeouts.add(s)
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
		s.dropMessage(m, router.Offline)
		return
	case s.waiting != nil: // m must not overtake those messages
		s.dropMessage(m, router.QueueFull)
		return
	}
	old := s.next
	replaces := conflate && old != nil && old.Topic == m.Topic
	switch {
	case s.unsent() == 0 && (s.next == nil || replaces):
		s.next = m
	case s.manager.shedding.Load(), s.manager.router.Short(m.Debtor):
		s.dropMessage(m, router.Shed)
		return
	default:
		if err := s.push(m, message.AtMostOnce, conflate, true); err != nil {
			s.dropFor(m, err)
			return
		}
		if replaces {
			s.next = nil
		}
	}
	if replaces {
		s.dropMessage(old, router.Conflated)
	}
	s.wake()
}

// refuse refuses the messages that waited too long, and answers their publishers.
func (s *Session) refuse() {
	s.mu.Lock()
	if s.waiting == nil {
		s.mu.Unlock()
		return
	}
	late := s.waiting.Overdue(time.Now())
	s.forgetWaiting()
	s.drop(router.QueueFull, len(late))
	s.mu.Unlock()
	router.Tell(late, router.ErrTooLate)
}

// admit moves waiting messages into the queue while there is room, up to a bound, and appends their claims to
// admitted. The caller answers the claims without locks. The session is locked.
func (s *Session) admit(admitted []*router.Claim) []*router.Claim {
	return s.admitBy(admitted, s.admitOne)
}

func (s *Session) admitBy(admitted []*router.Claim, take func(router.Held) error) []*router.Claim {
	if s.waiting == nil {
		return admitted
	}
	admitted = s.waiting.Admit(admitted, take)
	s.forgetWaiting()
	return admitted
}

// admitOne moves a message that waited into the queue.
func (s *Session) admitOne(x router.Held) error {
	err := s.push(x.Message, x.QoS, false, true)
	if err != nil && !errors.Is(err, router.ErrFull) {
		s.dropMessage(x.Message, router.Refused)
	}
	return err
}

// tell answers the publishers of admitted messages, once these are safe in the store. The caller holds no lock.
func (m *Manager) tell(admitted []*router.Claim) {
	if !m.durable || len(admitted) == 0 {
		router.Tell(admitted, nil)
		return
	}
	m.store.Commit(func(err error) { router.Tell(admitted, err) })
}

// forgetWaiting removes an empty line.
func (s *Session) forgetWaiting() {
	if s.waiting.Len() == 0 {
		s.waiting = nil
	}
}

// push queues m. If the queue is full, makeRoom drops older messages, those of QoS 1 and 2 only if drop is true; if it has none to drop,
// the error is router.ErrFull.
func (s *Session) push(m *message.Message, q message.QoS, conflate, drop bool) error {
	s.openQueue()
	for {
		err := s.put(m, q, conflate)
		if !errors.Is(err, store.ErrFull) {
			s.reclaimQueue()
			s.unloadLater()
			return err
		}
		if !s.makeRoom(drop) {
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
		s.dropMessage(old, router.Conflated)
	}
	return err
}

// makeRoom drops one message of a full queue and reports whether there was one to drop: the oldest of QoS 0, or else, if drop is true and
// if the device is away or has not acknowledged in time, the oldest of all. For such a device no publisher waits.
func (s *Session) makeRoom(drop bool) bool {
	if m, ok := s.queue.DropOldestQoS0(); ok {
		s.dropMessage(m, router.QueueFull)
		return true
	}
	if !drop || s.link != nil && !s.ackTimedOut() {
		return false
	}
	m, ok := s.queue.DropOldest()
	if !ok {
		return false
	}
	s.missed++
	s.dropMessage(m, router.QueueOverflow)
	return true
}

// dropFor counts a message that push refused with err.
func (s *Session) dropFor(m *message.Message, err error) {
	if errors.Is(err, router.ErrFull) {
		s.dropMessage(m, router.QueueFull)
	} else {
		s.dropMessage(m, router.Refused)
	}
}

// unsent returns the number of queued messages that were not sent on this connection.
func (s *Session) unsent() int {
	if s.queue == nil {
		return 0
	}
	return s.queue.Len() - s.queue.InFlight()
}

// admitAtOnce is about how many waiting messages one turn of the loop admits.
const admitAtOnce = 128

// flushAll sends what there is room for and admits waiting messages into the queue, until nothing moves or many were
// admitted; then it continues in the next turn. It appends the claims of admitted messages to admitted; the caller
// answers them without locks. On the loop, the session is locked.
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

// flush sends what the socket and the window have room for.
func (s *Session) flush(conn Conn, now time.Time) {
	t := s.liveMQTT()
	if s.link.subscribing() || t != nil && !s.sendHeld(t) {
		return
	}
	if m := s.next; m != nil && conn.Room() {
		s.next = nil
		if m.Expired(now) {
			s.dropMessage(m, router.Expired)
		} else {
			s.sendOnce(conn, m)
		}
	}
	if t != nil && s.queue != nil {
		s.release(t, now)
	}
	if s.mayDeliver() {
		for s.queue != nil && s.next == nil && s.inWindow() && conn.Room() && s.sendNext(conn, now) {
		}
	}
	if t != nil {
		s.guard(t)
	}
	s.reclaimQueue()
	s.readAhead()
}

// inWindow reports whether one more message may be in flight. A device that did not acknowledge in time gets one at a
// time. The queue is open.
func (s *Session) inWindow() bool {
	open, window := s.queue.Open(), s.manager.config.InFlight
	if t := s.liveMQTT(); t != nil {
		window = int(t.window)
	}
	if open == 0 {
		return window > 0
	}
	return open < window && !s.ackTimedOut()
}

// sendNext sends the next message of the queue, and reports whether it did.
func (s *Session) sendNext(conn Conn, now time.Time) bool {
	if t := s.liveMQTT(); t != nil {
		return s.sendPacket(t, now)
	}
	m, q, ok := s.queue.Next(now)
	if !ok {
		return false
	}
	if q == message.AtMostOnce {
		return s.sendOnce(conn, m)
	}
	if !conn.Send(m, message.AtLeastOnce) {
		s.queue.Ack(m.ID)
		return s.dropUnsent(m)
	}
	s.countDownlink(m, q)
	if !conn.Acks() && s.queue.Ack(m.ID) {
		s.observeAcknowledged(m.ID)
		s.down().Delivered++
	}
	return true
}

// sendOnce sends a QoS 0 message, and reports whether it did.
func (s *Session) sendOnce(conn Conn, m *message.Message) (sent bool) {
	if !conn.Send(m, message.AtMostOnce) {
		return s.dropUnsent(m)
	}
	s.countDownlink(m, message.AtMostOnce)
	s.down().Delivered++
	return true
}

// dropUnsent drops a message that the device cannot take, which has left the queue. It returns false: the next turn
// sends what follows, because a queue may be full of such messages, and none of them fills the socket or the window.
func (s *Session) dropUnsent(m *message.Message) (sent bool) {
	s.dropMessage(m, router.Refused)
	s.wake()
	return false
}

// countDownlink counts a message that was sent to the device, and tells the observer.
func (s *Session) countDownlink(m *message.Message, q message.QoS) {
	d := s.down()
	d.messages++
	d.bytes += uint64(len(m.Payload))
	s.observeSent(m, q)
}

// openQueue opens the queue of the device in the store.
func (s *Session) openQueue() {
	if s.queue == nil {
		s.queue = s.manager.store.Queue(s.device)
	}
}

// reclaimQueue counts the messages that expired in the queue, and closes an empty queue: at once if the device is
// away, else after reclaimAfter.
func (s *Session) reclaimQueue() {
	if s.queue == nil {
		return
	}
	s.drop(router.Expired, s.queue.TakeExpired())
	switch {
	case !s.queue.Empty():
	case s.link == nil:
		s.closeQueue()
	case !s.inEmptyQueues:
		s.inEmptyQueues = true
		s.manager.emptyQueues.add(s)
	}
}

func (s *Session) closeQueue() {
	s.drop(router.Expired, s.queue.TakeExpired())
	s.queue.Close()
	s.queue = nil
}
