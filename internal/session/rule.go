package session

import (
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// A message comes to two owners of a device while its session moves: to the old one by what it had announced, to the new one by what it
// announces. Message.At is the position in the log of announcements up to which the publisher's node had read when it looked for
// receivers. A session's Since is the position of its announcement (Manager.Settle); the highest number while that is not known, 0 for a session
// that has not moved. Exactly one copy counts:
//
//   - one that comes for the session's subscriptions, if At is at least Since;
//   - one that another node sends on to the device (Manager.DeliverTo), if At is less than Since.
//
// At does not matter, because there is one copy alone, if it is 0, if the message came by a share, and if its topic is in the device's own
// space: who publishes there asks who has the device.

// single reports whether there is one copy of m for the device, wherever it is.
func (s *Session) single(m *message.Message) bool {
	return m.At == 0 || router.ShareOf(m) != "" || topic.SpaceOf(m.Topic) == s.device
}

// skips reports whether the session does not take a message that comes for its subscriptions, because the owner before sends it on. The
// session is locked.
func (s *Session) skips(m *message.Message) bool {
	return s.claim != nil && m.At < s.claim.since && !s.single(m)
}

// has reports whether the session does not take a message that another node sends on, because it gets it for its subscriptions. The session is
// locked.
func (s *Session) has(m *message.Message) bool {
	return s.claim != nil && m.At >= s.claim.since && !s.single(m)
}

// DeliverOf is Deliver for an item that was for a node that died, and that its adopter sends to all: it is for the sessions that came from there.
func (s *Session) DeliverOf(owner string, m *message.Message, q message.QoS, p *router.Publication) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claim == nil || !s.claim.inherits(owner, s.manager.config.Owners) || s.has(m) {
		return nil
	}
	return s.offer(m, q, router.Terms{Wait: true}, p)
}

// inherits reports whether what was for an owner that died is for this session: it came from there, perhaps by others that died since. One of those
// that lives passes it on itself.
func (c *claimed) inherits(owner string, owners Owners) bool {
	if c.from == owner {
		return true
	}
	at := slices.Index(c.before, owner)
	return at >= 0 && !owners.Lives(c.from) && !slices.ContainsFunc(c.before[:at], owners.Lives)
}
