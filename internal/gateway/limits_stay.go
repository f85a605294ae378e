package gateway

import (
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
)

// What an open connection may not do for ever: stay without a credential that is good, and
// hold the buffer of a message that does not come to its end.

// stays is for how long an open connection may stay as it is, and the rule that it breaks
// then: forEver is that it may.
func (g *Gateway) stays(conn *reactor.Conn, l *session.Link) (left time.Duration, rule *wire.Close) {
	left = forEver
	if good := credentialOf(l).left(); good < forEver {
		left, rule = good+g.admission.chain.Config().Grace, wire.CloseTokenExpired
	}
	if conn.Since != 0 && !conn.Paused() {
		age := time.Duration(clock(conn)-conn.Since) * time.Millisecond
		if rest := g.config.MessageTimeout - age; rest < left {
			left, rule = rest, wire.CloseSlowMessage
		}
	}
	return left, rule
}

// setAlarm sets the alarm of an open connection: after a time, or when it may stay no longer,
// if that is sooner; forEver is not at all.
func (g *Gateway) setAlarm(conn *reactor.Conn, l *session.Link, after time.Duration) {
	left, _ := g.stays(conn, l)
	if after = min(after, left); after < forEver {
		conn.SetAlarm(max(0, after))
	}
}

// clock is the loop's in milliseconds, never 0; only differences count, of 49 days at most.
func clock(conn *reactor.Conn) uint32 { return uint32(conn.Loop().Clock().Milliseconds()) | 1 }

// read is called when all that was read of a device is handled that can be: n bytes of it. It
// notes whether a message has begun, and charges the device. Conn.Since is when the message
// began that is unfinished, 0 when none is; whoever handles a whole one sets it so.
func (s *shard) read(m metered, conn *reactor.Conn, n int, begun bool) {
	s.turn = turn{}
	if !m.isOpen() {
		s.intake = intake{}
		return
	}
	if !conn.Paused() && !conn.Yields() {
		switch {
		case !begun:
			conn.Since = 0
		case conn.Since == 0:
			conn.Since = clock(conn)
			m.beat() // the alarm may be too late
		}
	}
	s.pace(m, conn, n)
}
