package session

import "github.com/longline/longline/internal/router"

// Gate bounds how many devices are connected. limit.Count is one. The manager calls its methods with locks held; they
// must not block.
type Gate interface {
	// AcquireDevice counts a device, or refuses it.
	AcquireDevice(device string) error
	// ReleaseDevice undoes an AcquireDevice that returned nil.
	ReleaseDevice(device string)
}

// openGate refuses no device.
type openGate struct{}

func (openGate) AcquireDevice(string) error { return nil }
func (openGate) ReleaseDevice(string)       {}

// SetGate makes g count the connected devices. It is called before the first Attach. A device that connects again
// while it is connected keeps its count.
func (m *Manager) SetGate(g Gate) { m.gate = g }

// acquireGate counts a device that is about to be attached, unless it is connected already. The manager is locked.
func (m *Manager) acquireGate(device string) error {
	if s := m.find(device); s != nil && s.link != nil {
		return nil
	}
	return m.gate.AcquireDevice(device)
}

// Has reports whether the device has a session.
func (m *Manager) Has(device string) bool { return m.session(device) != nil }

// Shed(true) drops the QoS 0 messages in all queues, and from then on those that would have to be queued, until
// Shed(false).
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
		s.reclaimQueue()
	}
}
