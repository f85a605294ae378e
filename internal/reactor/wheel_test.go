package reactor

import (
	"math/rand/v2"
	"testing"
)

// A model test: whatever is set, moved and removed, each connection rings exactly at the
// tick that it was last set to.
func TestWheelRingsEachAtItsTick(t *testing.T) {
	const n = 500
	r := rand.New(rand.NewPCG(1, 2))
	conns := make([]*Conn, n+1)
	w := &wheel{conns: &conns}
	due := make(map[*Conn]uint32) // the model
	ring := func(c *Conn) {
		if due[c] != w.now {
			t.Fatalf("descriptor %d rang at %d, want %d", c.fd, w.now, due[c])
		}
		delete(due, c)
	}
	for fd := int32(1); fd <= n; fd++ {
		conns[fd] = &Conn{fd: fd}
	}
	for now := uint32(0); now < 20*wheelSlots; {
		for range 20 {
			c := conns[1+r.IntN(n)]
			if r.IntN(4) == 0 {
				w.unlink(c)
				delete(due, c)
				continue
			}
			due[c] = now + 1 + uint32(r.IntN(3*wheelSlots))
			w.set(c, due[c])
		}
		now += uint32(1 + r.IntN(wheelSlots/4))
		w.advance(now, ring)
		for c, d := range due {
			if d <= now {
				t.Fatalf("descriptor %d, due at %d, has not rung at %d", c.fd, d, now)
			}
		}
	}
}

func TestWheelUntilNext(t *testing.T) {
	conns := make([]*Conn, 3)
	w := &wheel{conns: &conns}
	if n := w.untilNext(); n != wheelSlots {
		t.Errorf("empty wheel: %d", n)
	}
	for _, now := range []uint32{0, 1, 62, 63, 64, 1000, 1023, 1024, 5000} {
		for _, d := range []uint32{1, 2, 63, 64, 65, 500, wheelSlots - 1} {
			w.now = now
			conns[1] = &Conn{fd: 1}
			w.set(conns[1], now+d)
			if n := w.untilNext(); n != d {
				t.Errorf("at %d, alarm in %d: untilNext %d", now, d, n)
			}
			w.unlink(conns[1])
		}
	}
}
