package session

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// ErrTooManySessions refuses a device when the node holds Config.MaxSessions.
var ErrTooManySessions = errors.New("the node holds as many sessions as it may")

// Manager holds the sessions of a node. Its methods are safe from any goroutine.
type Manager struct {
	// Static after construction.
	config Config
	router *router.Router
	store  store.Store

	// Guarded by mu, which is taken before a session's lock, never after.
	mu       sync.Mutex
	sessions *btree.BTreeG[*Session] // by device; ordered, for pages of a listing
	pivot    Session                 // a key to search with
	online   int

	presence announcer
	expirer  expirer
}

// NewManager makes a manager with the sessions that the store has a record of.
func NewManager(config Config, r *router.Router, s store.Store) (*Manager, error) {
	m := &Manager{config: config.WithDefaults(), router: r, store: s}
	byDevice := func(a, b *Session) bool { return a.device < b.device }
	m.sessions = btree.NewBTreeGOptions(byDevice, btree.Options{NoLocks: true})
	m.presence.publish = func(e *message.Message) {
		if _, err := r.Publish(e, nil); errors.Is(err, router.ErrFull) {
			return // counted by the router
		}
	}
	m.expirer.due = m.expire
	err := s.Records(func(r *store.Record) bool {
		m.restore(r)
		return true
	})
	return m, err
}

// restore makes the session of a device that is away again, from its record.
func (m *Manager) restore(r *store.Record) {
	s := &Session{
		manager:       m,
		device:        r.Device,
		id:            r.Session,
		created:       r.Left,
		changed:       r.Left,
		expiry:        uint32(r.Expiry / time.Second),
		missed:        uint32(r.Missed),
		subscriptions: r.Subscriptions,
		timed:         true,
	}
	m.sessions.Set(s)
	for _, sub := range s.subscriptions {
		m.router.Subscribe(sub.Filter, s, sub.QoS)
	}
	m.expirer.add(s, s.expires())
}

// record is what restore needs. It shares the subscriptions, which are copied on change.
func (s *Session) record() *store.Record {
	return &store.Record{
		Device:        s.device,
		Session:       s.id,
		Expiry:        time.Duration(s.expiry) * time.Second,
		Left:          s.changed,
		Missed:        uint64(s.missed),
		Subscriptions: s.subscriptions,
	}
}

// Close stops the expiry of sessions.
func (m *Manager) Close() { m.expirer.stop() }

// Options are what a device may say about its session when it connects.
type Options struct {
	Clean  bool           // forget the session that there is
	Expiry *time.Duration // how long the session outlives the connection; nil is the default
}

