package mqtt

import (
	"context"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/wire/mqtt"
)

// TestText: the gateway does not accept packets in text frames.
func TestText(t *testing.T) { // [MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1]
	each(t, func(w *world) {
		if !w.websocket {
			return
		}
		c := w.connect("a")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.conn.(*socket).ws.Write(ctx, websocket.MessageText, []byte{0xc0, 0}); err != nil {
			t.Fatal(err)
		}
		if p := c.take(); p != nil && p.Type != mqtt.Disconnect {
			t.Fatalf("%v came, want the end", p.Type)
		} else if p != nil && c.take() != nil {
			t.Fatal("packets came after DISCONNECT")
		}
	})
}

// TestSplit: packets need not begin and end with frames and segments.
func TestSplit(t *testing.T) { // [MQTT-6.0.0-2] [3.1.1 MQTT-6.0.0-2]
	each(t, func(w *world) {
		var stream []byte
		last := publication("t", "x", 2)
		last.ID = 9
		for _, p := range []*mqtt.Packet{
			w.connecting("a", nil),
			{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "u"}}},
			{Type: mqtt.Pingreq},
			last,
			{Type: mqtt.Pubrel, ID: 9},
		} {
			var err error
			if stream, err = mqtt.Append(stream, w.version, p); err != nil {
				t.Fatal(err)
			}
		}
		for size := 1; size <= len(stream); size = size*2 + 1 {
			c := w.dial()
			for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				c.write(rest[:min(size, len(rest))])
			}
			c.expect(mqtt.Connack)
			c.answer(mqtt.Suback, 1)
			c.expect(mqtt.Pingresp)
			c.answer(mqtt.Pubrec, 9)
			c.answer(mqtt.Pubcomp, 9)
			c.disconnect()
		}
	})
}

// TestSubprotocol: the gateway selects it; 3.1 has another one.
func TestSubprotocol(t *testing.T) { // [MQTT-6.0.0-4] [3.1.1 MQTT-6.0.0-4]
	each(t, func(w *world) {
		if !w.websocket {
			return
		}
		w.connect("a").quiet() // upgrade has looked
		w.version = mqtt.V3
		old := &client{world: w, version: mqtt.V3, decoder: mqtt.Decoder{Version: mqtt.V3}, conn: w.upgrade("mqttv3.1")}
		defer old.cut()
		old.send(w.connecting("a", nil))
		old.expect(mqtt.Connack)
	})
}

// TestPaths: MQTT is at /mqtt and, like all subprotocols, at /connect.
func TestPaths(t *testing.T) {
	only(t, mqtt.V5, func(w *world) {
		for _, path := range []string{"/mqtt", "/connect"} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			ws, answer, err := websocket.Dial(ctx, "ws://"+w.gateway.Addr().String()+path, &websocket.DialOptions{
				HTTPClient:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
				Subprotocols: []string{"other", "mqtt"},
			})
			cancel()
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
				t.Errorf("%s: the gateway chose %q", path, got)
			}
			_ = ws.CloseNow()
		}
	})
}
