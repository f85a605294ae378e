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

// ErrTooManySessions refuses a device when the node holds Config.MaxSessions.
var ErrTooManySessions = errors.New("the node holds as many sessions as it may")

// Manager holds the sessions of a node. Its methods are safe from any goroutine.
type Manager struct {
	// Static after construction.
	config                               Config
	router                               *router.Router
	store                                store.Store
	opener                               opener
	durable                              bool // what the store is told outlives the process
	gate                                 Gate
	tooManyFilters, tooManySubscriptions wire.Error

	// Safe from any goroutine.
	shedding  atomic.Bool    // see Shed
	admitting sync.WaitGroup // see admitAway

	// Guarded by mu, which is taken before a session's locks, never after.
	mu       sync.Mutex
	sessions *btree.BTreeG[*Session] // by device; ordered, for pages of a listing
	pivot    Session                 // a key to search with
	online   int

	presence  announcer
	expirer   expirer
	lingering lingering
	laggards  laggards
	owners    owners
	orphans   chores[orphan]
	searches  searches
}

// Config is what the manager was told, with the defaults.
func (m *Manager) Config() Config { return m.config }

// StoreErr is why the store cannot make anything safe at the moment; nil if it can.
func (m *Manager) StoreErr() error { return m.store.Err() }

// Options are what a device may say about its session when it connects, and what is known
// of it. The zero value is any device that resumes.
type Options struct {
	Clean       bool           // forget the session that there is
	Expiry      *time.Duration // how long the session outlives the connection; nil is the default
	Permissions Permissions    // what the device may do; nil allows all
	Will        *store.Will    // what is published if the connection ends without a word; nil is nothing

	// Of an Exchanger.
	ReceiveMaximum uint16 // messages of QoS 1 and 2 that the device takes at a time; 0 is no limit of its own
	Patient        bool   // it can be told neither refusals nor our Receive Maximum, as MQTT 3.1.1
}

// Attached is what a device finds.
type Attached struct {
	Resumed bool   // the session was there before
	Missed  uint64 // messages that its bounds made it lose since the device left
}

// Attach makes l the live connection of the device, and conn its way down. The newest
// connection wins: an older one is closed, and its link changes nothing any more. Attach is called on conn's loop, and
// done too: before Attach returns, or later if the store has to open the device's queue. A
// connection that ends by then is not attached, and done not called. Call l.Flush when the device was greeted. The
// string device is kept.
//
// The will's topic must be valid; an error of another wraps *topic.Error. A will that the
// device is not allowed to publish is ErrWillNotAllowed, one session or will too many of a credential
// ErrCredentialFull, of a prefix PrefixSessionsFull or PrefixWillsFull. A queue that cannot be opened is ErrNotOpened. The
// Gate's errors are returned as they are.
func (m *Manager) Attach(device string, l *Link, conn Conn, o Options, done func(Attached, error)) {
	if !m.store.Opened(device) {
		m.attachOpened(device, l, conn, o, done)
		return
	}
	done(m.attach(device, l, conn, &o))
}

// attach is Attach for a device whose queue is open.
func (m *Manager) attach(device string, l *Link, conn Conn, o *Options) (found Attached, err error) {
	will, err := m.accept(device, o)
	if err != nil {
		return found, err
	}
	m.mu.Lock()
	s, resumed, err := m.claim(device, o)
	if err == nil {
		found = Attached{resumed, s.attach(l, conn, o, will)}
	}
	m.mu.Unlock()
	m.runChores()
	return found, err
}

// runChores does what a change of sessions has left to do. No lock may be held.
func (m *Manager) runChores() {
	m.orphans.run()
	m.presence.run()
}

// attach makes l the live connection and returns how many messages were missed. The
// manager is locked.
func (s *Session) attach(l *Link, conn Conn, o *Options, will *store.Will) (missed uint64) {
	s.lock()
	defer s.unlock()
	s.displace()
	s.owner = s.manager.owners.join(s.owner, credentialOf(o.Permissions), s.willBytes())
	s.manager.expirer.cancel(s)
	l.session, l.conn, l.permissions = s, conn, o.Permissions
	s.link, s.woken = l, false
	s.changed = time.Now().UnixMilli()
	before := s.expiry
	s.expiry = s.manager.expirySeconds(o.Expiry)
	s.equip(conn, o, will)
	s.permit(o.Permissions)
	missed, s.missed = uint64(s.missed), 0
	s.saveAfter(before)
	s.manager.online++
	s.manager.presence.addPresence(s, true, "")
	return missed
}

// claim finds the device's session, or makes it: always when a clean one is wanted. Locked.
func (m *Manager) claim(device string, o *Options) (s *Session, resumed bool, err error) {
	s = m.find(device)
	if err := m.afford(device, s, o); err != nil {
		return nil, false, err
	}
	if err := m.pass(device); err != nil {
		return nil, false, err
	}
	if s != nil && (o.Clean || s.ephemeral()) {
		m.discard(s)
		s = nil
	}
	if s != nil {
		return s, true, nil
	}
	if s, err = m.create(device); err != nil {
		m.gate.ReleaseDevice(device)
	}
	return s, false, err
}

