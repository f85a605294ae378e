package session

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
)

// The ledger of a device is counted where its messages come and go, under the lock that guards them: so a reader who holds both
// locks of the session sees each message once. A device without traffic has no counters.

// toDevice counts the messages for a device. Guarded by Session.mu.
type toDevice struct {
	ledger.Receiver        // without Waiting
	messages        uint64 // sent, repetitions included
	bytes           uint64 // of their payloads
}

// fromDevice counts what a device publishes.
type fromDevice struct {
	// Guarded by Session.uplink.
	ledger.Publisher        // without Waiting and Acknowledged; without those that were answered later
	later            uint64 // some receiver answers later
	bytes            uint64 // of payloads

	// Guarded by Session.mu.
	answered     uint64        // of later: all receivers have answered
	lateRefusals ledger.Counts // of answered

	// Safe from any goroutine.
	acknowledged atomic.Uint64
}

// down returns the counters of the messages for the device. The session is locked.
func (s *Session) down() *toDevice {
	if s.toDevice == nil {
		s.toDevice = new(toDevice)
	}
	return s.toDevice
}

// up returns the counters of what the device publishes. The caller holds uplink.
func (s *Session) up() *fromDevice {
	if s.fromDevice == nil {
		s.fromDevice = new(fromDevice)
	}
	return s.fromDevice
}

// drop counts n messages for the device that are not delivered. The session is locked.
func (s *Session) drop(why router.Drop, n int) {
	s.countDropped(why, n)
	s.manager.router.Drop(nil, s.device, why, n)
}

// dropMessage is drop for one message, which the observer sees.
func (s *Session) dropMessage(m *message.Message, why router.Drop) {
	s.countDropped(why, 1)
	s.manager.router.Drop(m, s.device, why, 1)
}

func (s *Session) countDropped(why router.Drop, n int) {
	switch {
	case n == 0:
	case why == router.Expired:
		s.down().Expired += uint64(n)
	case why == router.Lost:
		s.down().Lost.Add("store", n)
	default:
		s.down().Dropped.Add(why.String(), n)
	}
}

// countTaken counts a message that was given to the session, which took it unless err says why not. The session is locked.
func (s *Session) countTaken(m *message.Message, p *router.Publication, err error) {
	switch d := s.down(); {
	case err == nil && p.Redelivered():
		d.MovedIn++
	case err == nil:
		d.Taken++
	case router.ShareOf(m) == "": // otherwise another member may take it
		d.Taken++
		d.Dropped.Add(router.RefusedFor(err).String(), 1)
	}
}

// giveBack counts n messages that go back to their shares. The session is locked.
func (s *Session) giveBack(n int) {
	if n > 0 {
		s.down().MovedOut += uint64(n)
		s.manager.router.GivesBack(n)
	}
}

// count counts a publication that was routed, and what became of it so far. The caller holds uplink.
func (u *fromDevice) count(m *message.Message, err error) {
	u.Published++
	u.bytes += uint64(len(m.Payload))
	switch {
	case err == nil:
		u.Taken++
	case errors.Is(err, errRepeated), errors.Is(err, errAwaited), errors.Is(err, errAnswered):
		u.Repeated++
	case errors.Is(err, errAnswerLater):
		u.later++
	default:
		u.Refused.Add(refusalLabel(err), 1)
	}
}

// refusalLabel returns the reason for which a publication was refused.
func refusalLabel(err error) string {
	switch {
	case errors.Is(err, errReserved), errors.Is(err, errNotAllowed):
		return router.NotAllowed.String()
	case errors.Is(err, wire.CloseReceiveMax):
		return wire.CloseReceiveMax.Label
	}
	return router.ReasonOf(err).String()
}

// countRefused counts a publication that was not routed. One of an older connection is not counted, like those that are.
func (l *Link) countRefused(m *message.Message, why router.Drop) {
	s := l.session
	s.manager.router.Drop(m, s.device, why, 1)
	s.uplink.Lock()
	defer s.uplink.Unlock()
	if s.link != l {
		return
	}
	u := s.up()
	u.Published++
	if m != nil {
		u.bytes += uint64(len(m.Payload))
	}
	u.Refused.Add(why.String(), 1)
}

// countAnswer counts the answer to a publication that some receiver has answered later. The session is locked.
func (s *Session) countAnswer(err error) {
	if s.ended {
		s.manager.ended.answer(err)
		return
	}
	f := s.fromDevice // it is there since the publication was routed
	f.answered++
	if err != nil {
		f.lateRefusals.Add(refusalLabel(err), 1)
	}
}

// answeredLater is countAnswer for a session that is not locked.
func (s *Session) answeredLater(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countAnswer(err)
}

// ledger returns the accounts of the device. The session is locked; uplink as well, unless the session has no link.
func (s *Session) ledger() (r ledger.Receiver, p ledger.Publisher) {
	s.addLedger(&r, &p)
	return r, p
}

