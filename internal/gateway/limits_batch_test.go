package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/wire/mqtt"
)

// slowly is a gateway whose devices may send one packet a second.
var slowly = settings{gateway: Config{Limits: limit.Config{Device: limit.DeviceConfig{Messages: 1}}}}

// Of what a device has sent at once, the gateway handles a few packets before it looks at the
// device's rate: a full buffer must not keep the loop from other devices.
func TestDeviceRateHoldsWithinOneRead(t *testing.T) {
	const sent, chargeAfter = 100, 8
	check := func(w *world, op string) {
		w.t.Helper()
		w.await("the device to be slowed", func() bool { return w.metric("longline_readers_slowed_total/rate") == 1 })
		if n := w.metric("longline_packets_received_total/" + op); n < 1 || n > chargeAfter {
			w.t.Errorf("%v of %d packets were handled, want %d at most", n, sent, chargeAfter)
		}
	}
	t.Run("json", func(t *testing.T) {
		w := newWorld(t, slowly)
		p := w.greeted("/connect/a")
		var all []byte
		for range sent {
			all = append(all, masked(`{"op":"pub","topic":"t","payload":1}`)...)
		}
		if _, err := p.tcp.Write(all); err != nil {
			t.Fatal(err)
		}
		check(w, "pub")
	})
	eachWay(t, ways[1:], slowly, func(w *mqttWorld) {
		var all []*mqtt.Packet
		for range sent {
			all = append(all, saying("t=1", 0, 0))
		}
		w.client("a").say(all...)
		check(w.world, "publish")
	})
}

// A filter costs what a packet costs, and counts as one.
func TestDeviceRateCountsFilters(t *testing.T) {
	t.Run("json", func(t *testing.T) {
		w := newWorld(t, slowly)
		p := w.greeted("/connect/a")
		p.say(fmt.Sprintf(`{"op":"sub","id":1,"filters":[%s"a/z"]}`, strings.Repeat(`"a/b",`, 4)))
		w.await("the device to be slowed", func() bool { return w.metric("longline_readers_slowed_total/rate") == 1 })
	})
	eachWay(t, ways[1:], slowly, func(w *mqttWorld) {
		subs := []mqtt.Subscription{{Filter: "a/b"}, {Filter: "a/c"}, {Filter: "a/d"}}
		w.client("a").say(&mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: subs})
		w.await("the device to be slowed", func() bool { return w.metric("longline_readers_slowed_total/rate") == 1 })
	})
}

// A device that has sent much at once has the loop for a slice of time, and then others come
// first; nothing is lost, and what it sent keeps its order.
func TestOthersComeBetween(t *testing.T) {
	const sent = 500
	s := settings{gateway: Config{Loops: 1, MaxConnections: 100}, hooks: hooks{slice: 1}} // so few that one loop has them all
	check := func(w *world, say func(topic string, payload int) []byte, conns [2]io.Writer) {
		w.t.Helper()
		inbox := w.subscribe("t/#")
		var all []byte
		for i := range sent {
			all = append(all, say("t/busy", i)...)
		}
		release := w.hold()
		for i, b := range [][]byte{all, say("t/other", 0)} {
			if _, err := conns[i].Write(b); err != nil {
				w.t.Fatal(err)
			}
		}
		release()
		next := 0
		for i, m := range w.take(inbox, sent+1) {
			switch {
			case m.Topic == "t/other" && i > sent/2:
				w.t.Errorf("the other device came after %d messages", i)
			case m.Topic == "t/busy" && string(m.Payload) != fmt.Sprint(next):
				w.t.Fatalf("message %s, want %d", m.Payload, next)
			case m.Topic == "t/busy":
				next++
			}
		}
	}
	t.Run("json", func(t *testing.T) {
		w := newWorld(t, s)
		a, _ := w.rawDevice("a")
		b, _ := w.rawDevice("b")
		say := func(topic string, payload int) []byte {
			return masked(fmt.Sprintf(`{"op":"pub","topic":%q,"payload":%d}`, topic, payload))
		}
		check(w, say, [2]io.Writer{a, b})
	})
	eachWay(t, ways[1:], s, func(w *mqttWorld) {
		a, b := w.client("a"), w.client("b")
		say := func(topic string, payload int) []byte {
			p, err := mqtt.Append(nil, w.way.version, saying(fmt.Sprintf("%s=%d", topic, payload), 0, 0))
			if err != nil {
				w.t.Fatal(err)
			}
			return p
		}
		check(w.world, say, [2]io.Writer{a.conn, b.conn})
	})
}
