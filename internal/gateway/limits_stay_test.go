package gateway

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// hurried is a gateway with little time for a message, and much for silence.
var hurried = settings{gateway: Config{MessageTimeout: 300 * time.Millisecond, Heartbeat: 30 * time.Millisecond, HeartbeatTimeout: time.Hour}}

// trickle writes what form makes of a byte, slowly, until the connection is closed.
func trickle(c io.Writer, form func(b byte) []byte) {
	for {
		if _, err := c.Write(form('x')); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // the attack itself is slow
	}
}

// A message that never comes to its end does not keep its buffer, however lively the device:
// neither bytes, nor fragments, nor control frames between them buy it time.
func TestUnfinishedMessageIsClosed(t *testing.T) {
	begin := string([]byte{0x01, 0x81, 0, 0, 0, 0, '"'}) // text, not the last fragment
	for name, c := range map[string]struct {
		begin string
		form  func(b byte) []byte
	}{
		"frame":     {string([]byte{0x81, 0xFE, 0xF0, 0, 0, 0, 0, 0}), func(b byte) []byte { return []byte{b} }},
		"fragments": {begin, func(b byte) []byte { return []byte{0x00, 0x81, 0, 0, 0, 0, b} }},
		"pings":     {begin, func(byte) []byte { return []byte{0x89, 0x80, 0, 0, 0, 0} }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, hurried)
			tcp, r := w.rawDevice("a")
			if _, err := io.WriteString(tcp, c.begin); err != nil {
				t.Fatal(err)
			}
			var trickling sync.WaitGroup
			trickling.Go(func() { trickle(tcp, c.form) })
			var end websocket.Event
			_ = frames(r, func(ev websocket.Event) bool { end = ev; return ev.Op != websocket.Close })
			_ = tcp.Close()
			trickling.Wait()
			if end.Op != websocket.Close || end.Code != wire.CloseSlowMessage.Code {
				t.Errorf("at last came %v %d %q", end.Op, end.Code, end.Payload)
			}
			if w.metric("longline_closes_total/message_timeout") != 1 {
				t.Error("it is not counted")
			}
		})
	}
	eachWay(t, fives, hurried, func(w *mqttWorld) {
		p := w.client("a")
		packet, err := mqtt.Append(nil, mqtt.V5, saying("t="+strings.Repeat("x", 10_000), 0, 0))
		if err != nil {
			w.t.Fatal(err)
		}
		p.write(packet[:100])
		var trickling sync.WaitGroup
		trickling.Go(func() { trickle(p.conn, func(b byte) []byte { return []byte{b} }) })
		p.endedWith(mqtt.KeepAliveTimeout)
		_ = p.conn.Close()
		trickling.Wait()
	})
}

// A device that sends one message after the other is never late, although at any time a part
// of one has come, and one that the gateway does not read is not late either.
func TestLateIsOnlyWhoIsRead(t *testing.T) {
	s := hurried
	s.gateway.Limits = limit.Config{Device: limit.DeviceConfig{Bytes: 20_000, ByteBurst: 1000}}
	payload := strings.Repeat("x", 4000)
	t.Run("json", func(t *testing.T) {
		w := newWorld(t, s)
		tcp, r := w.rawDevice("a")
		b := masked(`{"op":"pub","id":1,"topic":"t","qos":1,"payload":"` + payload + `"}`)
		all := append(append(append([]byte(nil), b...), b...), b[:2000]...)
		if _, err := tcp.Write(all); err != nil {
			t.Fatal(err)
		}
		w.await("the device to be slowed", func() bool { return w.metric("longline_readers_slowed_total/rate") > 0 })
		if _, err := tcp.Write(b[2000:]); err != nil {
			t.Fatal(err)
		}
		acks := 0
		err := frames(r, func(ev websocket.Event) bool {
			if strings.Contains(string(ev.Payload), `"ack"`) {
				acks++
			}
			return acks < 3 && ev.Op != websocket.Close
		})
		if acks < 3 {
			t.Errorf("%d of 3 publications were acknowledged: %v", acks, err)
		}
	})
	eachWay(t, fives, s, func(w *mqttWorld) {
		p := w.client("a")
		for range 4 {
			p.publish("t="+payload, 1)
		}
	})
}

// A device that was told that it is closed, and sends on as fast as it can, is not read for as
// long as a close frame is waited for.
func TestFloodAfterTheEnd(t *testing.T) {
	const rate, most = 20_000, 4 << 20
	w := newWorld(t, settings{gateway: Config{Limits: limit.Config{Device: limit.DeviceConfig{Bytes: rate}}}})
	tcp, r := w.rawDevice("a")
	if !w.sessions.Disconnect("a", wire.CloseKicked) {
		t.Fatal("the device is not on line")
	}
	b := []byte(strings.Repeat(string(masked(strings.Repeat("x", 1000))), 50))
	for {
		if _, err := tcp.Write(b); err != nil {
			break
		}
	}
	_ = frames(r, func(websocket.Event) bool { return true })
	w.await("the connection to be gone", func() bool { return w.metric("longline_connections") == 0 })
	if n := w.metric("longline_received_bytes_total"); n > most {
		t.Errorf("%v bytes were read", n)
	}
}
