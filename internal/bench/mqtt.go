package bench

import (
	"fmt"
	"strconv"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// MQTT is what the clients of a broker do before they are open. They speak 3.1.1, which every
// broker has. The loads of MQTT need all clients on one loop; their names begin with MQTT.
type MQTT struct {
	// Filter is what client n subscribes to; nil, or a filter that is empty, is nothing.
	Filter func(n int) string
	// QoS is that of the subscription.
	QoS message.QoS
}

const mqttKeepAlive = 60 // seconds

var mqttProtocols = []string{"mqtt"} // MQTT 5 §6.0, [MQTT-6.0.0-3]

// decoder is that of a client of MQTT 3.1.1. It has no state.
var decoder = mqtt.Decoder{Version: mqtt.V4, MaxPacket: 2 * maxSize}

// connectMQTT follows the upgrade.
func (c *conn) connectMQTT() {
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Clean: true, ClientID: c.id(), KeepAlive: mqttKeepAlive}})
}

// sendMQTT sends a packet, in a frame of its own.
func (c *conn) sendMQTT(p *mqtt.Packet) {
	b, err := mqtt.Append(c.lane.scratch[:0], mqtt.V4, p)
	if err != nil {
		c.lane.client.fail(err)
		return
	}
	c.lane.scratch = b
	c.write(websocket.Binary, b)
}

// packets takes what a binary message carries: it may have several packets, and a packet may
// straddle messages [MQTT-6.0.0-2].
func (c *conn) packets(p []byte) error {
	if len(c.partial) > 0 {
		c.partial = append(c.partial, p...)
		p = c.partial
	}
	for len(p) > 0 {
		n, err := decoder.Size(p)
		if err != nil {
			return err
		}
		if n == 0 || n > len(p) {
			break
		}
		if err := c.packet(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	if len(p) == 0 {
		c.partial = nil
	} else {
		c.partial = append(c.partial[:0], p...)
	}
	return nil
}

// packet takes one packet: the answers that the connection is opened by, then those of loads.
func (c *conn) packet(b []byte) error {
	if c.opening == nil {
		return c.lane.received(c, b)
	}
	p, err := c.decodeMQTT(b)
	if err != nil {
		return err
	}
	switch {
	case p.Type == mqtt.Connack && p.Reason == mqtt.Success:
		c.subscribe()
	case p.Type == mqtt.Suback && len(p.Codes) == 1 && p.Codes[0] == mqtt.Code(c.lane.client.target.MQTT.QoS):
		c.open()
	default:
		return fmt.Errorf("%v with reason %v and codes %v before the client is open", p.Type, p.Reason, p.Codes)
	}
	return nil
}

// subscribe asks for the client's subscription, if it has one.
func (c *conn) subscribe() {
	m := c.lane.client.target.MQTT
	filter := ""
	if m.Filter != nil {
		filter = m.Filter(c.global())
	}
	if filter == "" {
		c.open()
		return
	}
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: m.QoS}}})
}

// decodeMQTT reads a whole packet into the lane's.
func (c *conn) decodeMQTT(b []byte) (*mqtt.Packet, error) {
	p := &c.lane.mqtt
	_, err := decoder.Decode(p, b)
	return p, err
}

// Filters of the loads. Client 0 is the one subscriber of MQTTUplink and MQTTAcknowledged, and
// the one that asks in MQTTCommand; the others are devices, each with topics of its own.

// FilterTelemetry has client 0 get what all others publish.
func FilterTelemetry(n int) string {
	if n == 0 {
		return "device/+/telemetry"
	}
	return ""
}

// FilterCommands has each client get its commands, and client 0 all replies.
func FilterCommands(n int) string {
	if n == 0 {
		return "device/+/reply"
	}
	return commandTopic(n)
}

// FilterAll has every client get the same.
func FilterAll(int) string { return fanoutTopic }

const fanoutTopic = "bench/fanout"

func telemetryTopic(n int) string { return "device/" + strconv.Itoa(n) + "/telemetry" }
func commandTopic(n int) string   { return "device/" + strconv.Itoa(n) + "/command" }
func replyTopic(n int) string     { return "device/" + strconv.Itoa(n) + "/reply" }
