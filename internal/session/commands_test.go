package session

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// newCommanding makes a world with commands on a store.
func newCommanding(t *testing.T, c command.Config, s storetest.Whole) *world {
	t.Helper()
	found, err := s.TakeValues(store.SpaceCommand)
	if err != nil {
		t.Fatal(err)
	}
	commands := command.Open(c, s, found, slog.Default())
	w := newWorldOn(t, Config{Commands: commands}, s)
	commands.Start(w.manager)
	return w
}

// inCommanding runs a test in a bubble, on a store in memory and on a durable one.
func inCommanding(t *testing.T, c command.Config, test func(t *testing.T, w *world)) {
	for name, open := range map[string]func() storetest.Whole{
		"memory":  func() storetest.Whole { return store.NewMemory(store.Options{}) },
		"durable": func() storetest.Whole { return storetest.NewOnJournal(store.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCommanding(t, c, open())
				test(t, w)
				w.endCommanding()
			})
		})
	}
}

func (w *world) endCommanding() {
	w.manager.Close()
	w.manager.config.Commands.Close()
	synctest.Wait()
}

// command creates a command of the device d.
func (w *world) command(method string, more ...func(*command.Request)) *command.Command {
	w.t.Helper()
	r := &command.Request{Device: "d", Method: method, Payload: []byte("p")}
	for _, change := range more {
		change(r)
	}
	c, _, err := w.manager.config.Commands.Create(context.Background(), r, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// became checks what backends see of a command.
func (w *world) became(c *command.Command, want command.State, attempts uint32) {
	w.t.Helper()
	synctest.Wait()
	now, err := w.manager.config.Commands.Get(c.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	if now.State != want || now.Attempts != attempts {
		w.t.Errorf("%s is %v after %d attempts, want %v after %d", c.Method, now.State, now.Attempts, want, attempts)
	}
}

// sees runs the loop until nothing more happens, and checks what the device saw.
func (c *conn) sees(want ...string) {
	c.world.t.Helper()
	for synctest.Wait(); c.step(); synctest.Wait() {
	}
	c.saw(want...)
}

func (c *conn) answers(x *command.Command, code string) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Reply, ID: x.ID, Err: wire.Error{Code: code}})
}

// Commands that wait for a device leave when it comes, in order and few at a time, and again after a cut.
func TestCommands(t *testing.T) {
	inCommanding(t, command.Config{InFlight: 2}, func(t *testing.T, w *world) {
		var all []*command.Command
		for i := range 4 {
			all = append(all, w.command(fmt.Sprint(i)))
		}
		c := w.connect("d", Options{})
		c.sees(fresh, "call 0(p)", "call 1(p)")
		c.answers(all[0], "")
		c.sees("call 2(p)")
		c.leave("reset")
		w.became(all[0], command.Succeeded, 1)
		w.became(all[1], command.Sent, 1)
		w.became(all[3], command.Queued, 0)
		c = w.connect("d", Options{})
		c.sees(resumed, "call 1(p) again", "call 2(p) again")
		c.answers(all[2], "busy")
		c.sees("call 3(p)")
		w.became(all[2], command.Failed, 2)
		later := w.command("later")
		c.sees()
		c.answers(all[1], "")
		c.sees("call later(p)")
		w.became(later, command.Sent, 1)
	})
}

// A takeover is a cut; what the older connection says counts no more.
func TestCommandsTakeover(t *testing.T) {
	inCommanding(t, command.Config{}, func(t *testing.T, w *world) {
		x := w.command("x")
		old := w.connect("d", Options{})
		old.sees(fresh, "call x(p)")
		c := w.connect("d", Options{})
		old.answers(x, "busy")
		c.sees(resumed, "call x(p) again")
		w.became(x, command.Sent, 2)
		c.answers(x, "")
		w.became(x, command.Succeeded, 2)
	})
}

// A connection that does not take a command is asked again when the device has subscribed; what it takes is not held up.
func TestCommandsRefused(t *testing.T) {
	inCommanding(t, command.Config{}, func(t *testing.T, w *world) {
		x := w.command("x")
		c := &client{&conn{world: w, room: -1, deaf: "the device has not subscribed"}}
		c.attachAs("d", c, Options{})
		c.sees(fresh)
		now, _ := w.manager.config.Commands.Get(x.ID)
		expect(t, "held", now.Held, "the device has not subscribed")
		c.deaf = ""
		c.sees()
		c.subscribe(filter("device/d/call/#", 0))
		c.sees("call x(p)")
		w.became(x, command.Sent, 1)
		c.answers(x, "")

		y := w.command("y")
		c.sees("call y(p)")
		c.sub(1, 0, "a")
		c.sees("ack 1")
		w.became(y, command.Sent, 1)
	})
}

