package gateway

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/wire/mqtt"
)

// beginning is a CONNECT of n bytes that does not come to its end.
func beginning(n int) []byte {
	b := []byte("\x10\xff\x3e\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x01a\x00\x01u\xff\xff")
	return append(b, make([]byte, n-len(b))...)
}

// Before credentials, a CONNECT is as large as any handshake, and all unfinished ones together have a bound.
func TestUnverifiedBytes(t *testing.T) {
	const each = 6000
	for _, carrier := range []string{"tcp", "websocket", "http"} {
		t.Run(carrier, func(t *testing.T) {
			w := &mqttWorld{newWorld(t, settings{gateway: Config{UnverifiedBytes: 3 * each, MQTT: MQTT{Listen: "127.0.0.1:0"}}}), way{mqtt.V5, carrier}}
			begin := func() net.Conn {
				if carrier == "http" {
					c := w.world.dial()
					if _, err := io.WriteString(c, "GET /connect/a HTTP/1.1\r\nX-Long: "+strings.Repeat("x", each)); err != nil {
						t.Fatal(err)
					}
					return c
				}
				p := w.dial()
				if _, err := p.conn.Write(beginning(each)); err != nil {
					t.Fatal(err)
				}
				return p.conn
			}
			var held []net.Conn
			w.await("a refusal", func() bool {
				if len(held) < 10 {
					held = append(held, begin())
				}
				return w.metric("longline_connections_refused_total/unverified_bytes") > 0
			})
			for _, c := range held {
				_ = c.Close()
			}
			w.await("room for others", func() bool { return w.gateway.door.Stats().Unverified == 0 })
			w.greeted("/connect/b")
		})
	}
}

// A CONNECT that is larger than any handshake is not waited for.
func TestConnectIsBounded(t *testing.T) {
	eachWay(t, ways[2:4], settings{}, func(w *mqttWorld) {
		p := w.dial()
		if _, err := p.conn.Write([]byte("\x10\xff\x7f\x00\x04MQTT\x05")); err != nil { // 16 KiB
			t.Fatal(err)
		}
		for range p.packets {
			t.Error("it is answered")
		}
		c := opening("a")
		c.Connect.HasWill = true
		c.Connect.Will.Topic, c.Connect.Will.Payload = "device/a/gone", make([]byte, 7000)
		if _, answer := w.connectAs(c); answer.Reason != mqtt.Success {
			t.Errorf("a will of 7,000 bytes: %v", answer.Reason)
		}
	})
}

// When memory is short, those come in that are owed what fills it, and nobody else.
func TestShortOfMemoryTakesTheCure(t *testing.T) {
	o := newShortOf(t, settings{})
	for _, device := range []string{"owed", "idle"} {
		p, answer := o.connectAs(keeping(device))
		if answer.Reason != mqtt.Success {
			t.Fatal(answer.Reason)
		}
		p.subscribe(mqtt.Subscription{Filter: "to/" + device, QoS: 1})
		_ = p.conn.Close()
		o.await(device+" is away", func() bool { info, ok := o.sessions.Get(device); return ok && !info.Online })
	}
	o.client("b").publish("to/owed=x", 1)
	o.use(90, limit.CloseSlow)
	for _, device := range []string{"idle", "new"} {
		if _, answer := o.connectAs(keeping(device)); answer.Reason != mqtt.ServerBusy {
			t.Errorf("%s: CONNACK %v", device, answer.Reason)
		}
	}
	p, answer := o.connectAs(keeping("owed"))
	if answer.Reason != mqtt.Success || !answer.SessionPresent {
		t.Fatalf("who is owed something: CONNACK %v", answer.Reason)
	}
	if got := p.take(mqtt.Publish); string(got.Payload) != "x" {
		t.Errorf("got %s", show(got))
	}
	if n := o.gateway.door.Stats().Exempt; n != 0 {
		t.Errorf("%d are counted as being verified", n)
	}
}

// What came of a handshake is forgotten when it is accepted, also when it came in pieces, whatever comes behind it.
func TestAcceptedHandshakeHoldsNothing(t *testing.T) {
	for _, carrier := range []string{"tcp", "websocket", "http"} {
		t.Run(carrier, func(t *testing.T) {
			w := &mqttWorld{newWorld(t, settings{gateway: Config{MQTT: MQTT{Listen: "127.0.0.1:0"}}}), way{mqtt.V5, carrier}}
			holds := func() bool { return w.gateway.door.Stats().Unverified > 0 }
			if carrier == "http" {
				c, request := w.world.dial(), upgrade("/connect/a")
				if _, err := io.WriteString(c, request[:30]); err != nil {
					t.Fatal(err)
				}
				w.await("a part of the handshake", holds)
				if got := ask(t, c, request[30:]); got.status != 101 {
					t.Fatal(got)
				}
			} else {
				p := w.dial()
				connect, err := mqtt.Append(nil, mqtt.V5, opening("a"))
				if err != nil {
					t.Fatal(err)
				}
				p.write(connect[:9])
				w.await("a part of CONNECT", holds)
				p.write(connect[9:])
				p.take(mqtt.Connack)
			}
			w.await("nothing to be held", func() bool { return !holds() })
		})
	}
}
