package session

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// ErrTooManySessions refuses a device because the node has Config.MaxSessions sessions.
var ErrTooManySessions = errors.New("the node has as many sessions as sessions.max_sessions allows")

// Manager holds the sessions of a node. Its methods are safe from any goroutine.
type Manager struct {
	// Static after construction.
	config                               Config
	router                               *router.Router
	store                                store.Store
	opener                               opener
	durable                              bool // the store outlives the process
	gate                                 Gate
	tooManyFilters, tooManySubscriptions wire.Error

	// Safe from any goroutine.
	shedding  atomic.Bool    // see Shed
	draining  atomic.Bool    // see Drain
	admitting sync.WaitGroup // see departure
	callStats CallStats

	// Guarded by mu, which is taken before the locks of a session, never after.
	mu       sync.Mutex
	sessions *btree.BTreeG[*Session] // by device; ordered, for pages of a listing
	pivot    Session                 // the key of a search
	online   int
	attempts attempts

	presence     announcer
	expirer      expirer
	emptyQueues  emptyQueues
	unloads      timedSessions // those that may have messages in memory that they need not have
	reads        reads
	ackTimeouts  ackTimeouts
	owners       owners
	redeliveries backlog[redelivery]
	searches     searches
	taken        takenCalls
	ended        endedLedgers
	shadows      shadows
	moves        moves
	walk         *walk // nil while there is none
}

// Config returns the configuration, with the defaults.
func (m *Manager) Config() Config { return m.config }

// StoreErr returns why the store cannot make anything safe at the moment, or nil if it can.
func (m *Manager) StoreErr() error { return m.store.Err() }

// Options are what a device asks of its session when it connects, and what the gateway knows of the device. The zero
// value stands for a device that resumes its session, with every permission.
type Options struct {
	Clean       bool           // forget the existing session
	Expiry      *time.Duration // how long the session outlives the connection; nil means the default
	Permissions Permissions    // what the device may do; nil allows all
	Will        *store.Will    // the message to publish if the connection ends without a DISCONNECT; nil means none
	Admit       func() error   // the loop calls it right before it attaches the session, perhaps long after Attach; an error refuses; nil admits

	// For an Exchanger.
	ReceiveMaximum uint16 // QoS 1 and 2 messages that the device accepts in flight; 0 means that it sets no limit
	NoRefusals     bool   // the protocol cannot tell the device a refusal or our Receive Maximum: MQTT 3.1.1
}

// Attached is what Attach found for the device.
type Attached struct {
	Resumed bool   // the session existed before
	Missed  uint64 // messages that the queue dropped for its bounds since the device left
}

// Attach makes l the live connection of the device and sends to it by conn. The newest connection wins: Attach closes
// an older one, whose link changes nothing any more.
//
// The caller is on conn's loop. done runs there as well: before Attach returns, or later if the device has to be claimed, or the store has
// to read messages for it first. If the connection ends meanwhile, it is not attached and done does not run. The caller greets
// the device and then calls l.Flush. Attach keeps the string device.
//
// If the will's topic is not valid, the error wraps *topic.Error. If the device may not publish the will, the error is
// ErrWillNotAllowed. If its credential has too many sessions or too large wills, it is ErrCredentialFull; for a
// prefix, PrefixSessionsFull or PrefixWillsFull. If the messages cannot be read, it is ErrNotOpened; if the cluster does not give the device
// to this node, ErrNotClaimed; if a newer connection came meanwhile, also at another node, ErrTakenOver. Attach returns the errors of Gate and Admit unchanged.
func (m *Manager) Attach(device string, l *Link, conn Conn, o Options, done func(Attached, error)) {
	a := arrival{device: device, link: l, conn: conn, options: &o}
	if m.config.Owners != nil {
		m.claim(a, done)
		return
	}
	m.attachWith(a, done)
}

// attach is Attach with what was read for the device. If more has to be read first, it returns that, and changes nothing else but a.turn.
func (m *Manager) attach(a *arrival) (found Attached, missing *store.Page, err error) {
	o := a.options
	if o.Admit != nil {
		if err := o.Admit(); err != nil {
			return found, nil, err
		}
	}
	will, err := m.checkWill(a.device, o)
	if err != nil {
		return found, nil, err
	}
	m.mu.Lock()
	found, missing, err = m.attachInTurn(a, will)
	m.mu.Unlock()
	m.runBacklogs()
	return found, missing, err
}

// attachInTurn is attach while the manager is locked.
func (m *Manager) attachInTurn(a *arrival, will *store.Will) (found Attached, missing *store.Page, err error) {
	if !m.attempts.inTurn(a) || m.attempts.isLost(a) {
		return found, nil, ErrTakenOver
	}
	if missing = m.missing(a.device, a.options, a.read); missing != nil {
		m.attempts.begin(a.device)
		return found, missing, nil
	}
	s, resumed, err := m.findOrCreate(a)
	if err != nil {
		return found, nil, err
	}
	m.attempts.attach(a)
	return Attached{resumed, s.attach(a.link, a.conn, a.options, will)}, nil, nil
}

