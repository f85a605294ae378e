package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire/mqtt"
)

// What a CONNECT may not be is refused by a CONNACK that says why, where the version has a
// word for it; by nothing where it has none. In both cases the connection ends.
func TestMQTTRefusals(t *testing.T) {
	const silent = mqtt.Success
	for name, c := range map[string]struct {
		change   func(p *mqtt.Packet)
		old, new mqtt.Code // 3.1.1's and 5's
	}{
		"bad client id": {func(p *mqtt.Packet) { p.Connect.ClientID = strings.Repeat("a", 200) }, mqtt.ClientIDNotValid, mqtt.ClientIDNotValid},
		"bad will topic": {func(p *mqtt.Packet) {
			p.Connect.HasWill, p.Connect.Will.Topic = true, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"
		}, silent, mqtt.TopicNameInvalid},
		"authentication method": {func(p *mqtt.Packet) { p.Properties.AuthMethod = "SCRAM" }, 255, mqtt.BadAuthenticationMethod},
		"no client id to keep":  {func(p *mqtt.Packet) { p.Connect.ClientID, p.Connect.Clean = "", false }, mqtt.ClientIDNotValid, 255},
		"wrong first packet":    {func(p *mqtt.Packet) { *p = mqtt.Packet{Type: mqtt.Pingreq} }, silent, silent},
		"malformed":             {func(p *mqtt.Packet) { p.Connect.HasWill, p.Connect.Will.Topic = true, "a/#" }, silent, mqtt.TopicNameInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, ways[1:], settings{}, func(w *mqttWorld) {
				want := c.old
				if w.way.version == mqtt.V5 {
					want = c.new
				}
				if want == 255 { // this version has no such thing
					return
				}
				p, connect := w.dial(), opening("a")
				c.change(connect)
				p.say(connect)
				if want != silent {
					if got := p.take(mqtt.Connack).Reason; got != want {
						w.t.Errorf("%v, want %v", got, want)
					}
				}
				if last := p.ended(); last != nil {
					w.t.Errorf("%v after the refusal", last.Type)
				}
			})
		})
	}
}

// An unknown protocol level is answered in the words of 3.1.1, [3.1.1 MQTT-3.1.2-2].
func TestMQTTUnknownLevel(t *testing.T) {
	eachWay(t, ways[1:2], settings{}, func(w *mqttWorld) {
		p := w.dial()
		p.write([]byte("\x10\x0d\x00\x04MQTT\x09\x02\x00\x00\x00\x01a"))
		if got := p.take(mqtt.Connack).Reason; got != mqtt.UnsupportedProtocolVersion {
			w.t.Errorf("%v", got)
		}
		p.ended()
	})
}

// What breaks the protocol later ends the connection, in MQTT 5 with the reason.
func TestMQTTBreaches(t *testing.T) {
	for name, c := range map[string]struct {
		packet *mqtt.Packet
		want   mqtt.Code
	}{
		"second CONNECT":      {opening("a"), mqtt.ProtocolError},
		"AUTH":                {&mqtt.Packet{Type: mqtt.Auth, Reason: mqtt.ReAuthenticate, Properties: mqtt.Properties{AuthMethod: "x"}}, mqtt.ProtocolError},
		"packet too large":    {saying("t="+string(make([]byte, 1500)), 0, 0), mqtt.PacketTooLarge},
		"alias above maximum": {&mqtt.Packet{Type: mqtt.Publish, Topic: "t", Properties: mqtt.Properties{TopicAlias: 17}}, mqtt.TopicAliasInvalid},
		"alias of nothing":    {&mqtt.Packet{Type: mqtt.Publish, Properties: mqtt.Properties{TopicAlias: 3}}, mqtt.ProtocolError},
		"expiry after none":   {&mqtt.Packet{Type: mqtt.Disconnect, Properties: mqtt.Properties{SessionExpiry: 5}}, mqtt.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, fives, settings{gateway: Config{MaxPayload: 1000}}, func(w *mqttWorld) {
				p := w.client("a")
				p.say(c.packet)
				p.endedWith(c.want)
			})
		})
	}
}

