package session

import (
	"context"
	"strings"
	"time"

	"github.com/longline/longline/internal/devices"
)

// Get describes the session of the device, without the peer of its connection. ok is false if there is no session.
func (m *Manager) Get(device string) (info devices.Info, ok bool) {
	s := m.session(device)
	if s == nil {
		return devices.Info{}, false
	}
	s.lock()
	defer s.unlock()
	info, _ = s.info()
	return info, true
}

// pageSize is how many sessions list takes from the registry per lock.
const pageSize = 256

// list describes the sessions of a page, and returns their connections, nil for devices that are away. When ctx ends,
// it returns those that it has found by then.
func (m *Manager) list(ctx context.Context, p devices.Page) (list []devices.Info, conns []Conn) {
	for len(list) < p.Limit && ctx.Err() == nil {
		page := m.page(p.Prefix, p.After)
		if len(page) == 0 {
			break
		}
		for _, s := range page {
			if info, conn, ok := s.in(p.State); ok && len(list) < p.Limit {
				list, conns = append(list, info), append(conns, conn)
			}
		}
		p.After = page[len(page)-1].device
	}
	return list, conns
}

// page returns the next sessions after the ID after whose IDs begin with prefix.
func (m *Manager) page(prefix, after string) []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lockedPage(prefix, after)
}

// lockedPage is page for a manager that is locked.
func (m *Manager) lockedPage(prefix, after string) (page []*Session) {
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

// in describes s if it is in the given state.
func (s *Session) in(state devices.State) (info devices.Info, conn Conn, ok bool) {
	s.lock()
	defer s.unlock()
	if online := s.link != nil; s.ended || (state != devices.AnyState && online != (state == devices.Online)) {
		return devices.Info{}, nil, false
	}
	info, conn = s.info()
	return info, conn, true
}

// Count returns how many sessions there are, and how many of them are connected.
func (m *Manager) Count() (sessions, online int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions.Len(), m.online
}

// info describes s, and returns its live connection, nil when the device is away. Locked.
func (s *Session) info() (i devices.Info, conn Conn) {
	i = devices.Info{
		Device:        s.device,
		Session:       s.ID(),
		Created:       time.Unix(int64(s.created), 0),
		Changed:       time.UnixMilli(s.changed),
		Expiry:        time.Duration(s.expiry) * time.Second,
		Subscriptions: s.subscriptions,
	}
	if d := s.toDevice; d != nil {
		i.Traffic.DownlinkMessages, i.Traffic.DownlinkBytes = d.messages, d.bytes
	}
	if u := s.fromDevice; u != nil {
		i.Traffic.UplinkMessages, i.Traffic.UplinkBytes = u.Published, u.bytes
	}
	if s.link != nil {
		i.Online, conn = true, s.link.conn
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
	return i, conn
}
