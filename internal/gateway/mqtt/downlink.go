package mqtt

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// encoders are the encoders for one version over one carrier, by QoS.
type encoders [3]encoder

// encoder makes the PUBLISH of a message: the same bytes for every connection of its class. With QoS 1 and 2 they are
// a template: each connection sets its packet identifier.
type encoder struct {
	version mqtt.Version
	framed  bool // for WebSocket
	qos     message.QoS
	class   int
}

// anyID is the packet identifier in a template.
const anyID = 1

// newEncoders makes the encoders for 3.1.1 and 5, over TCP and over WebSocket. Their classes are negative, those of
// other protocols are not.
func newEncoders() (all [2][2]encoders) {
	for v, version := range []mqtt.Version{mqtt.V4, mqtt.V5} {
		for framed := range all[v] {
			for q := range all[v][framed] {
				all[v][framed][q] = encoder{version, framed == 1, message.QoS(q), -1 - q - 3*framed - 6*v}
			}
		}
	}
	return all
}

// encoders returns the encoders for a connection.
func (srv *Server) encoders(v mqtt.Version, over carrier) *encoders {
	version, framed := 0, 0
	if v == mqtt.V5 {
		version = 1
	}
	if _, ok := over.(*Socket); ok {
		framed = 1
	}
	return &srv.publishers[version][framed]
}

// Class implements message.Encoder.
func (e *encoder) Class() int { return e.class }

// Encode implements message.Encoder. A message that MQTT cannot express is encoded as nothing.
func (e *encoder) Encode(m *message.Message) []byte {
	var p mqtt.Packet
	publication(&p, m, e.qos, anyID)
	room := 0 // for the frame's header, which has the packet's length
	if e.framed {
		room = websocket.MaxHeader
	}
	b, err := mqtt.Append(make([]byte, room, room+m.Size()+maxOverhead), e.version, &p)
	if err != nil {
		return nil
	}
	if !e.framed {
		return b
	}
	var header [websocket.MaxHeader]byte
	head := websocket.AppendHeader(header[:0], websocket.Binary, len(b)-room)
	start := room - len(head)
	copy(b[start:], head)
	return b[start:]
}

// maxOverhead is what a PUBLISH mostly has besides the contents of its fields: 9 bytes, and a few for each property.
const maxOverhead = 32

// publication makes p the PUBLISH of a message.
func publication(p *mqtt.Packet, m *message.Message, q message.QoS, id uint16) {
	p.Type, p.QoS, p.Topic, p.Payload = mqtt.Publish, q, m.Topic, m.Payload
	p.Retain = m.Retain
	if q > message.AtMostOnce {
		p.ID = id
	}
	x := &p.Properties
	x.TextPayload = m.PayloadFormat == 1
	x.ContentType = m.ContentType
	if r := m.Request; r != nil {
		x.ResponseTopic, x.CorrelationData = r.ResponseTopic, r.CorrelationData
	}
	x.User = m.Properties
	if m.Expiry != 0 { // [MQTT-3.3.2-6]
		left := time.Until(time.UnixMilli(m.Expiry))
		x.MessageExpiry = uint32(min(max(1, (left+time.Second-1)/time.Second), math.MaxUint32))
	}
	if m.Delivery != nil {
		x.SubscriptionIDs = m.Delivery.Subscriptions
	}
}

// header returns the length of the frame's header with which a template begins, RFC 6455 §5.2.
func (e *encoder) header(template []byte) int {
	switch {
	case !e.framed:
		return 0
	case template[1] == 127:
		return 10
	case template[1] == 126:
		return 4
	}
	return 2
}

// Send implements session.Conn.
func (c *Device) Send(m *message.Message, q message.QoS) (sent bool) {
	if c.special(m) {
		return c.sendOwn(m, q, 0, false)
	}
	e := &c.encoders[q]
	b := m.Encoded(e)
	if !c.fits(b, e.header) {
		return false
	}
	c.observe(m)
	c.Transport().Share(b)
	return true
}

// SendPacket implements session.Exchanger.
func (c *Device) SendPacket(m *message.Message, q message.QoS, id uint16, again bool) (sent bool) {
	if c.special(m) {
		return c.sendOwn(m, q, id, again)
	}
	e := &c.encoders[q]
	b := m.Encoded(e)
	if !c.fits(b, e.header) {
		return false
	}
	c.observe(m)
	start := e.header(b)
	at := start + mqtt.IDOffset(b[start:])
	head := append(c.Transport().Reserve(at+2), b[:at+2]...)
	binary.BigEndian.PutUint16(head[at:], id)
	if again { // [MQTT-3.3.1-1]
		head[start] |= dupFlag
	}
	c.Transport().Commit(head)
	c.Transport().Share(b[at+2:])
	return true
}

// dupFlag is DUP in the first byte of a PUBLISH, §3.3.1.1.
const dupFlag = 1 << 3

// special reports whether a message is encoded for this connection alone, because its bytes depend on the receiver or
// on the time.
func (c *Device) special(m *message.Message) bool {
	return c.version == mqtt.V5 && (m.Delivery != nil || m.Expiry != 0 || c.aliasMax > 0)
}

// fits reports whether the client accepts the encoded message.
func (c *Device) fits(b []byte, header func([]byte) int) bool {
	return len(b) > 0 && (c.maxPacket == 0 || len(b)-header(b) <= int(c.maxPacket))
}

func (c *Device) observe(m *message.Message) {
	c.shard.Latency.Observe(time.Now().UnixMilli() - m.Time)
}

// sendOwn encodes and sends a message for this connection alone, with a topic alias if there is one. It returns false
// if the client does not accept it.
func (c *Device) sendOwn(m *message.Message, q message.QoS, id uint16, again bool) bool {
	var p mqtt.Packet
	publication(&p, m, q, id)
	p.Dup = again
	alias, known := c.aliasOf(m.Topic)
	p.Properties.TopicAlias = uint16(alias)
	if known {
		p.Topic = ""
	}
	b, err := c.encode(&p)
	if errors.Is(err, errNotSent) && alias > 0 { // without the alias it may be small enough
		alias, p.Properties.TopicAlias, p.Topic = 0, 0, m.Topic
		b, err = c.encode(&p)
	}
	if err != nil {
		return false
	}
	if alias > 0 && !known {
		c.rare.addAlias(m.Topic)
	}
	c.observe(m)
	c.send(b)
	return true
}

// aliasOf returns the alias of a topic, MQTT 5 §3.3.2.3.4: one that the client knows, or the next free one, or 0 if
// the table is full.
func (c *Device) aliasOf(topic string) (alias int, known bool) {
	if c.aliasMax == 0 {
		return 0, false
	}
	table := c.more().outbound
	if i := slices.Index(table, topic); i >= 0 {
		return i + 1, true
	}
	if len(table) < min(int(c.aliasMax), c.shard.server.Config.TopicAliases) { // [MQTT-3.1.2-26]
		return len(table) + 1, false
	}
	return 0, false
}

// addAlias gives a topic the next alias. It keeps a copy, because a message's strings share the memory of its payload.
func (r *rare) addAlias(topic string) { r.outbound = append(r.outbound, strings.Clone(topic)) }

// Release implements session.Exchanger.
func (c *Device) Release(id uint16) { c.confirm(mqtt.Pubrel, id, true) }