// Attach makes l the live connection of the device, and conn its way down. The newest
// connection wins: an older one is closed, and its link changes nothing any more. resumed
// tells whether the session was there before, missed how many messages its bounds made it
// lose since the device left. On conn's loop; call l.Flush when the device was greeted.
func (m *Manager) Attach(device string, l *Link, conn Conn, o Options) (resumed bool, missed uint64, err error) {
	defer m.presence.run()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.find(device)
	if s != nil && o.Clean {
		s.mu.Lock()
		s.displace()
		m.end(s)
		s.mu.Unlock()
		s = nil
	}
	resumed = s != nil
	if s == nil {
		if m.sessions.Len() >= m.config.MaxSessions {
			return false, 0, ErrTooManySessions
		}
		s = &Session{manager: m, device: device, id: rand.Uint64(), created: time.Now().UnixMilli()}
		m.sessions.Set(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.displace()
	l.session, l.conn = s, conn
	s.link, s.woken = l, false
	s.changed = time.Now().UnixMilli()
	s.expiry = m.expirySeconds(o.Expiry)
	missed, s.missed = uint64(s.missed), 0
	if s.queue != nil {
		s.queue.Rewind()
	}
	m.online++
	m.presence.add(s, true, "")
	return resumed, missed, nil
}

func (m *Manager) expirySeconds(asked *time.Duration) uint32 {
	d := m.config.Expiry
	if asked != nil {
		d = min(*asked, m.config.MaxExpiry)
	}
	return uint32(d / time.Second)
}

// displace closes the connection that there is, for a newer one. Locked, manager too.
func (s *Session) displace() {
	if s.link == nil {
		return
	}
	s.link.conn.Close(wire.CloseTakenOver)
	s.link = nil
	s.manager.online--
	s.loseCalls()
}

// Detach says that l's connection has ended and why. If a newer one is attached, nothing
// changes.
func (m *Manager) Detach(l *Link, why string) {
	s := l.session
	if s == nil {
		return
	}
	defer m.presence.run()
	m.mu.Lock()
	defer m.mu.Unlock()
	s.mu.Lock()
	if s.link != l {
		s.mu.Unlock()
		return
	}
	s.link = nil
	m.online--
	s.changed = time.Now().UnixMilli()
	s.loseCalls()
	admitted := s.rest()
	m.presence.add(s, false, why)
	switch {
	case s.expiry == 0:
		m.end(s)
	default:
		_ = m.store.Save(s.record())
		if !s.timed {
			s.timed = true
			m.expirer.add(s, s.expires())
		}
	}
	s.mu.Unlock()
	router.Tell(admitted, nil)
}

// rest makes the session one of a device that is away: QoS 0 messages go, and those that
// waited for room come in, at the expense of the oldest. Locked.
func (s *Session) rest() []*router.Ticket {
	if s.next != nil {
		s.next = nil
		s.drop(router.Offline, 1)
	}
	if s.queue != nil {
		s.queue.Rewind()
		s.drop(router.Offline, s.queue.ShedQoS0())
	}
	admitted := s.admit()
	s.tidy()
	return admitted
}

func (s *Session) expires() time.Time {
	return time.UnixMilli(s.changed).Add(time.Duration(s.expiry) * time.Second)
}

// expire ends s if its time has come, or says when to look again.
func (m *Manager) expire(s *Session) (again time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link != nil {
		s.timed = false
		return time.Time{}
	}
	if at := s.expires(); at.After(time.Now()) {
		return at
	}
	m.end(s)
	return time.Time{}
}

// end forgets a session. It has no link. Locked, manager too.
func (m *Manager) end(s *Session) {
	s.ended = true
	for _, sub := range s.subscriptions {
		m.router.Unsubscribe(sub.Filter, s)
	}
	s.subscriptions = nil
	if s.queue != nil {
		s.drop(router.SessionEnded, s.queue.Len())
		s.closeQueue()
	}
	_ = m.store.Drop(s.device)
	m.sessions.Delete(s)
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

// Broadcast delivers m, which must be owned and have a valid topic, to every device that
// has a subscription in common with filter, or to all when filter is empty, whatever the
// topic. QoS 0 reaches those on line, QoS 1 also those that are away. It returns the
// number of devices.
func (m *Manager) Broadcast(msg *message.Message, filter string) int {
	receivers := m.receivers(filter)
	n := 0
	for _, s := range receivers {
		if msg.QoS == message.AtMostOnce && !s.connected() {
			continue
		}
		n++
		if s.Deliver(msg, msg.QoS) != nil {
			s.drop(router.QueueFull, 1)
		}
	}
	return n
}

func (m *Manager) receivers(filter string) []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	receivers := make([]*Session, 0, m.sessions.Len())
	m.sessions.Scan(func(s *Session) bool {
		if filter == "" || s.overlaps(filter) {
			receivers = append(receivers, s)
		}
		return true
	})
	return receivers
}

func (s *Session) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}

func (s *Session) overlaps(filter string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subscriptions {
		if topic.Overlap(filter, sub.Filter) {
			return true
		}
	}
	return false
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

// rawUplink is the topic of what a device of a raw protocol sends.
func (m *Manager) rawUplink(device string) string { return "device/" + device + "/up" }
