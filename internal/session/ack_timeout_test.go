package session

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// waitFor is a publication whose publisher waits without a deadline, as one of MQTT 3.1.1.
func (w *world) waitFor(name string) *outcome {
	o := new(outcome)
	m := &message.Message{Topic: name, Payload: []byte("x"), QoS: 1}
	if got, err := w.router.PublishFor(m, router.Publisher{NoDeadline: true, Done: o.set}); !got.Later {
		o.set(err)
	}
	return o
}

// A device that is sent messages and acknowledges none holds its publishers up for a bounded time, and not again until
// it acknowledges something.
func TestAckTimeout(t *testing.T) {
	for _, mqtt := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Config{AckTimeout: time.Minute, InFlight: 2}, store.Limits{Count: 2})
			defer w.close()
			connect := func() *conn {
				if mqtt {
					return w.client("d", Options{ReceiveMaximum: 2}).conn
				}
				return w.connect("d", Options{})
			}
			c := connect()
			if err := c.link.Subscribe("a", 1); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				expect(t, "a publication for which there is room", w.waitFor("a").String(), "taken")
			}
			for c.step() {
			}
			o := w.waitFor("a")
			time.Sleep(59 * time.Second)
			synctest.Wait()
			expect(t, "before its time", o.String(), "waits")
			time.Sleep(15 * time.Second)
			synctest.Wait()
			for c.step() {
			}
			if !slices.Contains(c.log, "close ack_timeout") {
				t.Errorf("the connection saw %q", c.log)
			}
			c.leave("ack_timeout")
			expect(t, "when its time is over", o.String(), "taken")

			c = connect()
			for c.step() {
			}
			expect(t, "before it acknowledges", w.waitFor("a").String(), "taken")
			for c.step() {
			}
			s := c.link.session
			s.mu.Lock()
			s.acknowledged()
			s.mu.Unlock()
			for range 3 {
				o = w.waitFor("a")
			}
			expect(t, "after it has acknowledged", o.String(), "waits")
		})
	}
}
