package reactor

import (
	"math/bits"
	"time"
)

const (
	tick       = 100 * time.Millisecond // resolution of alarms
	wheelSlots = 1024                   // 102 s; alarms beyond are linked at the last slot and moved on

	longAlarm   = 5 * time.Second
	sharedTicks = 5                        // long alarms are due at multiples of it
	farAlarm    = 5 * 365 * 24 * time.Hour // ticks are compared modulo 2^32, so within 2^31, which is 6.8 years
)

// wheel is the timing wheel of a loop: lists of connections by the tick at which to check
// them. A connection has one alarm. Postponing it costs nothing: the connection stays
// linked where it is and is moved when that slot comes. The lists are linked through the
// connections by descriptor, so an alarm needs no memory of its own.
type wheel struct {
	now   uint32            // current tick
	heads [wheelSlots]int32 // first descriptor of the slot's list; 0 is none (descriptor 0 is never a connection)
	used  [wheelSlots / 64]uint64
	conns *[]*Conn
}

// set moves c's alarm to the tick due, which is after now.
func (w *wheel) set(c *Conn, due uint32) {
	c.due = due
	if c.linked {
		if int32(due-c.slot) >= 0 {
			return // lazily: it is moved when its slot comes
		}
		w.unlink(c)
	}
	w.link(c)
}

func (w *wheel) link(c *Conn) {
	c.slot = c.due
	if c.slot-w.now >= wheelSlots {
		c.slot = w.now + wheelSlots - 1
	}
	i := c.slot % wheelSlots
	c.prev, c.next = 0, w.heads[i]
	if c.next != 0 {
		(*w.conns)[c.next].prev = c.fd
	}
	w.heads[i] = c.fd
	w.used[i/64] |= 1 << (i % 64)
	c.linked = true
}

func (w *wheel) unlink(c *Conn) {
	if !c.linked {
		return
	}
	c.linked = false
	if c.next != 0 {
		(*w.conns)[c.next].prev = c.prev
	}
	if c.prev != 0 {
		(*w.conns)[c.prev].next = c.next
		return
	}
	i := c.slot % wheelSlots
	w.heads[i] = c.next
	if c.next == 0 {
		w.used[i/64] &^= 1 << (i % 64)
	}
}

// advance moves the wheel to the tick now and calls ring for each connection that is due.
// ring may set alarms and close connections.
func (w *wheel) advance(now uint32, ring func(*Conn)) {
	for w.now != now {
		step := w.untilNext()
		if left := now - w.now; step > left {
			w.now = now
			return
		}
		w.now += step
		i := w.now % wheelSlots
		for fd := w.heads[i]; fd != 0; fd = w.heads[i] {
			c := (*w.conns)[fd]
			w.unlink(c)
			if int32(c.due-w.now) > 0 {
				w.link(c)
				continue
			}
			ring(c)
		}
	}
}

// untilNext returns the ticks until the next used slot, or wheelSlots if there is none.
func (w *wheel) untilNext() uint32 {
	start := (w.now + 1) % wheelSlots
	for k := uint32(0); k <= wheelSlots/64; k++ {
		word := (start/64 + k) % (wheelSlots / 64)
		b := w.used[word]
		if k == 0 {
			b &= ^uint64(0) << (start % 64)
		} else if k == wheelSlots/64 {
			b &= 1<<(start%64) - 1
		}
		if b != 0 {
			slot := word*64 + uint32(bits.TrailingZeros64(b))
			return (slot-start+wheelSlots)%wheelSlots + 1
		}
	}
	return wheelSlots
}
