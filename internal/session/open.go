package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/btree"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// This file has all calls of store methods that may block. They run at start and on workers.

// ErrNotOpened refuses a device because the store cannot read the messages for it.
var ErrNotOpened = errors.New("the queue of the device cannot be read")

var errManyRead = errors.New("too many devices wait for their queues")

// readAtOnce is how many workers read messages.
const readAtOnce = 16

// opener reads pages of queues.
type opener struct {
	store   store.Opener
	workers *reactor.Workers
}

// newOpener allows one waiting device per session, and then some: those that are about to end.
func newOpener(o store.Opener, sessions int) opener {
	return opener{o, reactor.NewWorkers(readAtOnce, 2*sessions)}
}

// read makes a worker read a page and then call done, without locks. If too many devices wait, read calls done at once.
func (o *opener) read(p *store.Page, done func(error)) {
	if !o.workers.Do(func() { done(o.store.Read(p)) }) {
		done(errManyRead)
	}
}

// arrival is a connection that is about to be attached.
type arrival struct {
	device  string
	link    *Link
	conn    Conn
	options *Options
	read    *store.Page // was read for the device; nil for none
	epoch   uint64      // of the claim; 0 without a cluster
	turn    uint64      // the place of the connection in the order of the calls of Attach; 0 at the first call of attach
}

// attachWith is Attach. While there is more to be read for the device first, it goes on by a post on the connection's loop.
//
// Two connections of a device may wait here, for two workers and two loops. The order of the calls of Attach counts, not that in which they
// go on.
func (m *Manager) attachWith(a arrival, done func(Attached, error)) {
	found, missing, err := m.attach(&a)
	if missing == nil {
		done(found, err)
		return
	}
	m.opener.read(missing, func(err error) {
		m.resume(&a, func() {
			if err != nil {
				done(Attached{}, fmt.Errorf("%w: %w", ErrNotOpened, err))
				return
			}
			a.read = missing
			m.attachWith(a, done)
		})
	})
}

// readAhead makes a worker read the next page of the queue, if the messages in memory run out. On the loop, the session is
// locked.
func (s *Session) readAhead() {
	m, l := s.manager, s.link
	if s.queue == nil || !m.durable || s.queue.InMemory() == s.queue.Len() || m.reads.has(l) {
		return
	}
	p := s.queue.NextPage(readAheadAt)
	if p == nil {
		return
	}
	m.reads.begin(l)
	l.read(p, l.goOn)
}

// read makes a worker read a page, which was counted, and the loop call then with it. On the loop, the session is locked.
func (l *Link) read(p *store.Page, then func(*store.Page, error)) {
	m := l.session.manager
	m.opener.read(p, func(err error) {
		if !l.conn.Do(func() { then(p, err) }) {
			m.reads.end(l)
		}
	})
}

// resume ends the count of a page that was read. If the connection is still that of the session, it calls take with the session locked, and
// answers the publishers of the messages that were admitted by it.
func (l *Link) resume(take func(s *Session) (admitted []*router.Claim)) {
	s := l.session
	var admitted []*router.Claim
	s.manager.reads.end(l)
	s.mu.Lock()
	if s.link == l {
		admitted = take(s)
	}
	s.mu.Unlock()
	s.manager.tell(admitted)
}

// readRetained makes a worker read a page for the first search of the session, or puts the connection into the line of those that wait for
// others. On the loop, the session is locked.
func (s *Session) readRetained(p *store.Page) {
	m, l := s.manager, s.link
	if m.reads.has(l) || !m.reads.beginRetained(l, p.Bytes()) {
		return // and the search goes on behind that
	}
	l.read(p, l.searchOn)
}

// searchOn sends retained messages that were read, and continues the search.
func (l *Link) searchOn(p *store.Page, err error) {
	l.resume(func(s *Session) (admitted []*router.Claim) {
		if errors.Is(err, errManyRead) {
			s.manager.reads.wait(l)
			return nil
		}
		if err != nil {
			p.FailAll(err)
		}
		s.takeRead(p)
		admitted = s.flushAll(l.conn, nil)
		s.wake()
		return admitted
	})
}

// goOn sends what was read. A queue that cannot be read closes the connection: the device is refused when it connects again, until it
// can be.
func (l *Link) goOn(p *store.Page, err error) {
	l.resume(func(s *Session) (admitted []*router.Claim) {
		if err != nil {
			l.conn.Close(wire.CloseInternal.Because(ErrNotOpened.Error()))
			return nil
		}
		s.load(p)
		admitted = s.flushAll(l.conn, nil)
		s.wakeToSearch()
		return admitted
	})
}

// readShared makes a worker read messages of shares, and then calls f, unless the device is back or its session has ended. f runs with
// the manager and the session locked. failed says that they cannot be read.
func (m *Manager) readShared(s *Session, p *store.Page, f func(failed bool)) {
	m.opener.read(p, func(err error) {
		m.mu.Lock()
		s.mu.Lock()
		if s.link == nil && !s.ended {
			if err == nil {
				s.load(p)
			}
			f(err != nil)
			s.unloadLater()
		}
		s.mu.Unlock()
		m.mu.Unlock()
		m.runBacklogs()
	})
}

// ErrTakenOver refuses a connection because a newer one of the device came while messages were read.
var ErrTakenOver = errors.New("the device has a newer connection")

// attempts are the devices of which connections wait until the device is claimed, and messages are read. Guarded by Manager.mu.
type attempts struct {
	turn     uint64 // the last that was given
	byDevice map[string]*attempt
}

