package reactor

import (
	"net"
	"testing"
	"time"
)

// A loop that did not run for a minute, with its process stopped, has not read what came
// meanwhile: nobody was silent. It reads first, and no alarm rings before its time.
func TestAlarmsRingAfterReading(t *testing.T) {
	const peers = maxEvents + 100
	const again = 10 * time.Second
	rings := make(chan time.Duration, 2*peers)
	opened := make(chan struct{}, peers)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			opened: func(c *Conn) {
				c.SetAlarm(30 * time.Second)
				opened <- struct{}{}
			},
			onData: func(_ *Conn, p []byte) int { return len(p) },
			onAlarm: func(c *Conn) {
				select {
				case rings <- c.Silence():
				default: // there are too many of them
				}
				c.SetAlarm(again)
			},
		}
	})
	conns := make([]net.Conn, peers)
	for i := range conns {
		conns[i] = connect(t, g)
		await(t, opened, "OnOpen")
	}
	stopped, gone := make(chan struct{}), make(chan struct{})
	g.Loops()[0].Post(TaskFunc(func(l *Loop) {
		close(stopped)
		<-gone
		l.start = l.start.Add(-time.Minute)
	}))
	await(t, stopped, "the loop")
	for _, c := range conns {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
	close(gone)
	for range peers {
		if silence := await(t, rings, "the alarm"); silence > again {
			t.Fatalf("a peer is said to have been silent for %v", silence)
		}
	}
	g.Each(func(*Loop) {})
	if n := len(rings); n > 0 {
		t.Errorf("%d alarms have rung before their time", n)
	}
}
