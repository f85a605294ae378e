package door

import (
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

// A connection that has not shown a credential costs little: a handshake or CONNECT has at most gateway.header_bytes, and all
// unfinished ones together have at most gateway.unverified_bytes.
//
// While the node refuses new connections because memory is short, it still lets in devices that free memory: those whose sessions
// have messages for them. It verifies few of them at a time, because a connection that names such a device need not be that
// device.

// maxExempt is how many connections are verified at a time although memory is short.
const maxExempt = 64

// countHandshakeBytes notes that the node keeps n bytes of a connection's unfinished handshake. If all unfinished
// handshakes have too many bytes, it returns why the connection is refused.
func (s *Shard) countHandshakeBytes(conn *reactor.Conn, n int) error {
	g := s.limitStates[conn]
	switch {
	case g == nil && n == 0:
		return nil
	case g == nil:
		g = s.limitState(conn)
	}
	sum := s.door.guard.unverified.Add(int64(n - g.held))
	g.held = n
	if n > 0 && sum > int64(s.door.Config.UnverifiedBytes) {
		return denyForHandshakes()
	}
	s.forgetLimitState(conn, g)
	return nil
}

// forgetLimitState removes a connection's state if nothing is in it.
func (s *Shard) forgetLimitState(conn *reactor.Conn, g *limitState) {
	if *g == (limitState{}) {
		delete(s.limitStates, conn)
	}
}

// refusesUnverified reports whether memory is too short to verify a connection that claims to be a device. If the
// device may free memory, the connection is verified.
func (s *Shard) refusesUnverified(conn *reactor.Conn, device string) bool {
	g := s.door.guard
	if g.memory.Stage() < limit.RefuseNew {
		return false
	}
	if device != "" && !s.door.Sessions.HasMessages(device) {
		return true
	}
	if g.exempt.Add(1) > maxExempt {
		g.exempt.Add(-1)
		return true
	}
	s.limitState(conn).exempt = true
	return false
}

// verificationEnded notes that the verification of a connection has ended.
func (s *Shard) verificationEnded(conn *reactor.Conn) {
	if g := s.limitStates[conn]; g != nil && g.exempt {
		g.exempt = false
		s.door.guard.exempt.Add(-1)
		s.forgetLimitState(conn, g)
	}
}

// checkMemory returns why a verified device is refused because memory is short, or nil.
func (s *Shard) checkMemory(device string) error {
	if s.door.guard.memory.Stage() >= limit.RefuseNew && !s.door.Sessions.HasMessages(device) {
		return denyForMemory()
	}
	return nil
}
