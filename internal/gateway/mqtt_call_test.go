package gateway

import (
	"context"
	"strings"
	"testing"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// A call is a publication, and so is its answer, in words of the version.
func TestMQTTCall(t *testing.T) {
	eachWay(t, ways[1:], settings{}, func(w *mqttWorld) {
		p := w.client("cp")
		if r := w.call("reset"); r.Err.Code != "not_callable" {
			w.t.Errorf("without a subscription: %+v", r)
		}
		p.hear(1, "device/cp/call/#")
		for q := range message.QoS(3) {
			for _, refused := range []bool{false, true} {
				got := make(chan devices.Reply, 1)
				go func() { got <- w.call("reset") }()
				answer := p.answer(p.take(mqtt.Publish), refused)
				if answer.QoS = q; q > 0 {
					answer.ID = 6
				}
				p.say(answer)
				p.confirmed(q, 6)
				r := <-got
				switch {
				case refused && (r.Err.Code == "" || r.Err.Reason != "no"):
					w.t.Errorf("qos %d, refused: %+v", q, r)
				case !refused && (r.Err.Code != "" || string(r.Payload) != "done"):
					w.t.Errorf("qos %d: %+v", q, r)
				}
			}
		}
		p.publish("device/cp/reply/99=late", 1) // nobody waits
	})
}

// call asks the device cp, and returns an empty reply when that fails.
func (w *mqttWorld) call(method string) devices.Reply {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	r, err := w.sessions.Call(ctx, "cp", method, []byte("hard"), "text/plain")
	if err != nil {
		w.t.Error(err)
	}
	return r
}

// answer is the publication that answers a call, or refuses it.
func (p *mqttPeer) answer(call *mqtt.Packet, refused bool) *mqtt.Packet {
	p.t.Helper()
	if !strings.HasPrefix(call.Topic, "device/cp/call/reset") || string(call.Payload) != "hard" {
		p.t.Fatal(show(call))
	}
	text := "done"
	if refused {
		text = "no"
	}
	if p.version < mqtt.V5 {
		_, number, _ := strings.Cut(call.Topic, "reset/")
		if refused {
			number += "/error"
		}
		return saying("device/cp/reply/"+number+"="+text, 0, 0)
	}
	if call.Properties.ContentType != "text/plain" || call.Properties.MessageExpiry == 0 {
		p.t.Errorf("%+v", call.Properties)
	}
	answer := saying(call.Properties.ResponseTopic+"="+text, 0, 0)
	answer.Properties.CorrelationData = call.Properties.CorrelationData
	if refused {
		answer.Properties.User = []message.Property{{Key: "error", Value: "busy"}}
	}
	return answer
}

// Devices of JSON and of MQTT hear each other.
func TestMQTTAndJSON(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		p := w.client("m")
		p.hear(1, "t/json")
		j := w.greeted("/connect/j", "j")
		j.say(`{"op":"sub","id":1,"filters":["t/mqtt"],"qos":1}`)
		j.next()
		j.say(`{"op":"pub","id":2,"topic":"t/json","payload":{"a":1},"qos":1}`)
		p.receive(`t/json={"a":1} qos 1`)
		j.next()
		p.publish("t/mqtt=raw", 1)
		if got := string(j.next()); !strings.Contains(got, `"topic":"t/mqtt"`) || !strings.Contains(got, `"data":"cmF3"`) {
			w.t.Error(got)
		}
	})
}
