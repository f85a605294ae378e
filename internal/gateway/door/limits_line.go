package door

import (
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

// line has a connection that wants to be the device's counted, and paced. done runs on the
// loop, with why it may not come in, or nil: before line returns when there is nothing to
// wait for, otherwise later, and never when the connection has ended by then.
func (s *Shard) line(conn *reactor.Conn, c *auth.Credentials, done func(error)) {
	if s.shortFor(conn, c.Device) {
		done(denyForMemory())
		return
	}
	if err := s.countIn(conn); err != nil {
		done(err)
		return
	}
	pace := s.door.guard.rate
	if pace.EnterNow() { // and nothing need be known of its class
		done(nil)
		return
	}
	place, err := pace.Enter(s.classOf(c), func() {
		conn.Loop().Post(reactor.TaskFunc(func(*reactor.Loop) {
			if s.called(conn) {
				done(nil)
			}
		}))
	})
	if place == nil {
		done(err)
		return
	}
	s.guest(conn).place = place
}

// countIn counts the connection: its node's and, where that has a limit, its source's.
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
		s.guest(conn).source = source
	}
	return nil
}

// classOf is that of a device that shows credentials: to be resumed, or new. Who names a device that has a session
// is not yet that device. So its place is for those whose credentials show at once that they are: tokens,
// certificates, and what was accepted lately.
func (s *Shard) classOf(c *auth.Credentials) limit.Class {
	g := s.door
	if c.Device != "" && g.Sessions.Has(c.Device) && g.admission.proves(c) {
		return limit.Resumed
	}
	return limit.New
}

// called says that a connection's turn has come, and false when it does not wait any more.
func (s *Shard) called(conn *reactor.Conn) bool {
	g := s.guests[conn]
	if g == nil || g.place == nil || conn.Closed() {
		return false
	}
	g.place = nil
	if !s.door.guard.sources { // a bucket is made anew
		delete(s.guests, conn)
	}
	return true
}

// leaveLine takes a connection out of the line, and reports whether it waited there.
func (s *Shard) leaveLine(conn *reactor.Conn) bool {
	g := s.guests[conn]
	if g == nil || g.place == nil {
		return false
	}
	g.place.Leave()
	g.place = nil
	return true
}

// exit undoes line for a connection that is gone.
func (s *Shard) exit(conn *reactor.Conn) {
	var source limit.Source
	s.verified(conn)
	_ = s.holds(conn, 0)
	if g := s.guests[conn]; g != nil {
		source = g.source
		if g.place != nil {
			g.place.Leave()
		}
		delete(s.guests, conn)
	}
	if conn.Tag&counted != 0 {
		conn.Tag &^= counted
		s.door.guard.count.Release(source)
	}
}
