package session

import (
	"fmt"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// client is a connection with packet identifiers, and the MQTT client behind it.
type client struct{ *conn }

func (w *world) client(device string, o Options) *client {
	w.t.Helper()
	c := &client{&conn{world: w, room: -1}}
	c.attachAs(device, c, o)
	return c
}

func (c *client) Send(m *message.Message, q message.QoS) bool {
	c.see("%s=%s qos %d%s", m.Topic, m.Payload, q, flags(m))
	return true
}

func (c *client) SendPacket(m *message.Message, q message.QoS, id uint16, again bool) bool {
	if c.room == 0 {
		c.world.t.Error("SendPacket without Room")
	}
	c.room--
	dup := ""
	if again {
		dup = " again"
	}
	c.see("%s=%s qos %d id %d%s%s", m.Topic, m.Payload, q, id, dup, flags(m))
	return true
}

func (c *client) Release(id uint16) { c.see("pubrel %d", id) }

// flags are what a receiver's own copy of a message may say.
func flags(m *message.Message) (s string) {
	if m.Retain {
		s = " retain"
	}
	if m.Delivery != nil && m.Delivery.Subscriptions != nil {
		s += fmt.Sprint(" for ", m.Delivery.Subscriptions)
	}
	return s
}

// subscribe returns the codes of what was refused.
func (c *client) subscribe(subs ...topic.Subscription) []string {
	results := make([]wire.Error, len(subs))
	c.link.SubscribeEach(subs, results)
	codes := make([]string, len(results))
	for i := range results {
		codes[i] = results[i].Code
	}
	return codes
}

func filter(f string, q message.QoS) topic.Subscription {
	return topic.Subscription{Filter: f, QoS: q}
}

// fresh is what an MQTT client sees first.
const fresh, resumed = "hello resumed=false missed=0", "hello resumed=true missed=0"
