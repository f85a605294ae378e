package door

import (
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// slowRead is for how long a device that has published is not read while memory runs out. It
// is read again then, whatever the memory: what it acknowledges frees some.
const slowRead = time.Second

// intake is what a device has sent since it was charged for it. Owned by the loop, for the
// connection whose bytes are being read.
type intake struct{ arrived, published int }

// Note counts a packet. Each filter of a subscription counts as one: it costs as much.
func (i *intake) Note(publication bool, filters int) {
	i.arrived += max(1, filters)
	if publication {
		i.published++
	}
}

// chargeAfter is how many packets are handled of what was read at once before their device is
// charged: when it is above its rate, the others wait, and the loop goes on to other devices.
const chargeAfter = 8

// slice is how long the loop handles what was read at once of one device, unless a test says
// otherwise: then it goes on to others first.
const slice = 500 * time.Microsecond

// turn is that of the connection whose bytes are being handled.
type turn struct{ began time.Duration } // since guard.start; 0 before the first chargeAfter packets

// AfterPacket runs when a whole packet was handled: the next one has its time anew, and a device that sends
// much gives way to others.
func (c *Conn) AfterPacket() {
	c.conn.Since = 0
	s := c.shard
	if c.phase != Attached || s.arrived < chargeAfter {
		return
	}
	c.pace(0) // bytes are charged at the end
	switch now := time.Since(s.door.guard.start); {
	case s.turn.began == 0:
		s.turn.began = now
	case now-s.turn.began > s.door.Config.Slice:
		c.conn.Yield()
	}
}

// clock is the loop's in milliseconds, never 0; only differences count, of 49 days at most.
func clock(conn *reactor.Conn) uint32 { return uint32(conn.Loop().Clock().Milliseconds()) | 1 }

// AfterRead runs when every complete packet of the last read was handled: n bytes of it. It notes whether a
// message has begun, and charges the device. Conn.Since is when the message began that is unfinished, 0 when
// none is.
func (c *Conn) AfterRead(n int, begun bool) {
	s, conn := c.shard, c.conn
	s.turn = turn{}
	if c.phase != Attached {
		s.intake = intake{}
		return
	}
	if !conn.Paused() && !conn.Yields() {
		switch {
		case !begun:
			conn.Since = 0
		case conn.Since == 0:
			conn.Since = clock(conn)
			c.Beat() // the alarm may be too late
		}
	}
	c.pace(n)
}

// charge charges a device for what was read of it, and returns for how long it is not to be
// read, or the rule by which it is closed.
func (s *Shard) charge(conn *reactor.Conn, bytes int) (wait time.Duration, over *wire.Close) {
	g, published := s.door.guard, s.published > 0
	if wait = s.Draw(conn, bytes); wait > 0 {
		if g.config.Device.Above == limit.Disconnect {
			return 0, wire.CloseRate
		}
		s.slow(conn, slowedByRate)
	}
	if published && g.memory.Stage() >= limit.SlowReaders {
		s.slow(conn, slowedByMemory)
		wait = max(wait, slowRead)
	}
	return wait, nil
}

// Draw draws what was read of a device from its allowance, and returns how long that is
// exceeded.
func (s *Shard) Draw(conn *reactor.Conn, bytes int) time.Duration {
	g, packets := s.door.guard, s.arrived
	s.intake = intake{}
	if g.allowance.Unlimited() {
		return 0
	}
	return s.guest(conn).bucket.Take(g.allowance, time.Since(g.start), packets, bytes)
}

// slow notes that a device is not read for a while, once until it is read again.
func (s *Shard) slow(conn *reactor.Conn, why int) {
	if conn.Tag&heldByGuard == 0 {
		s.Slowed[why]++
	}
}

// Why devices are not read for a while.
const (
	slowedByRate = iota
	slowedByMemory
	Slowings
)

// SlowingLabels name them for metrics.
var SlowingLabels = [Slowings]string{slowedByRate: "rate", slowedByMemory: "memory"}

// debt is for how long a device that the guard holds is still not to be read.
func (s *Shard) debt(conn *reactor.Conn) time.Duration {
	g := s.door.guard
	if conn.Tag&heldByGuard == 0 || g.allowance.Unlimited() {
		return 0
	}
	return s.guest(conn).bucket.Take(g.allowance, time.Since(g.start), 0, 0)
}

// hold stops the reading of a connection, for one of those who may.
func hold(conn *reactor.Conn, by uint8) {
	conn.Tag |= by
	conn.PauseReading()
}

// release ends a hold, and reports whether the connection is to be read again: nobody else
// holds it. What it has begun has its time anew.
func (s *Shard) release(conn *reactor.Conn, by uint8) bool {
	conn.Tag &^= by
	if !conn.Paused() || conn.Tag&(heldBySession|heldByGuard) != 0 {
		return false
	}
	if conn.Since != 0 {
		conn.Since = clock(conn)
	}
	return true
}

// apart is a part of d, each connection's own: what they do after the same time would else
// come in waves.
func apart(conn *reactor.Conn, d time.Duration) time.Duration {
	return time.Duration(conn.Hash() % uint64(max(1, d)))
}

// pace charges the device for the bytes that were read.
func (c *Conn) pace(bytes int) {
	switch wait, over := c.shard.charge(c.conn, bytes); {
	case c.phase != Attached:
	case over != nil:
		c.own().Fail(over)
	case wait > 0:
		c.rest(wait)
	}
}

// rest has the device not read for a while, each connection for a time of its own.
func (c *Conn) rest(wait time.Duration) {
	hold(c.conn, heldByGuard)
	c.SetAlarm(wait + apart(c.conn, wait/2))
}

// looksPerPacket is how many retained messages that a device is not sent count as one of its
// packets: to look at one costs a small part of handling a packet.
const looksPerPacket = 64

// flush sends what a device is owed, and charges it for what its session looks at in the search for
// what is retained. The search rests while the device is above its rates.
func (c *Conn) flush() {
	s := c.shard
	passed := c.link.Flush(c.conn.Tag&heldByGuard == 0)
	if passed == 0 || c.phase != Attached || s.door.guard.allowance.Unlimited() {
		return
	}
	wait := s.guest(c.conn).bucket.Take(s.door.guard.allowance, time.Since(s.door.guard.start), max(1, passed/looksPerPacket), 0)
	if wait > 0 {
		s.slow(c.conn, slowedByRate)
		c.rest(wait)
	}
}

// StillHeld reports whether the guard still holds the device, and has it read again when it does
// not.
func (c *Conn) StillHeld() bool {
	if debt := c.shard.debt(c.conn); debt > 0 {
		if left, _ := c.stays(); left > 0 {
			c.SetAlarm(debt)
			return true
		}
	}
	if c.conn.Tag&heldByGuard != 0 && c.shard.release(c.conn, heldByGuard) {
		c.own().Resume()
	}
	return false
}