// CONNACK says what the gateway decided, and nothing that goes without saying.
func TestMQTTConnack(t *testing.T) {
	s := settings{sessions: session.Config{MaxExpiry: 2 * time.Hour, Unanswered: 7}, gateway: Config{MaxPayload: 9000}}
	eachWay(t, fives, s, func(w *mqttWorld) {
		connect := opening("")
		connect.Connect.KeepAlive, connect.Properties.SessionExpiry = 0, 0xFFFFFFFF
		connect.Properties.RequestResponse = true
		_, answer := w.connectAs(connect)
		got := answer.Properties
		if got.SessionExpiry != 7200 || got.ReceiveMaximum != 7 || got.MaximumPacket != 9000 || got.TopicAliasMaximum != 16 ||
			got.AssignedClientID == "" || got.ServerKeepAlive != 60 || got.ResponseInfo != "device/"+got.AssignedClientID+"/reply" {
			w.t.Errorf("%+v", got)
		}
		_, answer = w.connectAs(opening("a"))
		for _, id := range []mqtt.PropertyID{
			mqtt.PropSessionExpiry, mqtt.PropAssignedClientID, mqtt.PropServerKeepAlive, mqtt.PropResponseInfo, mqtt.PropReasonString,
			mqtt.PropMaximumQoS, mqtt.PropRetainAvailable, mqtt.PropWildcardAvailable, mqtt.PropSubscriptionIDsAvailable, mqtt.PropSharedAvailable,
		} {
			if answer.Properties.Has(id) {
				w.t.Errorf("property %d", id)
			}
		}
	})
}

// The newest connection wins, and the older is told.
func TestMQTTTakeover(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		first, _ := w.connectAs(keeping("a"))
		_, answer := w.connectAs(keeping("a"))
		if answer.SessionPresent != (w.way.version > mqtt.V3) {
			w.t.Error("the session was not there")
		}
		first.endedWith(mqtt.SessionTakenOver)
	})
}

// Silence for one and a half times the keep alive ends the connection, and the will is said.
func TestMQTTKeepAlive(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		listener := w.client("listener")
		listener.hear(0, "gone")
		connect := opening("a")
		connect.Connect.KeepAlive = 1
		connect.Connect.HasWill, connect.Connect.Will = true, mqtt.Will{Topic: "gone", Payload: []byte("a")}
		start := time.Now()
		p, _ := w.connectAs(connect)
		p.endedWith(mqtt.KeepAliveTimeout)
		if after := time.Since(start); after < 1500*time.Millisecond {
			w.t.Errorf("ended after %v", after)
		}
		listener.expect("gone=a qos 0")
	})
}

// A client that does not connect in time is let go.
func TestMQTTHandshakeTimeout(t *testing.T) {
	eachWay(t, ways[1:3], settings{gateway: Config{HandshakeTimeout: 100 * time.Millisecond}}, func(w *mqttWorld) {
		p := w.dial()
		p.write([]byte{0x10})
		if last := p.ended(); last != nil {
			w.t.Error(last.Type)
		}
	})
}

// A device of 3.1.1 without a keep alive is pinged over WebSocket.
func TestMQTTWithoutKeepAlive(t *testing.T) {
	s := settings{gateway: Config{Heartbeat: 200 * time.Millisecond, HeartbeatTimeout: 700 * time.Millisecond}}
	eachWay(t, ways[1:3], s, func(w *mqttWorld) {
		connect := opening("a")
		connect.Connect.KeepAlive = 0
		p, _ := w.connectAs(connect)
		other := w.client("b")
		other.hear(0, "tick")
		for range 3 { // the reader of p answers WebSocket pings meanwhile
			select {
			case packet, ok := <-p.packets:
				w.t.Fatalf("%v, open %v", packet, ok)
			case <-time.After(500 * time.Millisecond):
			}
			other.publish("tick=", 0)
			other.expect("tick= qos 0")
		}
		p.quiet()
	})
}
