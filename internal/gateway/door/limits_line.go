package door

import (
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

// line counts a connection and makes it wait for its turn. It calls done on the loop, with nil or with why the
// connection is refused: before line returns if it need not wait, otherwise later, and never if the connection ends
// before.
func (s *Shard) line(conn *reactor.Conn, c *auth.Credentials, done func(error)) {
	if s.refusesUnverified(conn, c.Device) {
		done(denyForMemory())
		return
	}
	if err := s.countIn(conn); err != nil {
		done(err)
		return
	}
	pace := s.door.guard.rate
	if pace.EnterNow() { // its class does not matter
		done(nil)
		return
	}
	place, err := pace.Enter(s.classOf(c), func() {
		conn.Loop().Post(reactor.TaskFunc(func(*reactor.Loop) {
			if s.turnCame(conn) {
				done(nil)
			}
		}))
	})
	if place == nil {
		done(err)
		return
	}
	s.limitState(conn).place = place
}

// countIn counts the connection in the node and, if addresses have a limit, at its source address.
func (s *Shard) countIn(conn *reactor.Conn) error {
	var source limit.Source
	g := s.door.guard
	if g.sources {
		source = limit.SourceOf(conn.RemoteAddr().Addr())
	}
	if err := g.count.Acquire(source); err != nil {
		return err
	}
	conn.Tag |= counted
	if g.sources {
		s.limitState(conn).source = source
	}
	return nil
}

// classOf returns the class of a device that shows credentials: Resumed or New. A device that names the ID of an
// existing session is not yet that device. So only credentials that can be checked at once make it Resumed: tokens,
// certificates, and passwords that were accepted lately.
func (s *Shard) classOf(c *auth.Credentials) limit.Class {
	g := s.door
	if c.Device != "" && g.Sessions.Has(c.Device) && g.admission.proves(c) {
		return limit.Resumed
	}
	return limit.New
}

// turnCame notes that the turn of a connection has come, and reports whether the connection still waits for it.
func (s *Shard) turnCame(conn *reactor.Conn) bool {
	g := s.limitStates[conn]
	if g == nil || g.place == nil || conn.Closed() {
		return false
	}
	g.place = nil
	if !s.door.guard.sources { // the rest can be made again
		delete(s.limitStates, conn)
	}
	return true
}

// leaveLine removes a connection from the line, and reports whether it waited there.
func (s *Shard) leaveLine(conn *reactor.Conn) bool {
	g := s.limitStates[conn]
	if g == nil || g.place == nil {
		return false
	}
	g.place.Leave()
	g.place = nil
	return true
}

// exit undoes line for a connection that has closed.
func (s *Shard) exit(conn *reactor.Conn) {
	var source limit.Source
	s.verificationEnded(conn)
	_ = s.countHandshakeBytes(conn, 0)
	if g := s.limitStates[conn]; g != nil {
		source = g.source
		if g.place != nil {
			g.place.Leave()
		}
		delete(s.limitStates, conn)
	}
	if conn.Tag&counted != 0 {
		conn.Tag &^= counted
		s.door.guard.count.Release(source)
	}
}
