package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire/mqtt"
)

// commandWorld is an MQTT world whose node keeps commands.
type commandWorld struct {
	*mqttWorld
	commands *command.Manager
}

// eachCommandWay runs a test for 3.1.1 and 5, over all carriers.
func eachCommandWay(t *testing.T, test func(w *commandWorld)) {
	for _, y := range ways[1:] {
		commands := command.Open(command.Config{}, store.NewMemory(store.Options{}), nil, slog.Default())
		s := settings{}
		s.sessions.Commands = commands
		eachWay(t, []way{y}, s, func(w *mqttWorld) {
			commands.Start(w.sessions)
			w.t.Cleanup(commands.Close)
			test(&commandWorld{w, commands})
		})
	}
}

// command creates a command of the device cp.
func (w *commandWorld) command(method string) *command.Command {
	w.t.Helper()
	r := &command.Request{Device: "cp", Method: method, Payload: []byte("hard"), ContentType: "text/plain"}
	c, _, err := w.commands.Create(context.Background(), r, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// becomes waits until a command is what done wants, and returns it.
func (w *commandWorld) becomes(c *command.Command, done func(*command.Command) bool) *command.Command {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		now, err := w.commands.Get(c.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		if done(now) {
			return now
		}
		if err := w.commands.Wait(ctx, now.Place); err != nil {
			w.t.Fatalf("%+v: %v", now, err)
		}
	}
}

func ended(c *command.Command) bool { return c.State.Ended() }

// takeCommand takes the call of a command, checks how it says that it comes again, and returns the reply.
func (p *mqttPeer) takeCommand(c *command.Command, again, refused bool) *mqtt.Packet {
	p.t.Helper()
	call := p.take(mqtt.Publish)
	number := fmt.Sprint(c.ID)
	if p.version == mqtt.V5 {
		var want []message.Property
		if again {
			want = []message.Property{{Key: "again", Value: "true"}}
		}
		if got := call.Properties.User; fmt.Sprint(got) != fmt.Sprint(want) {
			p.t.Errorf("properties %v, want %v", got, want)
		}
		if string(call.Properties.CorrelationData) != number {
			p.t.Errorf("number %s, want %s", call.Properties.CorrelationData, number)
		}
		return p.answer(call, refused)
	}
	topic := "device/cp/call/reset/" + number
	if again {
		topic += "/again"
	}
	if call.Topic != topic {
		p.t.Errorf("topic %s, want %s", call.Topic, topic)
	}
	call.Topic = strings.TrimSuffix(call.Topic, "/again")
	return p.answer(call, refused)
}

// A command waits for an MQTT device and for its subscription, comes again after a cut, and is answered like a call.
func TestMQTTCommand(t *testing.T) {
	eachCommandWay(t, func(w *commandWorld) {
		done, refused := w.command("reset"), w.command("reset")
		p := w.client("cp")
		p.quiet()
		if now, _ := w.commands.Get(done.ID); !strings.HasPrefix(now.Held, "the device has not subscribed to device/cp/call/reset") {
			w.t.Errorf("%+v", now)
		}
		p.hear(1, "device/cp/call/#")
		p.say(p.takeCommand(done, false, false))
		p.takeCommand(refused, false, false) // the reply is lost
		_ = p.conn.Close()
		w.awaitPresence("cp", false)
		p = w.client("cp")
		p.hear(1, "device/cp/call/#")
		p.say(p.takeCommand(refused, true, true))
		if c := w.becomes(done, ended); c.State != command.Succeeded || string(c.Answer.Payload) != "done" || c.Attempts != 1 {
			w.t.Errorf("%+v", c)
		}
		if c := w.becomes(refused, ended); c.State != command.Failed || c.Answer.Err.Reason != "no" || c.Attempts != 2 {
			w.t.Errorf("%+v", c)
		}
	})
}

// A command that is larger than the device takes is not sent without what makes it too large, and does not hold up others.
func TestMQTTCommandTooLarge(t *testing.T) {
	commands := command.Open(command.Config{}, store.NewMemory(store.Options{}), nil, slog.Default())
	s := settings{}
	s.sessions.Commands = commands
	eachWay(t, fives[:1], s, func(mw *mqttWorld) {
		w := &commandWorld{mw, commands}
		commands.Start(w.sessions)
		w.t.Cleanup(commands.Close)
		large, small := w.command("reset"+strings.Repeat("x", 100)), w.command("reset")
		p := w.dial()
		hello := opening("cp")
		hello.Properties.MaximumPacket = 150
		p.say(hello)
		p.take(mqtt.Connack)
		p.hear(1, "device/cp/call/#")
		p.say(p.takeCommand(small, false, false))
		w.becomes(small, ended)
		now, _ := w.commands.Get(large.ID)
		if now.State != command.Queued || now.Held != "the call is larger than the device's Maximum Packet Size" {
			w.t.Errorf("%+v", now)
		}
	})
}
