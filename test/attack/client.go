package main

import (
	"fmt"
	"io"
	"net"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// client is a connection of MQTT 5.
type client struct {
	net.Conn
	rest []byte // received bytes after the last packet
}

// refusal is a CONNACK with a failure.
type refusal struct{ reason mqtt.Code }

func (r *refusal) Error() string { return fmt.Sprintf("CONNACK with reason %#x", byte(r.reason)) }

// connectAs returns the CONNECT of a device whose session ends with the connection.
func connectAs(device, token string) *mqtt.Packet {
	return &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{
		Clean: true, ClientID: device, KeepAlive: 60,
		HasUsername: true, Username: "token", HasPassword: true, Password: []byte(token),
	}}
}

// stolen returns the CONNECT of a stolen device.
func (c *crew) stolen(member int) *mqtt.Packet { return connectAs(device(member), c.Token) }

// join connects and waits for the CONNACK. The error is a *refusal if the CONNACK refuses.
func (c *crew) join(member int, connect *mqtt.Packet) (*client, error) {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return nil, err
	}
	joined := &client{Conn: conn}
	err = send(conn, connect)
	if err == nil {
		err = joined.granted()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return joined, nil
}

func (c *client) granted() error {
	p, err := c.receive()
	if err == nil && (p.Type != mqtt.Connack || p.Reason != mqtt.Success) {
		err = &refusal{p.Reason}
	}
	return err
}

var decoder = mqtt.Decoder{Version: mqtt.V5} // decodes what a server sends

// receive returns the next packet.
func (c *client) receive() (*mqtt.Packet, error) {
	piece := make([]byte, 32<<10)
	for {
		size, err := decoder.Size(c.rest)
		if err != nil {
			return nil, err
		}
		if size > 0 && size <= len(c.rest) {
			p := new(mqtt.Packet)
			_, err := decoder.Decode(p, c.rest[:size])
			c.rest = c.rest[size:]
			return p, err
		}
		n, err := c.Read(piece)
		if err != nil {
			return nil, err
		}
		c.rest = append(c.rest, piece[:n]...)
	}
}

// until returns the next packet of a type, and skips those before it.
func (c *client) until(t mqtt.Type) (*mqtt.Packet, error) {
	for {
		if p, err := c.receive(); err != nil || p.Type == t {
			return p, err
		}
	}
}

// answered sends a PINGREQ and returns an error if there is no answer.
func (c *client) answered() error {
	if err := send(c, &mqtt.Packet{Type: mqtt.Pingreq}); err != nil {
		return err
	}
	_, err := c.until(mqtt.Pingresp)
	return err
}

// listen subscribes to a filter with QoS 1 and waits for the SUBACK.
func (c *client) listen(filter string) error {
	p := &mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: message.AtLeastOnce}}}
	if err := send(c, p); err != nil {
		return err
	}
	answer, err := c.until(mqtt.Suback)
	if err == nil && answer.Codes[0] != mqtt.Code(message.AtLeastOnce) {
		err = fmt.Errorf("SUBACK with reason %#x", byte(answer.Codes[0]))
	}
	return err
}

// publish publishes with QoS 1. It returns nil if the message was acknowledged.
func (c *client) publish(id uint16, topic string, payload []byte) error {
	p := publication(topic, payload)
	p.QoS, p.ID = message.AtLeastOnce, id
	if err := send(c, p); err != nil {
		return err
	}
	answer, err := c.until(mqtt.Puback)
	if err == nil && answer.Reason >= mqtt.UnspecifiedError {
		err = fmt.Errorf("PUBACK with reason %#x", byte(answer.Reason))
	}
	return err
}

// send writes packets in one piece.
func send(conn io.Writer, packets ...*mqtt.Packet) error {
	_, err := conn.Write(encode(packets...))
	return err
}

// encode encodes packets for MQTT 5.
func encode(packets ...*mqtt.Packet) (b []byte) {
	for _, p := range packets {
		var err error
		if b, err = mqtt.Append(b, mqtt.V5, p); err != nil {
			panic(err) // a bug in the attack
		}
	}
	return b
}

// publication returns a PUBLISH of QoS 0.
func publication(topic string, payload []byte) *mqtt.Packet {
	return &mqtt.Packet{Type: mqtt.Publish, Topic: topic, Payload: payload, QoS: message.AtMostOnce}
}
