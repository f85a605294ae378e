package gateway

import (
	"fmt"
	"slices"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire/mqtt"
)

// What cannot be retained is delivered to those who are there, and acknowledged. If nobody is,
// MQTT 5 says so, and 3.1.1, which cannot, goes on.
func TestNotRetained(t *testing.T) {
	eachWay(t, ways, settings{store: store.Options{Retained: store.RetainedLimits{Count: 1}}}, func(w *mqttWorld) {
		c := w.client("c")
		publish := func(id uint16, q message.QoS, topic string) mqtt.Code {
			w.t.Helper()
			c.say(&mqtt.Packet{Type: mqtt.Publish, ID: id, QoS: q, Retain: true, Topic: topic, Payload: []byte("x")})
			if q == message.ExactlyOnce {
				return c.take(mqtt.Pubrec).Reason
			}
			return c.take(mqtt.Puback).Reason
		}
		if code := publish(1, 1, "kept"); code != mqtt.Success {
			w.t.Error(code)
		}
		refused := mqtt.QuotaExceeded
		if w.way.version != mqtt.V5 {
			refused = mqtt.Success
		}
		for _, q := range []message.QoS{1, 2} {
			if code := publish(2, q, "nobody"); code != refused {
				w.t.Errorf("QoS %d: %v, want %v", q, code, refused)
			}
		}
		b := w.subscribe("somebody")
		if code := publish(4, 1, "somebody"); code != mqtt.Success {
			w.t.Error(code)
		}
		w.take(b, 1)
		if n := w.metric("longline_messages_not_retained_total/node"); n != 3 {
			w.t.Errorf("%v counted, want 3", n)
		}
	})
}

// Of a packet with more filters than it may have, those that fit are granted.
func TestMoreFiltersThanAPacketMayHave(t *testing.T) {
	s := settings{}
	s.sessions.MaxFilters = 2
	eachWay(t, ways, s, func(w *mqttWorld) {
		subs := make([]mqtt.Subscription, 4)
		for i := range subs {
			subs[i].Filter = fmt.Sprint("f/", i)
		}
		want := []mqtt.Code{0, 0, mqtt.QuotaExceeded, mqtt.QuotaExceeded}
		if w.way.version != mqtt.V5 {
			want[2], want[3] = 0x80, 0x80
		}
		if got := w.client("c").subscribe(subs...); !slices.Equal(got, want) {
			w.t.Errorf("%v, want %v", got, want)
		}
	})
}
