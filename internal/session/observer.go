package session

import "github.com/longline/longline/internal/message"

// Observer watches what devices are sent. Its methods are called with the session locked, on the connection's loop: they do
// not block, and call nothing of sessions.
type Observer interface {
	// Sent is told of a message that was given to a device's connection. m is the observer's until it returns.
	Sent(m *message.Message, device string, q message.QoS)
	// Acknowledged is told of the ID of a message that a device has.
	Acknowledged(id uint64, device string)
}

func (s *Session) observeSent(m *message.Message, q message.QoS) {
	if o := s.manager.config.Observer; o != nil {
		o.Sent(m, s.device, q)
	}
}

// observeAcknowledged tells the observer of a message that the device has.
func (s *Session) observeAcknowledged(id uint64) {
	if o := s.manager.config.Observer; o != nil {
		o.Acknowledged(id, s.device)
	}
}
