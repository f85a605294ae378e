package gateway

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// A publication of each QoS reaches subscriptions of each QoS with the lesser of the two.
func TestMQTTExchange(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		up := w.client("up")
		downs := make([]*mqttPeer, 3)
		for q := range downs {
			downs[q] = w.client(fmt.Sprint("down", q))
			downs[q].hear(message.QoS(q), "meter/+/power")
		}
		for q := range message.QoS(3) {
			up.publish("meter/42/power=230", q)
			for most, down := range downs {
				down.receive(fmt.Sprint("meter/42/power=230 qos ", min(int(q), most)))
			}
		}
		downs[0].say(&mqtt.Packet{Type: mqtt.Unsubscribe, ID: 5, Filters: []string{"meter/+/power", "other"}})
		answer := downs[0].take(mqtt.Unsuback)
		if answer.ID != 5 || w.way.version == mqtt.V5 && fmt.Sprint(answer.Codes) != fmt.Sprint([]mqtt.Code{0, mqtt.NoSubscriptionExisted}) {
			t.Errorf("UNSUBACK %d %v", answer.ID, answer.Codes)
		}
		up.publish("meter/42/power=231", 1)
		downs[1].receive("meter/42/power=231 qos 1")
		downs[0].quiet()
	})
}
