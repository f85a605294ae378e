package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/wire"
)

// called is what a caller got.
type called struct {
	reply devices.Reply
	err   error
}

// call calls the device d and lets the packet reach it.
func (w *world) call(ctx context.Context) chan called {
	c := make(chan called, 1)
	go func() {
		r, err := w.manager.Call(ctx, "d", "reboot", []byte("now"), "text/plain")
		c <- called{r, err}
	}()
	synctest.Wait()
	return c
}

// reply answers the call that came first, or again.
func (c *conn) reply(n int, payload, code string) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Reply, ID: c.owed[n], Payload: []byte(payload), Err: wire.Error{Code: code}})
}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{MaxCalls: 2})
		c := w.connect("d", Options{})
		first, second := w.call(t.Context()), w.call(t.Context())
		expect(t, "third", (<-w.call(t.Context())).err, devices.ErrTooManyCalls)
		c.saw("hello resumed=false missed=0", "call reboot(now)", "call reboot(now)")
		c.reply(1, "", "busy") // in any order
		c.reply(0, "done", "")
		c.reply(0, "again", "")
		one, two := <-first, <-second
		if one.err != nil || two.err != nil {
			t.Fatal(one.err, two.err)
		}
		if string(one.reply.Payload)+string(two.reply.Payload) != "done" || one.reply.Err.Code+two.reply.Err.Code != "busy" {
			t.Errorf("%+v, %+v", one, two)
		}
		synctest.Wait()
		if c.link.session.calls != nil {
			t.Error("an idle session holds calls")
		}
	})
}

func TestCallUnanswered(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*world, *conn, context.CancelFunc)
		want error
	}{
		"deadline":   {func(*world, *conn, context.CancelFunc) { time.Sleep(time.Minute) }, devices.ErrNoAnswer},
		"caller":     {func(_ *world, _ *conn, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"connection": {func(_ *world, c *conn, _ context.CancelFunc) { c.leave("reset") }, devices.ErrLost},
		"takeover":   {func(w *world, _ *conn, _ context.CancelFunc) { w.connect("d", Options{}) }, devices.ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{})
				device := w.connect("d", Options{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				answer := w.call(ctx)
				device.step()
				c.then(w, device, cancel)
				expect(t, "error", (<-answer).err, c.want)
				device.reply(0, "late", "")
				if device.link.session.calls != nil {
					t.Error("the call is still there")
				}
			})
		})
	}
}

func TestCallGivenUpIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		c := w.connect("d", Options{})
		ctx, cancel := context.WithCancel(t.Context())
		answer := w.call(ctx)
		cancel()
		<-answer
		synctest.Wait()
		expect(t, "canceled before", (<-w.call(ctx)).err, context.Canceled)
		c.saw("hello resumed=false missed=0")
	})
}

func TestCallTimeoutReachesTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		c := &caller{quiet: &quiet{}, calls: make(chan time.Duration, 1)}
		if _, _, err := w.manager.attachNow("d", &c.link, c, Options{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.call(ctx)
		expect(t, "timeout", <-c.calls, time.Minute)
	})
}

// caller is a connection whose loop is a goroutine for each call.
type caller struct {
	*quiet
	calls chan time.Duration
}

func (c *caller) Do(f func()) bool { go f(); return true }
func (c *caller) Call(p *wire.Packet) (refused string) {
	c.calls <- p.Timeout
	return ""
}

func TestCallImpossible(t *testing.T) {
	w := newWorld(t, Config{})
	call := func() error {
		_, err := w.manager.Call(t.Context(), "d", "m", nil, "")
		return err
	}
	expect(t, "no session", call(), devices.ErrUnknown)
	c := w.connect("d", Options{})
	c.mu.Lock()
	c.ended = true // the connection has ended, its session does not know yet
	c.mu.Unlock()
	expect(t, "ended", call(), devices.ErrOffline)
	c.leave("reset")
	expect(t, "away", call(), devices.ErrOffline)
	raw := &conn{world: w, room: -1, raw: true}
	raw.attach("d", Options{})
	if err := call(); !errors.Is(err, devices.ErrNotCallable) {
		t.Error(err)
	}
}

func TestReplyOfAnOlderConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		old, c := w.connect("d", Options{}), w.connect("d", Options{})
		answer := w.call(t.Context())
		c.step()
		old.owed = c.owed
		old.reply(0, "old", "")
		c.reply(0, "new", "")
		expect(t, "reply", string((<-answer).reply.Payload), "new")
	})
}

// A call that the connection does not take is refused at once; one that is ending answers it by its end.
func TestCallRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		c := &conn{world: w, room: -1, deaf: "too large"}
		c.attach("d", Options{})
		answer := w.call(t.Context())
		c.step()
		c.step()
		expect(t, "code", (<-answer).reply.Err, wire.Error{Code: CodeNotCallable, Reason: "too large"})
		c.deaf = Ending
		answer = w.call(t.Context())
		c.step()
		c.leave("reset")
		expect(t, "error", (<-answer).err, devices.ErrLost)
	})
}
