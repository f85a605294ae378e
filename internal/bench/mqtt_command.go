package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// MQTTCommand makes client 0 send a command to every other client, on that client's topic. The client answers on another topic of its own, and
// client 0 sends it the next command when it has the answer. All messages have QoS 0 or 1. Clients have
// FilterCommands with the same QoS. A round trip counts once.
func (c *Client) MQTTCommand(ctx context.Context, load Load, qos message.QoS) (Result, error) {
	return c.mqtt(ctx, load, func(l *lane, size int) traffic { return &commands{newDevices(l, size), qos, 0} })
}

// commands is the traffic of MQTTCommand. The device counts as the sender of the commands that it gets.
type commands struct {
	devices
	qos   message.QoS
	asked uint32 // commands sent; makes packet identifiers
}

func (t *commands) send(c *conn, since time.Duration) {
	stamp(t.payload, c, since)
	t.asked++
	t.publish(t.first(), commandTopic(int(c.number)), t.qos, identifier(t.asked))
}

func (t *commands) answer(c *conn, b []byte) (of *conn, since time.Duration, err error) {
	p, err := c.decodeMQTT(b)
	if err != nil || t.qos == message.AtLeastOnce && p.Type == mqtt.Puback {
		return nil, 0, err
	}
	topic := commandTopic
	if c == t.first() {
		topic = replyTopic
	}
	of, number, err := t.open(p, t.qos, topic)
	if err != nil {
		return nil, 0, err
	}
	if number != of.got || of.got == of.sent || c != of && c != t.first() {
		return nil, 0, fmt.Errorf("client %d has message %d of device %d, want %d", c.number, number, of.number, of.got)
	}
	since = t.since(p)
	if t.qos == message.AtLeastOnce {
		c.sendMQTT(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
	}
	if c == t.first() {
		return of, since, nil
	}
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Publish, Topic: replyTopic(int(c.number)), Payload: p.Payload, QoS: t.qos, ID: identifier(number)})
	return nil, 0, nil
}
