package main

import (
	"crypto/tls"
	"io"
	"net"

	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// resets ends connections by a RST, in a state that depends on the member.
func resets(c *crew, member int) error {
	return states[member%len(states)](c, member)
}

// states are those in which a connection is reset.
var states = []func(*crew, int) error{
	func(c *crew, n int) error { return c.resetTCP(c.Devices, n, nil) },                // before a byte
	func(c *crew, n int) error { return c.resetTCP(c.Devices, n, clientHello()) },      // while TLS shakes hands
	func(c *crew, n int) error { return c.resetTLS(n, []byte(begun)) },                 // in the request
	func(c *crew, n int) error { return c.resetTLS(n, c.wholeRequest(n)) },             // before the answer
	func(c *crew, n int) error { return c.resetOpen(n, nil) },                          // as a device
	func(c *crew, n int) error { return c.resetOpen(n, []byte{0x81, 0xFE, 0xFF}) },     // in the header of a frame
	func(c *crew, n int) error { return c.resetOpen(n, halfFrame(1000)) },              // in a frame
	func(c *crew, n int) error { return c.resetOpen(n, closeFrame) },                   // before the answer to a close
	func(c *crew, n int) error { return c.resetTCP(c.MQTT, n, nil) },                   // before CONNECT
	func(c *crew, n int) error { return c.resetTCP(c.MQTT, n, encode(c.stolen(n))) },   // before CONNACK
	func(c *crew, n int) error { return c.resetMQTT(n, []byte{0x30, 0x7F}) },           // in a packet
	func(c *crew, n int) error { return c.resetMQTT(n, encode(subscription(n, "x"))) }, // before SUBACK
}

func (c *crew) wholeRequest(member int) []byte {
	return websocket.AppendRequest(nil, c.request(member, false))
}

// closeFrame is one without a code.
var closeFrame = websocket.AppendMaskedClose(nil, 0, "", 0)

func subscription(member int, filter string) *mqtt.Packet {
	return &mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "device/" + device(member) + "/" + filter}}}
}

func (c *crew) resetTCP(addr string, member int, last []byte) error {
	conn, err := c.dial(addr, member)
	if err != nil {
		return err
	}
	return reset(conn, conn, last)
}

func (c *crew) resetTLS(member int, last []byte) error {
	conn, err := c.secure(member)
	return resetSecure(conn, err, last)
}

func (c *crew) resetOpen(member int, last []byte) error {
	conn, err := c.upgraded(member, false)
	return resetSecure(conn, err, last)
}

func (c *crew) resetMQTT(member int, last []byte) error {
	conn, err := c.join(member, c.stolen(member))
	if err != nil {
		return err
	}
	return reset(conn, conn.Conn, last)
}

func resetSecure(conn *tls.Conn, err error, last []byte) error {
	if err != nil {
		return err
	}
	return reset(conn, conn.NetConn(), last)
}

// reset writes last and makes the kernel end the connection by a RST, socket(7)
// SO_LINGER.
func reset(w io.Writer, conn net.Conn, last []byte) error {
	if _, err := w.Write(last); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	return conn.Close()
}
