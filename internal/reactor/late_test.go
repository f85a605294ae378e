package reactor

import (
	"net"
	"testing"
	"time"
)

// crowd connects peers to one loop, whose alarms ring after a short time at first and much later after that.
// rings gets the silence of the peers whose alarms ring.
func crowd(t *testing.T, peers int, after time.Duration) (l *Loop, conns []net.Conn, rings chan time.Duration) {
	rings = make(chan time.Duration, 2*peers)
	opened := make(chan struct{}, peers)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			opened: func(c *Conn) {
				c.SetAlarm(after)
				opened <- struct{}{}
			},
			onData: func(_ *Conn, p []byte) int { return len(p) },
			onAlarm: func(c *Conn) {
				select {
				case rings <- c.Silence():
				default: // there are too many of them
				}
				c.SetAlarm(time.Hour)
			},
		}
	})
	for range peers {
		conns = append(conns, connect(t, g))
		await(t, opened, "OnOpen")
	}
	return g.Loops()[0], conns, rings
}

// stop makes the loop stand still while f runs, and its clock say that d more has passed.
func stop(t *testing.T, l *Loop, d time.Duration, f func()) {
	stopped, gone := make(chan struct{}), make(chan struct{})
	l.Post(TaskFunc(func(l *Loop) {
		close(stopped)
		<-gone
		l.start = l.start.Add(-d)
	}))
	await(t, stopped, "the loop")
	f()
	close(gone)
}

// A loop that did not run for a while has not read what arrived meanwhile, so no peer was silent. It
// reads first, and no alarm rings too early.
func TestAlarmsRingAfterReading(t *testing.T) {
	const after = 900 * time.Millisecond // less than a pause
	l, conns, rings := crowd(t, maxEvents+100, time.Minute)
	stop(t, l, 0, func() {
		for _, c := range l.conns {
			if c != nil {
				c.SetAlarm(after)
			}
		}
	})
	stop(t, l, after, func() {
		for _, c := range conns {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}
	})
	for range conns {
		if silence := await(t, rings, "the alarm"); silence >= after {
			t.Fatalf("a peer is said to have been silent for %v", silence)
		}
	}
	turns(l, 2)
	if n := len(rings); n > 0 {
		t.Errorf("%d alarms have rung before their time", n)
	}
}

// turns waits until the loop has made n turns.
func turns(l *Loop, n int) {
	for range n {
		ran := make(chan struct{})
		l.Post(TaskFunc(func(*Loop) { close(ran) }))
		<-ran
	}
}

// A pause of the process counts for nobody: every timeout has as much time left as before.
func TestPauseDoesNotCount(t *testing.T) {
	l, _, rings := crowd(t, 3, 30*time.Second)
	stop(t, l, time.Minute, func() {})
	turns(l, 3)
	if n := len(rings); n > 0 {
		t.Errorf("%d alarms have rung", n)
	}
	l.Post(TaskFunc(func(l *Loop) {
		for _, c := range l.conns {
			if c != nil {
				rings <- c.Silence()
			}
		}
	}))
	for range 3 {
		if silence := await(t, rings, "a peer"); silence > 30*time.Second {
			t.Errorf("a peer is said to have been silent for %v", silence)
		}
	}
}
