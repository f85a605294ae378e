package session

import "github.com/longline/longline/internal/router"

// Gate bounds how many devices are connected. limit.Count is one. Its methods are called with
// locks held and must not block.
type Gate interface {
	// AcquireDevice counts a device, or refuses it.
	AcquireDevice(device string) error
	// ReleaseDevice undoes an AcquireDevice that returned nil.
	ReleaseDevice(device string)
}

// openGate lets all in.
type openGate struct{}

func (openGate) AcquireDevice(string) error { return nil }
func (openGate) ReleaseDevice(string)       {}

// Guard has g count the devices from now on: before the first is attached. A device that
// connects again while it is connected keeps its count.
func (m *Manager) Guard(g Gate) { m.gate = g }

// pass counts a device that is to be attached, unless it is connected. Locked.
func (m *Manager) pass(device string) error {
	if s := m.find(device); s != nil && s.link != nil {
		return nil
	}
	return m.gate.AcquireDevice(device)
}

// Has tells whether the device has a session.
func (m *Manager) Has(device string) bool { return m.session(device) != nil }

// Shed drops the QoS 0 messages that wait in queues and, until it is told off, those that
// would have to.
func (m *Manager) Shed(on bool) {
	if m.shedding.Swap(on) || !on {
		return
	}
	after := ""
	for page := m.page("", after); len(page) > 0; page = m.page("", after) {
		for _, s := range page {
			s.shed()
		}
		after = page[len(page)-1].device
	}
}

func (s *Session) shed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue != nil {
		s.drop(router.Shed, s.queue.ShedQoS0())
		s.tidy()
	}
}
