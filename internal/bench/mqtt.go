package bench

import (
	"fmt"
	"strconv"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// MQTT says what a broker's clients do before they count as open. They speak 3.1.1, which every
// broker has. The loads whose names begin with MQTT need all clients on one loop.
type MQTT struct {
	// Filter returns the filter that client n subscribes to. If it is nil, or the filter is empty, the client does not subscribe.
	Filter func(n int) string
	// QoS is the QoS of the subscription.
	QoS message.QoS
	// Stays says that sessions outlive their connections: Clean Session is 0.
	Stays bool
}

const mqttKeepAlive = 60 // seconds

var mqttProtocols = []string{"mqtt"} // MQTT 5 §6.0, [MQTT-6.0.0-3]

// decoder decodes for a client of MQTT 3.1.1. It has no state.
var decoder = mqtt.Decoder{Version: mqtt.V4, MaxPacket: 2 * maxSize}

// connectMQTT sends CONNECT after the upgrade.
func (c *conn) connectMQTT() {
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Clean: !c.lane.client.target.MQTT.Stays, ClientID: c.id(), KeepAlive: mqttKeepAlive}})
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

// packets handles the content of a binary message: it may have several packets, and a packet may
// be split over messages [MQTT-6.0.0-2].
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

// packet handles one packet: first CONNACK and SUBACK, then those of loads.
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

// subscribe sends SUBSCRIBE, if the client has a filter.
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

// decodeMQTT decodes a whole packet into the lane's packet.
func (c *conn) decodeMQTT(b []byte) (*mqtt.Packet, error) {
	p := &c.lane.mqtt
	_, err := decoder.Decode(p, b)
	return p, err
}

// Filters of the loads. Client 0 is the only subscriber in MQTTUplink and MQTTAcknowledged, and
// sends the commands in MQTTCommand. The others are devices, each with topics of its own.

// FilterTelemetry subscribes client 0 to what all others publish.
func FilterTelemetry(n int) string {
	if n == 0 {
		return "device/+/telemetry"
	}
	return ""
}

// FilterCommands subscribes each client to its commands, and client 0 to all replies.
func FilterCommands(n int) string {
	if n == 0 {
		return "device/+/reply"
	}
	return commandTopic(n)
}

// FilterAll subscribes every client to the same topic.
func FilterAll(int) string { return fanoutTopic }

const fanoutTopic = "bench/fanout"

func telemetryTopic(n int) string { return "device/" + strconv.Itoa(n) + "/telemetry" }
func commandTopic(n int) string   { return "device/" + strconv.Itoa(n) + "/command" }
func replyTopic(n int) string     { return "device/" + strconv.Itoa(n) + "/reply" }
