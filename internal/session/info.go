package session

import (
	"net/netip"
	"strings"
	"time"

	"github.com/longline/longline/internal/topic"
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
	Conn          Conn // the live one, nil when away
	Created       time.Time
	Changed       time.Time     // of the last connect or disconnect
	Expiry        time.Duration // that the session outlives a connection
	Subscriptions []topic.Subscription
	Queued        int // messages owed
	QueuedBytes   int
	InFlight      int // of those, sent and not acknowledged
	Waiting       int // QoS 1 messages that wait for room
	Traffic       Traffic
}

// Peer is where a connection comes from, and what it speaks. The zero Peer is that of a connection that has ended.
type Peer struct {
	Addr     netip.AddrPort
	Protocol string
}

// Get describes the device's session; ok is false when there is none.
func (m *Manager) Get(device string) (info Info, ok bool) {
	s := m.session(device)
	if s == nil {
		return Info{}, false
	}
	s.lock()
	defer s.unlock()
	return s.info(), true
}

// pageSize is how many sessions List takes from the registry at a time.
const pageSize = 256

// List describes sessions in the order of device ids: those after the id given, whose id
// begins with prefix, in the state asked for, at most limit.
func (m *Manager) List(prefix, after string, state State, limit int) []Info {
	var list []Info
	for len(list) < limit {
		page := m.page(prefix, after)
		if len(page) == 0 {
			break
		}
		for _, s := range page {
			if info, ok := s.in(state); ok && len(list) < limit {
				list = append(list, info)
			}
		}
		after = page[len(page)-1].device
	}
	return list
}

// page returns the next sessions after an id, whose id begins with prefix.
func (m *Manager) page(prefix, after string) []*Session {
	var page []*Session
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pivot.device = max(prefix, after)
	m.sessions.Ascend(&m.pivot, func(s *Session) bool {
		if s.device == after {
			return true
		}
		if !strings.HasPrefix(s.device, prefix) || len(page) == pageSize {
			return false
		}
		page = append(page, s)
		return true
	})
	return page
}

// in describes s if it is in the state.
func (s *Session) in(state State) (Info, bool) {
	s.lock()
	defer s.unlock()
	if online := s.link != nil; s.ended || (state != AnyState && online != (state == Online)) {
		return Info{}, false
	}
	return s.info(), true
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
		Created:       time.Unix(int64(s.created), 0),
		Changed:       time.UnixMilli(s.changed),
		Expiry:        time.Duration(s.expiry) * time.Second,
		Subscriptions: s.subscriptions,
		Traffic:       s.traffic,
	}
	if s.link != nil {
		i.Online, i.Conn = true, s.link.conn
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
