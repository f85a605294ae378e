package door

import (
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

// Whoever has shown no credential yet costs little: a handshake or CONNECT is as large as
// gateway.header_bytes at the most, and what all unfinished ones hold has a bound, gateway.unverified_bytes.
// While the node refuses new connections for want of memory, those come in that take what fills it: sessions
// that are owed something. Who names such a session and has no credential for it gets a verification, of
// which few are under way at a time, and no more.

// maxCures is how many connections are verified at a time although memory is short.
const maxCures = 64

// holds notes that n bytes of a connection's unfinished handshake are kept. It returns why the connection may
// not go on when all hold too much.
func (s *Shard) holds(conn *reactor.Conn, n int) error {
	g := s.guests[conn]
	switch {
	case g == nil && n == 0:
		return nil
	case g == nil:
		g = s.guest(conn)
	}
	sum := s.door.guard.unverified.Add(int64(n - g.held))
	g.held = n
	if n > 0 && sum > int64(s.door.Config.UnverifiedBytes) {
		return denyForHandshakes()
	}
	s.forgetGuest(conn, g)
	return nil
}

// forgetGuest forgets what the limits need not remember of a connection any more.
func (s *Shard) forgetGuest(conn *reactor.Conn, g *guest) {
	if *g == (guest{}) {
		delete(s.guests, conn)
	}
}

// shortFor reports whether memory is too short for a connection that claims to be a device. One that may
// free memory is let through to its verification.
func (s *Shard) shortFor(conn *reactor.Conn, device string) bool {
	g := s.door.guard
	if g.memory.Stage() < limit.RefuseNew {
		return false
	}
	if device != "" && !s.door.Sessions.HasMessages(device) {
		return true
	}
	if g.cures.Add(1) > maxCures {
		g.cures.Add(-1)
		return true
	}
	s.guest(conn).cures = true
	return false
}

// verified notes that the verification of a connection has ended.
func (s *Shard) verified(conn *reactor.Conn) {
	if g := s.guests[conn]; g != nil && g.cures {
		g.cures = false
		s.door.guard.cures.Add(-1)
		s.forgetGuest(conn, g)
	}
}

// shortOf says why a device that is verified may not come in for want of memory; nil is that it may.
func (s *Shard) shortOf(device string) error {
	if s.door.guard.memory.Stage() >= limit.RefuseNew && !s.door.Sessions.HasMessages(device) {
		return denyForMemory()
	}
	return nil
}
