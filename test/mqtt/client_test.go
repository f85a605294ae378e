package mqtt

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// client is one connection. It does nothing by itself. A packet must be legal for a
// server to send, or the codec refuses it and the test fails.
type client struct {
	*world
	version mqtt.Version
	conn    net.Conn
	decoder mqtt.Decoder
	in      []byte         // bytes that were read and not decoded
	held    []*mqtt.Packet // packets that were decoded and not taken
	id      uint16         // last packet identifier
}

// connecting returns the CONNECT of the client that a scenario calls id, with a keep alive of a
// minute and a clean start. change may be nil.
func (w *world) connecting(id string, change func(p *mqtt.Packet)) *mqtt.Packet {
	p := &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Version: w.version, Clean: true, KeepAlive: 60, ClientID: id}}
	if change != nil {
		change(p)
	}
	return p
}

// kept changes a CONNECT to one that resumes its session and keeps it.
func kept(p *mqtt.Packet) {
	p.Connect.Clean = false
	p.Properties.SessionExpiry = 600
}

// open connects and returns the CONNACK too.
func (w *world) open(id string, change func(p *mqtt.Packet)) (*client, *mqtt.Packet) {
	w.Helper()
	c := w.dial()
	c.send(w.connecting(id, change))
	ack := c.expect(mqtt.Connack)
	if ack.Reason != mqtt.Success {
		w.Fatalf("%s: CONNACK says %v: %s", id, ack.Reason, ack.Properties.ReasonString)
	}
	return c, ack
}

// connect opens a connection with a session that ends with it.
func (w *world) connect(id string) *client {
	w.Helper()
	c, _ := w.open(id, nil)
	return c
}

// resume opens a connection with a session that is kept, and reports whether there was one.
func (w *world) resume(id string) (c *client, present bool) {
	w.Helper()
	c, ack := w.open(id, kept)
	return c, ack.SessionPresent
}

// send writes packets in one piece.
func (c *client) send(packets ...*mqtt.Packet) {
	c.Helper()
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = mqtt.Append(b, c.version, p); err != nil {
			c.Fatalf("%v: %v", p.Type, err)
		}
	}
	c.write(b)
}

// raw writes bytes that are given in hexadecimal, with spaces anywhere.
func (c *client) raw(s string) {
	c.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		c.Fatal(err)
	}
	c.write(b)
}

// write fails the test on errors, except if the gateway has closed, which it may do meanwhile.
func (c *client) write(b []byte) {
	c.Helper()
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil && !ended(err) {
		c.Fatal(err)
	}
}

// cut ends the connection without a DISCONNECT.
func (c *client) cut() { _ = c.conn.Close() }

// take returns the next packet, or nil at the end of the connection.
func (c *client) take() *mqtt.Packet {
	c.Helper()
	if len(c.held) > 0 {
		p := c.held[0]
		c.held = c.held[1:]
		return p
	}
	return c.read()
}

// read is take for a packet that was not held back.
func (c *client) read() *mqtt.Packet {
	c.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	room := make([]byte, 4096)
	for {
		p := new(mqtt.Packet)
		n, err := c.decoder.Decode(p, c.in)
		if err != nil {
			c.Fatalf("the gateway sent %x: %v", c.in, err)
		}
		if n > 0 {
			c.in = c.in[n:] // p is a view of the earlier bytes
			return p
		}
		n, err = c.conn.Read(room)
		c.in = append(slices.Clip(c.in), room[:n]...)
		switch {
		case err == nil:
		case !ended(err):
			c.Fatalf("nothing came: %v", err)
		case len(c.in) > 0 && n == 0:
			c.Fatalf("the connection ended in the middle of a packet: %x", c.in)
		case n == 0:
			return nil
		}
	}
}

// ended reports whether err says that the gateway has closed the connection.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

// expect returns the next packet, which has to be of type t.
func (c *client) expect(t mqtt.Type) *mqtt.Packet {
	c.Helper()
	p := c.take()
	switch {
	case p == nil:
		c.Fatalf("the connection ended, want %v", t)
	case p.Type != t:
		c.Fatalf("%v came: %+v, want %v", p.Type, p, t)
	}
	return p
}

// answer is expect for a packet that has an identifier.
func (c *client) answer(t mqtt.Type, id uint16) *mqtt.Packet {
	c.Helper()
	p := c.expect(t)
	if p.ID != id {
		c.Fatalf("%v has identifier %d, want %d", t, p.ID, id)
	}
	return p
}

// quiet fails if an unexpected packet has arrived. It sends two pings, because the gateway may answer the first
// in the middle of a turn of the loop, before work that was posted to the loop.
func (c *client) quiet() {
	c.Helper()
	for range 2 {
		c.send(&mqtt.Packet{Type: mqtt.Pingreq})
		c.expect(mqtt.Pingresp)
	}
}

// closed checks that the gateway closes the connection: in MQTT 5 with a DISCONNECT that has
// one of codes, in 3.1.1 without a packet.
func (c *client) closed(codes ...mqtt.Code) {
	c.Helper()
	if c.version == mqtt.V5 && len(codes) > 0 {
		if p := c.expect(mqtt.Disconnect); !slices.Contains(codes, p.Reason) {
			c.Fatalf("DISCONNECT says %v (%s), want %v", p.Reason, p.Properties.ReasonString, codes)
		}
	}
	if p := c.take(); p != nil {
		c.Fatalf("%v came: %+v, want the end", p.Type, p)
	}
}