type attempt struct {
	waiting  int    // connections
	attached uint64 // the turn of the newest that was attached since the first one waits

	// In a cluster.
	claiming bool                 // a claim is under way
	claims   []func(Claim, error) // that follow, each for one of those that wait
	parked   []parcel             // messages that wait until the claim is answered
	epoch    uint64               // of the last claim
	lost     Move                 // the newest to another node since the first one waits
	online   bool                 // the device was on line at the node before, where its session ended with its connection
}

// begin notes that one more connection waits.
func (a *attempts) begin(device string) {
	if a.byDevice == nil {
		a.byDevice = make(map[string]*attempt)
	}
	if a.byDevice[device] == nil {
		a.byDevice[device] = new(attempt)
	}
	a.byDevice[device].waiting++
}

// end undoes begin. It returns the attempt if nobody waits any more, otherwise nil.
func (a *attempts) end(device string) *attempt {
	x := a.byDevice[device]
	if x.waiting--; x.waiting > 0 {
		return nil
	}
	delete(a.byDevice, device)
	return x
}

// beginClaim is begin for a connection that waits for a claim of its own, and reports whether no other claim of the device is under way. If one
// is, endClaim returns step later.
func (a *attempts) beginClaim(device string, step func(Claim, error)) (first bool) {
	a.begin(device)
	x := a.byDevice[device]
	if x.claiming {
		x.claims = append(x.claims, step)
		return false
	}
	x.claiming = true
	return true
}

// endClaim notes that a claim has been answered, and returns the next one, which is under way from now on; nil if there is none.
func (a *attempts) endClaim(device string) (next func(Claim, error)) {
	x := a.byDevice[device]
	if len(x.claims) == 0 {
		x.claiming = false
		return nil
	}
	next, x.claims = x.claims[0], x.claims[1:]
	return next
}

// lose notes that another node has the device.
func (a *attempts) lose(device string, to Move) {
	if x := a.byDevice[device]; x != nil && x.lost.Epoch < to.Epoch {
		x.lost = to
	}
}

// isLost reports whether another node has claimed the device after this one had claimed it for x.
func (a *attempts) isLost(x *arrival) bool {
	waits := a.byDevice[x.device]
	return waits != nil && x.epoch != 0 && waits.lost.Epoch > x.epoch
}

// inTurn reports whether no newer connection was attached while this one waited. It gives a its turn, if that has none.
func (a *attempts) inTurn(x *arrival) bool {
	if x.turn == 0 {
		a.turn++
		x.turn = a.turn
	}
	waits := a.byDevice[x.device]
	return waits == nil || x.turn > waits.attached
}

// attach notes that a connection is attached.
func (a *attempts) attach(x *arrival) {
	if waits := a.byDevice[x.device]; waits != nil {
		waits.attached = max(waits.attached, x.turn)
	}
}

// NewManager makes a manager with the sessions of which the store has records. o is the blocking side of s.
func NewManager(config Config, r *router.Router, s store.Store, o store.Opener) (*Manager, error) {
	m := &Manager{config: config.WithDefaults(), router: r, store: s, durable: s.Durable(), gate: openGate{}}
	m.opener = newOpener(o, m.config.MaxSessions)
	m.tooManyFilters = wire.Error{Code: CodeTooManyFilters, Reason: fmt.Sprintf("a packet may have %d filters", m.config.MaxFilters)}
	m.tooManySubscriptions = wire.Error{Code: CodeTooManySubscriptions, Reason: fmt.Sprintf("a device may have %d subscriptions", m.config.MaxSubscriptions)}
	byDevice := func(a, b *Session) bool { return a.device < b.device }
	m.sessions = btree.NewBTreeGOptions(byDevice, btree.Options{NoLocks: true})
	m.presence.publish, m.presence.forget = m.publish, m.forgetOrphan
	m.presence.do, m.redeliveries.do = m.presence.announce, m.redeliver
	m.presence.willDue, m.presence.waits = r.WillDue, m.willWaits
	m.presence.waiting.most, m.presence.waiting.again = m.config.MaxSessions, m.presence.announceAgain
	m.presence.wanted, m.presence.account = r.Wanted, r.Account()
	m.shadows.end = m.endShadow
	m.expirer.end, m.emptyQueues.reclaim = m.expire, m.reclaim
	m.unloads.look, m.unloads.every = m.unload, unloadEvery
	m.reads.account = r.Account()
	m.ackTimeouts.look, m.ackTimeouts.every = m.checkAckTimeouts, max(m.config.AckTimeout/8, time.Millisecond)
	var err error
	if m.owners.prefixes, err = newPrefixes(&m.config); err == nil {
		err = m.restoreAll()
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	m.expirer.start()
	m.runBacklogs()
	return m, nil
}

// restoreAll makes the sessions of which the store has records, and queues the orphans: what was between two receivers when the
// process ended. Meanwhile messages may arrive. Sessions expire, wills and orphans are published when all sessions are there,
// because they may be receivers.
func (m *Manager) restoreAll() error {
	orphans, err := m.opener.store.TakeValues(store.SpaceOrphan)
	if err != nil {
		return err
	}
	err = m.opener.store.Records(func(r *store.Record) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.restore(r, orphans, m.noClaim())
		return true
	})
	if err != nil {
		return err
	}
	return m.adopt(orphans)
}

// Close stops the timers, and waits until queued messages and presence events are delivered and published.
func (m *Manager) Close() {
	defer m.opener.workers.Close()
	defer m.presence.wait()
	defer m.redeliveries.wait()
	defer m.admitting.Wait()
	m.expirer.stop()
	m.emptyQueues.stop()
	m.unloads.stop()
	m.presence.waiting.stop()
	m.reads.stop()
	m.ackTimeouts.stop()
	m.shadows.stop()
}