// A command waits while the socket is full, while the protocol has no calls, and while nobody is there.
func TestCommandsWait(t *testing.T) {
	inCommanding(t, command.Config{}, func(t *testing.T, w *world) {
		x := w.command("x")
		raw := &conn{world: w, room: -1, raw: true}
		raw.attach("d", Options{})
		raw.sees(fresh)
		raw.leave("reset")
		c := &conn{world: w}
		c.attach("d", Options{})
		c.sees(resumed)
		c.room = -1
		c.link.Flush(true) // the socket has drained
		c.sees("call x(p)")
		w.became(x, command.Sent, 1)
		c.answers(x, "")
		c.leave("reset")
		w.manager.SendCommands("d")
		w.manager.SendCommands("nobody")
		expect(t, "online", w.manager.Online("d") || w.manager.Online("nobody"), false)
	})
}

// Commands that expire or are cancelled make room for others.
func TestCommandsEnd(t *testing.T) {
	inCommanding(t, command.Config{InFlight: 1}, func(t *testing.T, w *world) {
		c := w.connect("d", Options{})
		x, y := w.command("x"), w.command("y")
		c.sees(fresh, "call x(p)")
		if _, err := w.manager.config.Commands.Cancel(context.Background(), x.ID); err != nil {
			t.Error(err)
		}
		c.sees("call y(p)")
		z := w.command("z")
		time.Sleep(59 * time.Minute)
		w.command("last")
		time.Sleep(2 * time.Minute)
		c.sees("call last(p)")
		w.became(x, command.Unknown, 1)
		w.became(y, command.Unknown, 1)
		w.became(z, command.Expired, 0)
		c.answers(x, "")
		c.sees()
		now, _ := w.manager.config.Commands.Get(x.ID)
		expect(t, "late", now.Late != nil, true)
	})
}

// A command outlives a restart of the node, and a session that has ended.
func TestCommandsRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCommanding(t, command.Config{}, storetest.NewOnJournal(store.Options{}))
		x, y := w.command("x"), w.command("y", func(r *command.Request) { r.Exclusive = true })
		c := w.connect("d", Options{Expiry: new(time.Duration)})
		c.sees(fresh, "call x(p)")
		w.endCommanding()
		w = newCommanding(t, command.Config{}, w.store.(*storetest.OnJournal).Restart(t))
		w.became(x, command.Sent, 1)
		c = w.connect("d", Options{})
		c.sees(fresh, "call x(p) again")
		c.answers(x, "")
		c.sees("call y(p)")
		w.became(x, command.Succeeded, 2)
		w.became(y, command.Sent, 1)
		w.endCommanding()
	})
}

// A call of a backend and a command do not disturb each other.
func TestCommandsAndCalls(t *testing.T) {
	inCommanding(t, command.Config{}, func(t *testing.T, w *world) {
		x := w.command("x")
		c := w.client("d", Options{})
		c.sees(fresh, "call x(p)")
		answer := w.call(t.Context())
		c.sees("call reboot(now)")
		c.reply(1, "done", "")
		if got := <-answer; got.err != nil || string(got.reply.Payload) != "done" {
			t.Errorf("%+v", got)
		}
		c.subscribe(topic.Subscription{Filter: "a"})
		w.became(x, command.Sent, 1)
		c.answers(x, "")
		w.became(x, command.Succeeded, 1)
	})
}

// The loop of a device is not held up by many commands.
func TestCommandsManyAtOnce(t *testing.T) {
	inCommanding(t, command.Config{InFlight: 1000, PerDevice: 1000}, func(t *testing.T, w *world) {
		for range 100 {
			w.command("m")
		}
		c := &conn{world: w}
		c.attach("d", Options{})
		c.sees(fresh)
		c.room = -1
		c.link.Flush(true)
		before := 0
		for synctest.Wait(); ; synctest.Wait() {
			if n := len(c.log) - before; n > commandsAtOnce {
				t.Errorf("%d calls in one turn", n)
			}
			if before = len(c.log); !c.step() {
				break
			}
		}
		expect(t, "calls", len(c.log), 100)
	})
}