// runBacklogs redelivers messages and publishes presence events that a change of sessions has queued. The caller holds
// no lock.
func (m *Manager) runBacklogs() {
	m.redeliveries.run()
	m.presence.run()
}

// attach makes l the live connection and returns how many messages were missed. The caller has locked the manager.
func (s *Session) attach(l *Link, conn Conn, o *Options, will *store.Will) (missed uint64) {
	s.lock()
	defer s.unlock()
	s.closeOlder()
	s.owner = s.manager.owners.join(s.owner, credentialOf(o.Permissions), s.willBytes())
	s.manager.expirer.cancel(s)
	l.session, l.conn, l.permissions = s, conn, o.Permissions
	s.link, s.woken = l, toSendCommands
	s.changed = time.Now().UnixMilli()
	before := s.expiry
	s.expiry = s.manager.expirySeconds(o.Expiry)
	s.attachMQTT(conn, o, will)
	s.permit(o.Permissions)
	missed, s.missed = uint64(s.missed), 0
	s.saveAfter(before)
	s.manager.online++
	if s.isArriving() {
		s.claim.arriving = false
	} else {
		s.manager.presence.addPresence(s, true, "")
	}
	return missed
}

// findOrCreate returns the session of the device and whether it existed before. It makes a new one if there is none,
// or if the device wants a clean one. The manager is locked.
func (m *Manager) findOrCreate(a *arrival) (s *Session, resumed bool, err error) {
	device, o := a.device, a.options
	s = m.find(device)
	if err := m.checkOwner(device, s, o); err != nil {
		return nil, false, err
	}
	if err := m.acquireGate(device); err != nil {
		return nil, false, err
	}
	claim := m.newClaimed(a)
	if s != nil && (o.Clean || s.ephemeral()) {
		if s.isArriving() {
			claim.arriving = true
		}
		m.discard(s)
		s = nil
	}
	if s != nil {
		return s, true, nil
	}
	if s, err = m.create(device, claim); err != nil {
		m.gate.ReleaseDevice(device)
	}
	return s, false, err
}

// checkOwner refuses a connection whose credential or prefix would pass its bounds. s is the session of the device,
// nil if there is none. The manager is locked.
func (m *Manager) checkOwner(device string, s *Session, o *Options) error {
	d := demand{device: device, credential: credentialOf(o.Permissions), sessions: 1}
	if o.Will != nil {
		d.will = o.Will.Message.Size()
	}
	if s != nil {
		s.mu.Lock()
		d.sessions, d.owner, d.had = 0, s.owner, s.willBytes()
		s.mu.Unlock()
	}
	return m.owners.admits(&m.config, &d)
}

// create makes a session. The manager is locked.
func (m *Manager) create(device string, c *claimed) (*Session, error) {
	if m.sessions.Len() >= m.config.MaxSessions {
		return nil, ErrTooManySessions
	}
	s := &Session{manager: m, device: device, id: rand.Uint64(), created: seconds(time.Now()), claim: c}
	m.add(s)
	return s, nil
}

// add puts a session into the registry. The manager is locked.
func (m *Manager) add(s *Session) {
	m.sessions.Set(s)
	m.leaveBehind(s.device)
	m.owners.count(s, 1, 0) // in its prefix: it has no owner yet
}

// expirySeconds returns the expiry that a session gets if the device asks for asked: whole seconds, rounded up.
func (m *Manager) expirySeconds(asked *time.Duration) uint32 {
	d := m.config.Expiry
	if asked != nil {
		d = max(0, *asked)
	}
	return uint32((min(d, m.config.MaxExpiry) + time.Second - 1) / time.Second)
}

// closeOlder closes the existing connection, because a newer one takes over. The session and the manager are locked.
func (s *Session) closeOlder() {
	if s.link != nil {
		s.link.conn.Close(wire.CloseTakenOver)
		s.endConnection(wire.CloseTakenOver.Label)
	}
}

// Detach notes that the connection of l has ended, and why. If a newer connection is attached, nothing changes. The
// caller is on the connection's loop.
func (m *Manager) Detach(l *Link, why string) {
	l.answers = nil
	m.reads.end(l)
	if l.session == nil {
		return
	}
	l.cancelServiceCalls()
	shares := l.session.sharesElsewhere()
	m.detach(l, why)
	m.runBacklogs()
	l.session.depart(shares)
}

// detach does for the session what Detach says.
func (m *Manager) detach(l *Link, why string) {
	s := l.session
	m.mu.Lock()
	defer m.mu.Unlock()
	s.lock()
	defer s.unlock()
	if s.link != l {
		return
	}
	if s.claim != nil && why == wire.CloseMoved.Label {
		s.goesElsewhere()
	} else {
		s.endConnection(why)
	}
	m.gate.ReleaseDevice(s.device)
	if s.expiry == 0 && s.sharedPage() == nil && !s.isArriving() {
		m.endHere(s)
		return
	}
	s.save()
	m.expirer.set(s, s.due())
}

