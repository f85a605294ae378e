package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// MQTTUplink makes all clients but the first publish with QoS 0 to the first, which has
// FilterTelemetry. They publish in turn at the load's rate. If the rate is 0, each publishes when its last message
// has arrived, so that one message per publisher is in flight. A message counts when
// the subscriber has it. If a message is lost in a closed loop, its publisher sends nothing more.
func (c *Client) MQTTUplink(ctx context.Context, load Load) (Result, error) {
	return c.mqtt(ctx, load, newTelemetry)
}

// MQTTAcknowledged makes all clients but the first publish with QoS 1: in turn at the load's rate, or each when its last
// message was acknowledged. It counts acknowledgements. The first client may have FilterTelemetry with QoS 1.
func (c *Client) MQTTAcknowledged(ctx context.Context, load Load) (Result, error) {
	return c.mqtt(ctx, load, newReported)
}

// mqtt runs an open loop, or a closed one if the load has no rate.
func (c *Client) mqtt(ctx context.Context, load Load, newTraffic func(*lane, int) traffic) (Result, error) {
	if err := c.oneLoop(); err != nil {
		return Result{}, err
	}
	if load.Rate > 0 {
		return c.paced(ctx, load, newTraffic)
	}
	return c.closed(ctx, load, newTraffic)
}

// oneLoop checks that there are several clients, all on one loop.
func (c *Client) oneLoop() error {
	if len(c.lanes) != 1 || c.conns < 2 {
		return errors.New("MQTT loads need two clients at least, and no more than fit on one loop: raise the limit of descriptors")
	}
	return nil
}

// devices is embedded in a traffic in which client 0 is the counterpart of all others.
type devices struct {
	lane    *lane
	payload []byte // payload of the next message
}

func newDevices(l *lane, size int) devices { return devices{l, pattern(size)} }

func (d *devices) first() *conn    { return &d.lane.conns[0] }
func (d *devices) senders() []conn { return d.lane.conns[1:] }

// publish sends the payload, with QoS 1 under the packet identifier id.
func (d *devices) publish(c *conn, topic string, qos message.QoS, id uint16) {
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Publish, Topic: topic, Payload: d.payload, QoS: qos, ID: id})
}

// identifier returns the packet identifier of the message with a number. It is never 0, and repeats only after many messages.
func identifier(number uint32) uint16 { return uint16(number&0x7FFF) + 1 }

// open checks a PUBLISH and returns the device and the number of its message.
func (d *devices) open(p *mqtt.Packet, qos message.QoS, topic func(int) string) (of *conn, number uint32, err error) {
	b := p.Payload
	if p.Type != mqtt.Publish || p.QoS != qos || p.Retain || p.Dup || len(b) != len(d.payload) || !bytes.Equal(b[MinSize:], d.payload[MinSize:]) {
		return nil, 0, fmt.Errorf("%v of QoS %d with %d bytes, not what was sent", p.Type, p.QoS, len(b))
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || int(n) >= len(d.lane.conns) || p.Topic != topic(int(n)) {
		return nil, 0, fmt.Errorf("a message of device %d on %q", n, p.Topic)
	}
	return &d.lane.conns[n], binary.LittleEndian.Uint32(b[4:]), nil
}

// since returns the time from which the latency of a message counts.
func (d *devices) since(p *mqtt.Packet) time.Duration {
	return time.Duration(binary.LittleEndian.Uint64(p.Payload[8:]))
}

// telemetry is the traffic of MQTTUplink. It counts gaps as lost messages.
type telemetry struct {
	devices
	next []uint32 // number of the expected message, by device
}

func newTelemetry(l *lane, size int) traffic {
	return &telemetry{newDevices(l, size), make([]uint32, len(l.conns))}
}

func (t *telemetry) send(c *conn, since time.Duration) {
	stamp(t.payload, c, since)
	t.publish(c, telemetryTopic(int(c.number)), message.AtMostOnce, 0)
}

func (t *telemetry) answer(c *conn, b []byte) (of *conn, since time.Duration, err error) {
	p, err := c.decodeMQTT(b)
	if err != nil {
		return nil, 0, err
	}
	of, number, err := t.open(p, message.AtMostOnce, telemetryTopic)
	if err != nil {
		return nil, 0, err
	}
	if number < t.next[of.number] || number >= of.sent {
		return nil, 0, fmt.Errorf("message %d of device %d, want one of %d to %d", number, of.number, t.next[of.number], of.sent)
	}
	t.next[of.number] = number + 1
	return of, t.since(p), nil
}

// reported is the traffic of MQTTAcknowledged.
type reported struct {
	devices
	sent [][]time.Duration // from when the unacknowledged messages count, in order, by device
	next []uint32          // number of the expected message, by device
	came uint64            // messages that the subscriber has
}

func newReported(l *lane, size int) traffic {
	return &reported{devices: newDevices(l, size), sent: make([][]time.Duration, len(l.conns)), next: make([]uint32, len(l.conns))}
}

func (r *reported) send(c *conn, since time.Duration) {
	stamp(r.payload, c, since)
	r.sent[c.number] = append(r.sent[c.number], since)
	r.publish(c, telemetryTopic(int(c.number)), message.AtLeastOnce, identifier(c.sent))
}

func (r *reported) answer(c *conn, b []byte) (of *conn, since time.Duration, err error) {
	p, err := c.decodeMQTT(b)
	if err != nil {
		return nil, 0, err
	}
	if c == r.first() {
		return nil, 0, r.take(c, p)
	}
	if p.Type != mqtt.Puback || p.ID != identifier(c.got) || len(r.sent[c.number]) == 0 {
		return nil, 0, fmt.Errorf("%v of %d, want the acknowledgement of %d", p.Type, p.ID, identifier(c.got))
	}
	since = r.sent[c.number][0]
	r.sent[c.number] = slices.Delete(r.sent[c.number], 0, 1)
	return c, since, nil
}

// take acknowledges a message to the subscriber. Because the broker keeps order, earlier messages of the device
// have arrived, or never will.
func (r *reported) take(c *conn, p *mqtt.Packet) error {
	of, number, err := r.open(p, message.AtLeastOnce, telemetryTopic)
	if err != nil {
		return err
	}
	if number < r.next[of.number] || number >= of.sent {
		return fmt.Errorf("message %d of device %d, want one of %d to %d", number, of.number, r.next[of.number], of.sent)
	}
	r.next[of.number] = number + 1
	r.came++
	c.sendMQTT(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
	return nil
}
