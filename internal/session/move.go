package session

import (
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
)

// Settle tells the session of a claim the position from which on it takes the items of the bus for its subscriptions itself. For a session
// of another epoch nothing changes.
func (m *Manager) Settle(device string, epoch, since uint64) {}

// Raise gives the session of the device a higher epoch: Owners has claimed it again.
func (m *Manager) Raise(device string, epoch uint64) {}

// Lose says that another node has a device. The connection is closed with taken over; the session is forgotten, and leaves no will, no
// offline event and nothing in the store. If it had subscriptions outside of its own space, it stays as a shadow until Unshadow, which
// hands what comes for them to Owners.Forward. Called again with Since, Lose tells that to the shadow. It reports whether there was a
// session of a lower epoch, or a shadow of the move.
func (m *Manager) Lose(device string, to Move) bool { return false }

// Unshadow ends the shadow that the move of an epoch has left.
func (m *Manager) Unshadow(device string, epoch uint64) {}

// Adopt makes the session of a device of a node that died: its device is away since then. It is called without locks, on workers.
func (m *Manager) Adopt(device string, c Claim, died time.Time) {}

// DeliverTo delivers a message that another node sends on to one device, with the QoS that this node had found: as router.Subscriber.Deliver,
// or with ErrNotHere.
func (m *Manager) DeliverTo(device string, msg *message.Message, q message.QoS, p *router.Publication) error {
	return ErrNotHere
}

// DeliverOwn delivers a message whose topic is in the own space of a device and that came by the bus, if the session has a
// subscription that matches: as router.Subscriber.Deliver, or with ErrNotHere.
func (m *Manager) DeliverOwn(device string, msg *message.Message, p *router.Publication) error {
	return ErrNotHere
}
