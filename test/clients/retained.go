package clients

import (
	"context"
	"fmt"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// lastTopic is behind all other retained topics, in whose order retained messages are sent.
const lastTopic = kept + "~"

// ReadRetained returns the numbers of the retained messages by their topics, as a new subscriber gets them.
func ReadRetained(ctx context.Context, g Gateways) (map[string]int, error) {
	conn, err := g.Dial(ctx, "reader", func(a Addresses) string { return a.MQTT })
	if err != nil {
		return nil, err
	}
	c := NewMQTTConn(conn, mqtt.V5)
	defer c.Close(false)
	err = c.Send(
		&mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Version: mqtt.V5, ClientID: "reader", Clean: true}},
		&mqtt.Packet{Type: mqtt.Publish, Topic: lastTopic, Retain: true, Payload: payload(0, 0), QoS: message.AtLeastOnce, ID: 1},
		&mqtt.Packet{Type: mqtt.Subscribe, ID: 2, Subscriptions: []mqtt.Subscription{{Filter: kept + "#", QoS: message.AtLeastOnce}}},
	)
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]int)
	for {
		p, err := c.Next(ctx)
		if err != nil {
			return nil, err
		}
		if p.Type != mqtt.Publish {
			continue
		}
		if err := c.Send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID}); err != nil {
			return nil, err
		}
		if p.Topic == lastTopic {
			return numbers, nil
		}
		if numbers[p.Topic], err = NumberOf(p.Payload); err != nil {
			return nil, fmt.Errorf("%s: %.20q: %w", p.Topic, p.Payload, err)
		}
	}
}
