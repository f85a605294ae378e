package session

import "github.com/longline/longline/internal/message"

// Observer watches what the gateway sends to devices. The session calls its methods with the session locked, on the
// connection's loop: they must not block or call sessions.
type Observer interface {
	// Sent is called when m was given to the connection of the device. The observer may use m until it returns.
	Sent(m *message.Message, device string, q message.QoS)
	// Acknowledged is called with the ID of a message that the device has acknowledged.
	Acknowledged(id uint64, device string)
}

func (s *Session) observeSent(m *message.Message, q message.QoS) {
	if o := s.manager.config.Observer; o != nil {
		o.Sent(m, s.device, q)
	}
}

// observeAcknowledged tells the observer that the device has acknowledged a message.
func (s *Session) observeAcknowledged(id uint64) {
	if o := s.manager.config.Observer; o != nil {
		o.Acknowledged(id, s.device)
	}
}
