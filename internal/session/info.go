package session

import (
	"strings"
	"time"

	"github.com/longline/longline/internal/store"
)

// State selects sessions in a listing.
type State uint8

// The states.
const (
	AnyState State = iota
	Online
	Away
)

// Info describes a session at one moment.
type Info struct {
	Device        string
	Session       string
	Online        bool
	Created       time.Time
	Changed       time.Time     // of the last connect or disconnect
	Expiry        time.Duration // that the session outlives a connection
	Subscriptions []store.Subscription
	Queued        int // messages owed
	QueuedBytes   int
	InFlight      int // of those, sent and not acknowledged
	Waiting       int // QoS 1 messages that wait for room
	Traffic       Traffic
}

// Get describes the device's session; ok is false when there is none. conn is its live
// connection, nil when there is none.
func (m *Manager) Get(device string) (info Info, conn Conn, ok bool) {
	s := m.session(device)
	if s == nil {
		return Info{}, nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		conn = s.link.conn
	}
	return s.info(), conn, true
}

// List describes sessions in the order of device ids: those after the id given, whose id
// begins with prefix, in the state asked for, at most limit.
func (m *Manager) List(prefix, after string, state State, limit int) []Info {
	var list []Info
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pivot.device = max(prefix, after)
	m.sessions.Ascend(&m.pivot, func(s *Session) bool {
		if s.device == after {
			return true
		}
		if !strings.HasPrefix(s.device, prefix) || len(list) >= limit {
			return false
		}
		s.mu.Lock()
		if online := s.link != nil; state == AnyState || online == (state == Online) {
			list = append(list, s.info())
		}
		s.mu.Unlock()
		return true
	})
	return list
}

// Count returns how many sessions there are, and how many of them are connected.
func (m *Manager) Count() (sessions, online int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions.Len(), m.online
}

func (s *Session) info() Info {
	i := Info{
		Device:        s.device,
		Session:       s.ID(),
		Online:        s.link != nil,
		Created:       time.UnixMilli(s.created),
		Changed:       time.UnixMilli(s.changed),
		Expiry:        time.Duration(s.expiry) * time.Second,
		Subscriptions: s.subscriptions,
		Traffic:       s.traffic,
	}
	if s.queue != nil {
		i.Queued, i.QueuedBytes, i.InFlight = s.queue.Len(), s.queue.Bytes(), s.queue.InFlight()
	}
	if s.next != nil {
		i.Queued++
		i.QueuedBytes += s.next.Size()
	}
	if s.waiting != nil {
		i.Waiting = s.waiting.Len()
	}
	return i
}
