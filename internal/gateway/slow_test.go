package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// narrow connects a socket whose kernel holds few bytes that the device has not read.
func (w *world) narrow(addr string) net.Conn {
	w.t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
		return err
	}}
	c, err := d.DialContext(w.t.Context(), "tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// lagging connects a JSON device that is subscribed to everything and reads no more after that.
func (w *world) lagging(device, sub string) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c := w.narrow(w.gateway.Addr().String())
	if _, err := io.WriteString(c, upgrade("/connect/"+device)); err != nil {
		w.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = response.Body.Close() // there is none
	if _, err := c.Write(masked(sub)); err != nil {
		w.t.Fatal(err)
	}
	w.await(device+" to subscribe", func() bool {
		info, _ := w.sessions.Get(device)
		return len(info.Subscriptions) == 1
	})
	return c, r
}

// publish is a backend's publication, of n bytes.
func (w *world) publish(topic string, n int, q message.QoS, payload string) {
	w.t.Helper()
	m := &message.Message{Topic: topic, Payload: []byte(payload + strings.Repeat(" ", n)), ContentType: message.JSON, QoS: q}
	if _, err := w.router.Publish(m, nil); err != nil {
		w.t.Fatal(err)
	}
}

// turns has every loop do what was posted to it.
func (w *world) turns() {
	for range 3 { // a post, what it posts, and what comes of that
		w.gateway.group.Each(func(*reactor.Loop) {})
	}
}

// pending is what the only device has.
func (w *world) pending() int {
	var n atomic.Int64
	w.gateway.group.Each(func(l *reactor.Loop) {
		l.Handlers(func(h reactor.Handler) bool {
			n.Add(int64(door.HandlerOf(h).Base().Transport().Pending()))
			return true
		})
	})
	return int(n.Load())
}

// hold stops the loops until release is called.
func (w *world) hold() (release func()) {
	var stopped sync.WaitGroup
	stopped.Add(len(w.gateway.group.Loops()))
	held, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		w.gateway.group.Each(func(*reactor.Loop) { stopped.Done(); <-held })
	}()
	stopped.Wait()
	return func() { close(held); <-done }
}

const everything = `{"op":"sub","id":1,"filters":["t/#"],"qos":1}`

// A command that is sent while a bulk transfer is on its way comes behind what is pending and
// what the kernels hold, however much the session is owed: within the time that the link takes
// for so many bytes. Nothing else changes places.
func TestCommandOvertakesBulk(t *testing.T) {
	const messages, begun, size = 1000, 300, 1000
	const most = 64 << 10 // bytes: pending, what the kernel has not sent, and the peer's buffer
	w := newWorld(t, settings{gateway: Config{Loops: 1}})
	_, r := w.lagging("d", everything)
	release := w.hold()
	for i := range messages {
		w.publish("t/bulk", size, 0, fmt.Sprint(i))
	}
	release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan error, 1)
	got, before, called := 0, 0, false
	err := frames(r, func(ev websocket.Event) bool {
		var p packet
		_ = json.Unmarshal(ev.Payload, &p) // what is neither is passed over
		switch p.Op {
		case "call":
			called = true
		case "msg":
			if p.Payload != got {
				t.Fatalf("message %d, want %d", p.Payload, got)
			}
			if got++; got == begun {
				full := w.pending()
				w.await("the socket to be full", func() bool {
					was := full
					w.turns()
					full = w.pending()
					return full > 0 && full == was
				})
				go func() {
					_, err := w.sessions.Call(ctx, "d", "stop", nil, "")
					answered <- err
				}()
				w.await("the call", func() bool { return w.pending() > full })
			}
			if got > begun && !called {
				before += len(ev.Payload)
			}
		}
		return got < messages
	})
	if err != nil || !called || before > most {
		t.Errorf("called %v after %d bytes, want at most %d of %d; %v", called, before, most, (messages-begun)*size, err)
	}
	cancel()
	if err := <-answered; err == nil {
		t.Error("the call is answered")
	}
}

// All that is owed leaves, also when a socket takes at once what has filled the pending buffer.
func TestNothingStopsAtPendingBytes(t *testing.T) {
	const messages = 40
	w := newWorld(t, settings{gateway: Config{Loops: 1}})
	p := w.greeted("/connect/d", "t/#")
	release := w.hold()
	for i := range messages {
		w.publish("t/bulk", 20_000, 0, fmt.Sprint(i))
	}
	release()
	for i := range messages {
		if got := p.nextPacket(); got.Payload != i {
			t.Fatalf("%+v, want message %d", got, i)
		}
	}
}