// afford refuses what the device's credential or prefix may not have. s is its session, if there is one. Locked.
func (m *Manager) afford(device string, s *Session, o *Options) error {
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

// create makes a session. Locked.
func (m *Manager) create(device string) (*Session, error) {
	if m.sessions.Len() >= m.config.MaxSessions {
		return nil, ErrTooManySessions
	}
	s := &Session{manager: m, device: device, id: rand.Uint64(), created: seconds(time.Now())}
	m.add(s)
	return s, nil
}

// add puts a session in the registry. Locked.
func (m *Manager) add(s *Session) {
	m.sessions.Set(s)
	m.owners.count(s, 1, 0) // its prefix's: it has no owner yet
}

// expirySeconds is what a session gets that asked for an expiry: whole seconds, no less.
func (m *Manager) expirySeconds(asked *time.Duration) uint32 {
	d := m.config.Expiry
	if asked != nil {
		d = max(0, *asked)
	}
	return uint32((min(d, m.config.MaxExpiry) + time.Second - 1) / time.Second)
}

// displace closes the connection that there is, for a newer one. Locked, manager too.
func (s *Session) displace() {
	if s.link != nil {
		s.link.conn.Close(wire.CloseTakenOver)
		s.part(wire.CloseTakenOver.Label)
	}
}

// Detach says that l's connection has ended and why. If a newer one is attached, nothing
// changes. On the connection's loop.
func (m *Manager) Detach(l *Link, why string) {
	l.answers = nil
	if l.session == nil {
		return
	}
	m.detach(l, why, l.session.elsewhere())
	m.runChores()
	l.session.admitAway()
}

// detach is Detach for the session. What came by the shares named goes elsewhere.
func (m *Manager) detach(l *Link, why string, shares []string) {
	s := l.session
	m.mu.Lock()
	defer m.mu.Unlock()
	s.lock()
	defer s.unlock()
	if s.link != l {
		return
	}
	s.part(why)
	m.gate.ReleaseDevice(s.device)
	if s.expiry == 0 {
		m.end(s)
		return
	}
	s.giveAway(shares)
	s.save()
	m.expirer.set(s, s.due())
}

// part ends the live connection: calls are lost, QoS 0 messages too, and what was in flight
// is to be sent again. Locked, manager too.
func (s *Session) part(why string) {
	s.link = nil
	s.manager.online--
	s.changed = time.Now().UnixMilli()
	s.loseCalls()
	if m := s.next; m != nil {
		s.next = nil
		s.lose(m, router.Offline)
	}
	if s.queue != nil {
		s.queue.Rewind()
		s.drop(router.Offline, s.queue.ShedQoS0())
		s.tidy()
	}
	s.manager.presence.addPresence(s, false, why)
	if s.willDue() <= s.changed {
		s.announceWill()
	}
	s.unplug()
}

// expires is in Unix milliseconds.
func (s *Session) expires() int64 { return s.changed + int64(s.expiry)*1000 }

// due is when something happens to a session whose device stays away, in Unix milliseconds.
func (s *Session) due() int64 { return min(s.expires(), s.willDue()) }

// expire ends s if its device is still away and its time has come, or publishes its will.
func (m *Manager) expire(s *Session) {
	m.mu.Lock()
	s.mu.Lock()
	now := time.Now().UnixMilli()
	switch {
	case s.ended || s.link != nil || s.due() > now:
	case s.expires() <= now:
		m.end(s)
	default:
		s.announceWill()
		s.unplug()
		s.save()
		m.expirer.set(s, s.due())
	}
	s.mu.Unlock()
	m.mu.Unlock()
	m.runChores()
}

// discard ends the session of a device that wants a new one. Locked.
func (m *Manager) discard(s *Session) {
	s.lock()
	defer s.unlock()
	s.displace()
	m.end(s)
}

// end forgets a session, which has no link. Publishers whose messages wait for room are told that all is
// well, as if it had ended before. Locked, manager too.
func (m *Manager) end(s *Session) {
	s.ended = true
	m.laggards.forgive(s)
	defer func() { m.owners.count(s, -1, 0) }()
	s.announceWill() // [MQTT-3.1.2-8]: the session's end does not wait for the delay
	m.expirer.cancel(s)
	m.sessions.Delete(s)
	for _, sub := range s.subscriptions {
		m.router.Unsubscribe(sub.Filter, s)
	}
	s.manager.searches.end(s)
	s.subscriptions = nil
	s.bequeath()
	if s.queue != nil {
		s.drop(router.SessionEnded, s.queue.Len())
		s.drop(router.Expired, s.queue.TakeExpired())
		s.closeQueue()
	}
	m.store.Drop(s.device)
}

// Disconnect closes the device's connection. It reports false when there is none.
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

// session finds the device's session, nil when there is none.
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

// Owes reports whether a device's session has messages for it, so that memory is freed when it comes and takes them.
func (m *Manager) Owes(device string) bool {
	s := m.session(device)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting != nil || s.queue != nil && s.queue.Len() > 0
}