// endConnection is forgetConnection for a device that has left: nothing follows at once.
func (s *Session) endConnection(why string) {
	s.forgetConnection()
	s.manager.presence.addPresence(s, false, why)
	if s.willDue() <= s.changed {
		s.announceWill()
	}
	s.detachMQTT()
}

// forgetConnection forgets the live connection: its calls fail, its QoS 0 messages are dropped, and the messages in
// flight become unsent again. The caller then calls detachMQTT. The session and the manager are locked.
func (s *Session) forgetConnection() {
	s.link = nil
	s.manager.online--
	s.changed = time.Now().UnixMilli()
	s.loseCalls()
	s.cutCommands()
	if m := s.next; m != nil {
		s.next = nil
		s.dropMessage(m, router.Offline)
	}
	if s.queue != nil {
		s.queue.Rewind()
		s.drop(router.Offline, s.queue.ShedQoS0())
		s.reclaimQueue()
		s.unloadLater()
	}
}

// expires returns when the session ends if its device stays away, in Unix milliseconds.
func (s *Session) expires() int64 { return s.changed + int64(s.expiry)*1000 }

// due returns when the session ends or its will is published, whichever is first, if its device stays away, in Unix
// milliseconds. If the device moves between nodes, it is when the device has left.
func (s *Session) due() int64 {
	if s.isArriving() {
		return s.claim.moved + arrivalTime.Milliseconds()
	}
	return min(s.expires(), s.willDue())
}

// expire ends s if its device is still away and the session has expired, or publishes its will if that is due.
func (m *Manager) expire(s *Session) {
	m.mu.Lock()
	s.mu.Lock()
	now := time.Now().UnixMilli()
	switch {
	case s.ended || s.link != nil || s.due() > now:
	case s.isArriving():
		s.leaves()
		s.save()
		m.expirer.set(s, s.due())
	case s.expires() <= now:
		m.endExpired(s, false)
	default:
		s.announceWill()
		s.detachMQTT()
		s.save()
		m.expirer.set(s, s.due())
	}
	s.mu.Unlock()
	m.mu.Unlock()
	m.runBacklogs()
}

// endExpired ends a session that has expired, once the messages of shares are read that others get, unless that fails. The session and
// the manager are locked.
func (m *Manager) endExpired(s *Session, failed bool) {
	if s.expires() > time.Now().UnixMilli() { // the device was here meanwhile
		return
	}
	if p := s.sharedPage(); p != nil && !failed {
		m.readShared(s, p, func(failed bool) { m.endExpired(s, failed) })
		return
	}
	m.endHere(s)
}

// endHere ends a session that no other follows, and tells the cluster. The session and the manager are locked.
func (m *Manager) endHere(s *Session) {
	m.end(s)
	switch x := m.attempts.byDevice[s.device]; {
	case s.claim == nil:
	case x != nil: // the last attempt tells it, if it leaves no session
		x.epoch = max(x.epoch, s.claim.epoch)
	default:
		m.config.Owners.Ended(s.device, s.claim.epoch)
	}
}

// discard ends the session of a device that gets a new one. The manager is locked.
func (m *Manager) discard(s *Session) {
	s.lock()
	defer s.unlock()
	s.closeOlder()
	m.end(s)
}

// end forgets a session without a link. Publishers whose messages wait for room get a success, as if the session had
// ended before they published. The session and the manager are locked.
func (m *Manager) end(s *Session) {
	s.ended = true
	m.ackTimeouts.clear(s)
	defer func() { m.owners.count(s, -1, 0) }()
	s.announceWill() // [MQTT-3.1.2-8]: the session's end does not wait for the delay
	m.expirer.cancel(s)
	m.sessions.Delete(s)
	s.unsubscribeAll()
	s.manager.searches.end(s)
	if s.mqtt != nil {
		s.forgetReceived()
	}
	m.taken.forget(s)
	s.redeliverAll()
	if s.queue != nil {
		s.drop(router.SessionEnded, s.queue.Len())
		s.closeQueue()
	}
	m.store.Drop(s.device)
	m.endLedger(s)
}

// unsubscribeAll ends the subscriptions of a session that ends. The session is locked.
func (s *Session) unsubscribeAll() {
	for _, sub := range s.subscriptions {
		s.manager.router.Unsubscribe(sub.Filter, s)
	}
	s.subscriptions = nil
}

// Disconnect closes the connection of the device, and reports whether there was one.
func (m *Manager) Disconnect(device string, why *wire.Close) bool {
	s := m.session(device)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil {
		return false
	}
	s.link.conn.Close(why)
	return true
}

// session returns the session of the device, or nil.
func (m *Manager) session(device string) *Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(device)
}

func (m *Manager) find(device string) *Session {
	m.pivot.device = device
	s, _ := m.sessions.Get(&m.pivot)
	return s
}

// HasMessages reports whether the session of the device has messages for it. If so, the node frees memory when the
// device comes and takes them.
func (m *Manager) HasMessages(device string) bool {
	s := m.session(device)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting != nil || s.queue != nil && s.queue.Len() > 0
}
