package door

import (
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// slowRead is how long the gateway does not read a device that has published while memory is short. Then it reads the
// device again, because the acknowledgements of the device free memory.
const slowRead = time.Second

// intake counts what a device has sent since it was last charged. Owned by the loop, for the connection whose bytes it
// is handling.
type intake struct{ arrived, published int }

// CountPacket counts a packet. Each filter of a subscription counts as one packet, because it costs as much.
func (i *intake) CountPacket(publication bool, filters int) {
	i.arrived += max(1, filters)
	if publication {
		i.published++
	}
}

// chargeAfter is how many packets of one read are handled before their device is charged. If the device is then above
// its rate, the other packets wait, and the loop continues with other devices.
const chargeAfter = 8

// slice is how long a loop handles one read of a device, if Config.Slice is 0. Then it continues with other devices
// first.
const slice = 500 * time.Microsecond

// turn says when the loop began to handle the current read.
type turn struct{ began time.Duration } // since guard.start; 0 before the first chargeAfter packets

// AfterPacket runs when a complete packet was handled. It ends the time limit of that packet, and yields to other
// devices if this one has sent much.
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

// clock returns the loop's clock in milliseconds, never 0. Only differences count, of 49 days at most.
func clock(conn *reactor.Conn) uint32 { return uint32(conn.Loop().Clock().Milliseconds()) | 1 }

// AfterRead runs when every complete packet of the last read was handled; n is the bytes consumed. begun reports
// whether a packet has begun that is incomplete: then its time limit begins, see reactor.Conn.Since. AfterRead charges
// the device.
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
			c.Check() // the alarm may be too late
		}
	}
	c.pace(n)
}

// charge charges a device for what was read. It returns how long the device is not to be read, or the rule by which
// the connection is closed.
func (s *Shard) charge(conn *reactor.Conn, bytes int) (wait time.Duration, over *wire.Close) {
	g, published := s.door.guard, s.published > 0
	if wait = s.TakeTokens(conn, bytes); wait > 0 {
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

// TakeTokens takes tokens for what was read from the device's bucket, and returns how long the device is above its
// rate.
func (s *Shard) TakeTokens(conn *reactor.Conn, bytes int) time.Duration {
	g, packets := s.door.guard, s.arrived
	s.intake = intake{}
	if g.allowance.Unlimited() {
		return 0
	}
	return s.limitState(conn).bucket.Take(g.allowance, time.Since(g.start), packets, bytes)
}

// slow counts that a device is not read for a while, once until it is read again.
func (s *Shard) slow(conn *reactor.Conn, why int) {
	if conn.Tag&heldByGuard == 0 {
		s.Slowed[why]++
	}
}

// The reasons why a device is not read for a while.
const (
	slowedByRate = iota
	slowedByMemory
	Slowings
)

// SlowingLabels are their labels in metrics.
var SlowingLabels = [Slowings]string{slowedByRate: "rate", slowedByMemory: "memory"}

// debt returns how long a device that the guard holds must still wait to be read.
func (s *Shard) debt(conn *reactor.Conn) time.Duration {
	g := s.door.guard
	if conn.Tag&heldByGuard == 0 || g.allowance.Unlimited() {
		return 0
	}
	return s.limitState(conn).bucket.Take(g.allowance, time.Since(g.start), 0, 0)
}

// hold stops reading a connection; by is the bit of the holder.
func hold(conn *reactor.Conn, by uint8) {
	conn.Tag |= by
	conn.PauseReading()
}

// release ends a hold, and reports whether the connection may be read again because nobody else holds it. An
// incomplete message gets its whole time limit again.
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

// jitter returns a part of d that is different for each connection, so that what they do after the same time is
// spread.
func jitter(conn *reactor.Conn, d time.Duration) time.Duration {
	return time.Duration(conn.Hash() % uint64(max(1, d)))
}

// pace charges the device for the bytes that were read, and makes it wait or closes it if necessary.
func (c *Conn) pace(bytes int) {
	switch wait, over := c.shard.charge(c.conn, bytes); {
	case c.phase != Attached:
	case over != nil:
		c.handler().Fail(over)
	case wait > 0:
		c.pauseFor(wait)
	}
}

// pauseFor stops reading the device for a while, each connection for a time of its own.
func (c *Conn) pauseFor(wait time.Duration) {
	hold(c.conn, heldByGuard)
	c.SetAlarm(wait + jitter(c.conn, wait/2))
}

// looksPerPacket is how many retained messages that the session looks at and does not send count as one packet of the
// device: one look costs a small part of a packet.
const looksPerPacket = 64

// flush sends the device its queued messages, and charges it for the retained messages that its session looks at. The
// search stops while the device is above its rate.
func (c *Conn) flush() {
	s := c.shard
	passed := c.link.Flush(c.conn.Tag&heldByGuard == 0)
	if passed == 0 || c.phase != Attached || s.door.guard.allowance.Unlimited() {
		return
	}
	wait := s.limitState(c.conn).bucket.Take(s.door.guard.allowance, time.Since(s.door.guard.start), max(1, passed/looksPerPacket), 0)
	if wait > 0 {
		s.slow(c.conn, slowedByRate)
		c.pauseFor(wait)
	}
}

// StillHeld reports whether the guard still holds the device. If not, it makes the connection read again.
func (c *Conn) StillHeld() bool {
	if debt := c.shard.debt(c.conn); debt > 0 {
		if left, _ := c.mayStay(); left > 0 {
			c.SetAlarm(debt)
			return true
		}
	}
	if c.conn.Tag&heldByGuard != 0 && c.shard.release(c.conn, heldByGuard) {
		c.handler().Resume()
	}
	return false
}