// Of what a device did not take, it gets the newest of each topic.
func TestConflation(t *testing.T) {
	const rounds = 100
	w := newWorld(t, settings{gateway: Config{Loops: 1, MQTT: MQTT{Listen: "127.0.0.1:0"}}})
	d := w.greeted("/connect/d")
	d.say(`{"op":"sub","id":1,"filters":["t/+"],"conflate":true}`)
	d.expectAcks(1, 1)
	five := &mqttWorld{w, way{mqtt.V5, "tcp"}}
	m := five.client("m")
	subscribe := &mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t/+"}}}
	subscribe.Properties.User = []message.Property{{Key: "conflate", Value: "true"}}
	m.say(subscribe)
	m.take(mqtt.Suback)
	release := w.hold()
	for round := range rounds {
		for _, name := range []string{"t/a", "t/b"} {
			w.publish(name, 0, 0, fmt.Sprint(round))
		}
	}
	release()
	for range 2 {
		if got := d.nextPacket(); got.Payload != rounds-1 {
			t.Errorf("%+v, want the newest", got)
		}
		if got := m.take(mqtt.Publish); string(got.Payload) != fmt.Sprint(rounds-1) {
			t.Errorf("%s=%s, want the newest", got.Topic, got.Payload)
		}
	}
	d.quiet()
	if n := w.metric("longline_messages_dropped_total/conflated"); n != 2*2*(rounds-1) {
		t.Errorf("%v conflated", n)
	}
}

// A device that takes nothing of what is pending is closed and told why, and is owed the rest.
func TestSlowConsumer(t *testing.T) {
	const messages, size, stall = 500, 1000, 300 * time.Millisecond
	w := newWorld(t, settings{
		gateway:  Config{Loops: 1, StallTimeout: stall, MQTT: MQTT{Listen: "127.0.0.1:0"}},
		sessions: session.Config{InFlight: messages},
	})
	_, r := w.lagging("d", everything)
	m := w.narrow(w.gateway.MQTTAddr().String())
	var hello []byte
	for _, p := range []*mqtt.Packet{
		opening("m"),
		{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t/#"}}},
	} {
		p.Connect.Version = mqtt.V5
		hello, _ = mqtt.Append(hello, mqtt.V5, p)
	}
	if _, err := m.Write(hello); err != nil {
		t.Fatal(err)
	}
	w.await("m to subscribe", func() bool {
		info, _ := w.sessions.Get("m")
		return len(info.Subscriptions) == 1
	})
	start := time.Now()
	for i := range messages {
		w.publish("t/bulk", size, 1, fmt.Sprint(i))
	}
	w.await("both to be closed", func() bool { return w.gateway.tally().Closes["slow_consumer"] == 2 })
	if took := time.Since(start); took < stall {
		t.Errorf("closed after %v", took)
	}
	if info, _ := w.sessions.Get("d"); info.Queued != messages {
		t.Errorf("%d messages are owed, want %d", info.Queued, messages)
	}
	var end websocket.Event
	_ = frames(r, func(ev websocket.Event) bool {
		end = ev
		return ev.Op != websocket.Close
	})
	if end.Op != websocket.Close || end.Code != 4006 {
		t.Errorf("at last came %v %d", end.Op, end.Code)
	}
	var last mqtt.Packet
	rest, _ := io.ReadAll(m)
	for n, decoder := 1, (mqtt.Decoder{Version: mqtt.V5}); n > 0; rest = rest[n:] {
		if n, _ = decoder.Decode(&last, rest); n == len(rest) {
			break
		}
	}
	if last.Type != mqtt.Disconnect || last.Reason != mqtt.QuotaExceeded {
		t.Errorf("at last came %v %v, want DISCONNECT", last.Type, last.Reason)
	}
}

// What is pending leaves before the close frame, and what is not acknowledged stays.
func TestDrainFlushes(t *testing.T) {
	const messages, size = 500, 1000
	w := newWorld(t, settings{gateway: Config{Loops: 1}, sessions: session.Config{InFlight: messages}})
	_, r := w.lagging("d", everything)
	for i := range messages {
		w.publish("t/bulk", size, 1, fmt.Sprint(i))
	}
	w.turns()
	pending := w.pending()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- w.gateway.Drain(ctx) }()
	w.awaitPresence("d", false)
	got, bytes := 0, 0
	var end websocket.Event
	_ = frames(r, func(ev websocket.Event) bool {
		var p packet
		if json.Unmarshal(ev.Payload, &p) == nil && p.Op == "msg" {
			if p.Payload != got {
				t.Fatalf("message %d, want %d", p.Payload, got)
			}
			got++
		}
		end, bytes = ev, bytes+len(ev.Payload)
		return ev.Op != websocket.Close
	})
	if end.Code != 1012 || pending == 0 || bytes < pending {
		t.Errorf("closed with %d after %d bytes, %d of which were pending", end.Code, bytes, pending)
	}
	if info, _ := w.sessions.Get("d"); info.Queued != messages {
		t.Errorf("%d messages are owed, want %d", info.Queued, messages)
	}
	cancel() // the device does not answer the close frame
	if err := <-drained; !errors.Is(err, context.Canceled) {
		t.Errorf("the drain ended with %v", err)
	}
}