// addLedger adds the accounts of the device to r and p. The session is locked as for ledger.
func (s *Session) addLedger(r *ledger.Receiver, p *ledger.Publisher) {
	if s.queue != nil {
		s.drop(router.Expired, s.queue.TakeExpired())
		r.Waiting += uint64(s.queue.Len())
	}
	if s.next != nil {
		r.Waiting++
	}
	if s.waiting != nil {
		r.Waiting += uint64(s.waiting.Len())
	}
	if s.mqtt != nil {
		r.Waiting += uint64(s.mqtt.held.once())
	}
	if s.toDevice != nil {
		r.Add(&s.toDevice.Receiver)
	}
	if f := s.fromDevice; f != nil {
		p.Add(&f.Publisher)
		p.Add(&ledger.Publisher{
			Taken:        f.answered - f.lateRefusals.Sum(),
			Waiting:      f.later - f.answered,
			Refused:      f.lateRefusals,
			Acknowledged: f.acknowledged.Load(),
		})
	}
}

// endedLedgers are the accounts of sessions that have ended, as one.
type endedLedgers struct {
	// Guarded by mu, which is taken after a session's lock, and under which nothing else is locked.
	mu        sync.Mutex
	receiver  ledger.Receiver
	publisher ledger.Publisher
}

func (e *endedLedgers) add(r *ledger.Receiver, p *ledger.Publisher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.receiver.Add(r)
	e.publisher.Add(p)
}

// answer is countAnswer for a session that has ended.
func (e *endedLedgers) answer(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.publisher.Waiting--
	if err == nil {
		e.publisher.Taken++
	} else {
		e.publisher.Refused.Add(refusalLabel(err), 1)
	}
}

// walk sums the accounts of all sessions, page by page. A session that ends meanwhile tells its last account to the walk if
// that has not come to it yet. So each session that is there at the begin is in the sum once.
type walk struct {
	// Guarded by Manager.mu.
	after string // the device of the last session that the walk has seen
	ends  endedLedgers
}

// endLedger gives the last account of a session to those that have ended. The session keeps it, for a walk that is about to
// ask for it. The session and the manager are locked.
func (m *Manager) endLedger(s *Session) {
	r, p := s.ledger()
	m.ended.add(&r, &p)
	if w := m.walk; w != nil && s.device > w.after {
		w.ends.add(&r, &p)
	}
}

// AddLedger adds the accounts of the devices, and of the sessions that have ended, to a node's ledger. It locks a few
// sessions at a time. Two calls must not overlap; not on a loop.
func (m *Manager) AddLedger(ctx context.Context, n *ledger.Node) error {
	w := m.beginWalk()
	defer m.endWalk()
	var r ledger.Receiver
	var p ledger.Publisher
	for page := m.nextPage(w); len(page) > 0; page = m.nextPage(w) {
		for _, s := range page {
			s.lock()
			s.addLedger(&r, &p)
			s.unlock()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		runtime.Gosched()
	}
	m.endWalk() // from now on no session that ends tells the walk
	n.AddReceiver("devices", &r)
	n.AddPublisher("devices", &p)
	n.AddReceiver("ended_sessions", &w.ends.receiver)
	n.AddPublisher("ended_sessions", &w.ends.publisher)
	return nil
}

// beginWalk begins a walk with the sessions that have ended before.
func (m *Manager) beginWalk() *walk {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := new(walk)
	m.ended.mu.Lock()
	defer m.ended.mu.Unlock()
	w.ends.receiver.Add(&m.ended.receiver)
	w.ends.publisher.Add(&m.ended.publisher)
	m.walk = w
	return w
}

func (m *Manager) endWalk() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.walk = nil
}

// nextPage returns the next sessions of a walk.
func (m *Manager) nextPage(w *walk) []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	page := m.lockedPage("", w.after)
	if len(page) > 0 {
		w.after = page[len(page)-1].device
	}
	return page
}

// Ledger returns the accounts of a device's session, or devices.ErrUnknown.
func (l *Local) Ledger(_ context.Context, device string) (devices.Ledger, error) {
	s := l.manager.session(device)
	if s == nil {
		return devices.Ledger{}, devices.ErrUnknown
	}
	line, ok := s.line()
	if !ok {
		return devices.Ledger{}, devices.ErrUnknown
	}
	return line, nil
}

// line returns the accounts of a session; ok is false if it has ended.
func (s *Session) line() (line devices.Ledger, ok bool) {
	s.lock()
	defer s.unlock()
	line = devices.Ledger{Device: s.device, Session: s.ID(), Online: s.link != nil}
	line.Receiver, line.Publisher = s.ledger()
	return line, !s.ended
}

// ledgerLooks is about how many sessions one call of Ledgers looks at.
const ledgerLooks = 20_000

// Ledgers returns the accounts of the devices of a page, and the device after which the next page begins; empty if there is none.
// If few sessions do not balance and the page asks for those, it ends early.
func (l *Local) Ledgers(ctx context.Context, p devices.LedgerPage) (list []devices.Ledger, next string, err error) {
	for looks := 0; looks < ledgerLooks; {
		page := l.manager.page(p.Prefix, p.After)
		if len(page) == 0 {
			return list, "", nil
		}
		for _, s := range page {
			looks++
			p.After = s.device
			line, ok := s.line()
			if !ok || p.Unbalanced && line.Balances() {
				continue
			}
			if list = append(list, line); len(list) == p.Limit {
				return list, p.After, nil
			}
		}
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
	}
	return list, p.After, nil
}
