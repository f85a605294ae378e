package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// MQTTPings makes the clients send PINGREQ in turn, at the load's rate.
func (c *Client) MQTTPings(ctx context.Context, load Load) (Result, error) {
	return c.paced(ctx, load, func(l *lane, _ int) traffic {
		return &pings{everyone{l}, make([]time.Duration, len(l.conns))}
	})
}

// pings is the traffic of MQTTPings.
type pings struct {
	everyone
	sent []time.Duration // when each client's last PINGREQ was due
}

func (t *pings) send(c *conn, since time.Duration) {
	t.sent[c.number] = since
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Pingreq})
}

func (t *pings) answer(c *conn, b []byte) (of *conn, since time.Duration, err error) {
	p, err := c.decodeMQTT(b)
	if err == nil && (p.Type != mqtt.Pingresp || c.got == c.sent) {
		err = fmt.Errorf("%v after %d of %d answers to PINGREQ", p.Type, c.got, c.sent)
	}
	return c, t.sent[c.number], err
}

// MQTTFanout makes client 0 publish to all clients, itself included, once to warm up and then rounds times. Each
// round begins when the last message has arrived everywhere. Clients have FilterAll. The latency of a round is the
// time until the last client has the message.
func (c *Client) MQTTFanout(ctx context.Context, rounds int) (Result, error) {
	if rounds < 1 {
		return Result{}, fmt.Errorf("%d rounds: want one at least", rounds)
	}
	return c.gather(ctx, rounds, checkFanout, func() error {
		c.each(func(l *lane) {
			if l == c.lanes[0] {
				l.conns[0].sendMQTT(&mqtt.Packet{Type: mqtt.Publish, Topic: fanoutTopic, Payload: Announcement})
			}
		})
		return nil
	})
}

func checkFanout(c *conn, b []byte) error {
	p, err := c.decodeMQTT(b)
	if err != nil {
		return err
	}
	if p.Type != mqtt.Publish || p.QoS != message.AtMostOnce || p.Topic != fanoutTopic {
		return fmt.Errorf("%v on %q, not what was sent to all", p.Type, p.Topic)
	}
	return checkAnnouncement(c, p.Payload)
}