// refused checks that the gateway answers a CONNECT with a failure and ends the connection.
func (c *client) refused(code mqtt.Code) *mqtt.Packet {
	c.Helper()
	p := c.expect(mqtt.Connack)
	if p.Reason != code || p.SessionPresent { // [MQTT-3.2.2-6] [3.1.1 MQTT-3.2.2-4]
		c.Fatalf("CONNACK says %v (%s), session present %v; want %v", p.Reason, p.Properties.ReasonString, p.SessionPresent, code)
	}
	if p := c.take(); p != nil { // [MQTT-3.2.2-7] [3.1.1 MQTT-3.2.2-5]
		c.Fatalf("%v came: %+v, want the end", p.Type, p)
	}
	return p
}

// next returns an unused packet identifier.
func (c *client) next() uint16 {
	c.id++
	return c.id
}

// subscribe subscribes to one filter and returns what is granted.
func (c *client) subscribe(filter string, q message.QoS) mqtt.Code {
	c.Helper()
	return c.subscribeTo(mqtt.Subscription{Filter: filter, QoS: q})[0]
}

func (c *client) subscribeTo(subs ...mqtt.Subscription) []mqtt.Code {
	c.Helper()
	id := c.next()
	c.send(&mqtt.Packet{Type: mqtt.Subscribe, ID: id, Subscriptions: subs})
	p := c.answer(mqtt.Suback, id) // [MQTT-3.8.4-2] [3.1.1 MQTT-3.8.4-2]
	if len(p.Codes) != len(subs) { // [MQTT-3.8.4-6] [3.1.1 MQTT-3.8.4-5]
		c.Fatalf("%d codes for %d filters", len(p.Codes), len(subs))
	}
	return p.Codes
}

// unsubscribe unsubscribes from filters and returns their reason codes; 3.1.1 has none.
func (c *client) unsubscribe(filters ...string) []mqtt.Code {
	c.Helper()
	id := c.next()
	c.send(&mqtt.Packet{Type: mqtt.Unsubscribe, ID: id, Filters: filters})
	return c.answer(mqtt.Unsuback, id).Codes // [MQTT-3.10.4-5] [3.1.1 MQTT-3.10.4-4]
}

// publication returns a PUBLISH.
func publication(topic, payload string, q message.QoS) *mqtt.Packet {
	return &mqtt.Packet{Type: mqtt.Publish, Topic: topic, Payload: []byte(payload), QoS: q}
}

// publish sends a message and completes the exchange. It returns the reason code of the first answer.
func (c *client) publish(topic, payload string, q message.QoS) mqtt.Code {
	c.Helper()
	return c.publishPacket(publication(topic, payload, q))
}

// retain publishes a retained message.
func (c *client) retain(topic, payload string, q message.QoS) {
	c.Helper()
	p := publication(topic, payload, q)
	p.Retain = true
	c.publishPacket(p)
}

func (c *client) publishPacket(p *mqtt.Packet) mqtt.Code {
	c.Helper()
	if p.QoS == message.AtMostOnce {
		c.send(p)
		c.quiet() // after which the message was routed
		return mqtt.Success
	}
	if p.ID == 0 {
		p.ID = c.next()
	}
	c.send(p)
	if p.QoS == message.AtLeastOnce {
		return c.answer(mqtt.Puback, p.ID).Reason
	}
	reason := c.answer(mqtt.Pubrec, p.ID).Reason
	if !reason.Failed() {
		c.release(p.ID)
	}
	return reason
}

// release sends PUBREL and returns the reason code of PUBCOMP.
func (c *client) release(id uint16) mqtt.Code {
	c.Helper()
	c.send(&mqtt.Packet{Type: mqtt.Pubrel, ID: id})
	return c.answer(mqtt.Pubcomp, id).Reason
}

// receive returns the next message, and acknowledges it as its QoS requires.
func (c *client) receive() *mqtt.Packet {
	c.Helper()
	p := c.expect(mqtt.Publish)
	switch p.QoS {
	case message.AtLeastOnce:
		c.send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
	case message.ExactlyOnce:
		c.send(&mqtt.Packet{Type: mqtt.Pubrec, ID: p.ID})
		c.awaitRelease(p.ID)
		c.send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: p.ID})
	}
	return p
}

// awaitRelease waits for PUBREL, and holds back messages that arrive before it.
func (c *client) awaitRelease(id uint16) {
	c.Helper()
	for p := c.read(); p == nil || p.Type != mqtt.Pubrel || p.ID != id; p = c.read() {
		if p == nil || p.Type != mqtt.Publish {
			c.Fatalf("%+v came, want PUBREL %d", p, id)
		}
		c.held = append(c.held, p)
	}
}

// receives checks that messages with these payloads arrive, in this order, and nothing else.
func (c *client) receives(payloads ...string) {
	c.Helper()
	for _, want := range payloads {
		if p := c.receive(); string(p.Payload) != want {
			c.Fatalf("%q came on %s, want %q", p.Payload, p.Topic, want)
		}
	}
	c.quiet()
}

// disconnect sends DISCONNECT and closes.
func (c *client) disconnect() {
	c.Helper()
	c.send(&mqtt.Packet{Type: mqtt.Disconnect})
	c.closed()
}
