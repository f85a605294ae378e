package main

import (
	"net"
	"strings"

	"github.com/longline/longline/internal/wire/mqtt"
)

// speak returns an attack by devices that are connected by MQTT.
func (c *crew) speak(member int, do func(net.Conn) error) error {
	conn, err := c.join(member, c.stolen(member))
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(conn.Conn)
}

// connectFlood makes connections from one address, far beyond the rate, and keeps them.
func connectFlood(c *crew, member int) error {
	conn, err := c.dialFrom(c.MQTT, net.IPv4(127, 0, 2, 1))
	if err != nil {
		return err
	}
	defer conn.Close()
	return provoke(conn, encode(c.stolen(member)))
}

// badCredentials guesses passwords.
func badCredentials(c *crew, member int) error {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	guess := c.stolen(member)
	guess.Connect.Password = []byte("guess")
	return provoke(conn, encode(guess))
}

// mqttSlowConnect sends its CONNECT at one byte per second.
func mqttSlowConnect(c *crew, member int) error {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return trickle(conn, encode(c.stolen(member)))
}

// mqttUnfinishedConnect sends a CONNECT of nearly the largest size, without its last byte.
func mqttUnfinishedConnect(c *crew, member int) error {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := c.stolen(member)
	p.Connect.Password = make([]byte, 8000)
	whole := encode(p)
	return provoke(conn, whole[:len(whole)-1])
}

// mqttSlowPacket sends the second half of the largest PUBLISH at one byte per second.
func mqttSlowPacket(c *crew, member int) error {
	whole := encode(publication(topicOf(member, "x"), make([]byte, maxPayload-100)))
	return c.speak(member, func(conn net.Conn) error { return slowly(conn, whole[:len(whole)/2]) })
}

// mqttOversize announces the largest packet of MQTT, §2.1.4.
func mqttOversize(c *crew, member int) error {
	return c.speak(member, func(conn net.Conn) error { return provoke(conn, []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}) })
}

// mqttPingFlood sends pings. Every other member does not read the answers.
func mqttPingFlood(c *crew, member int) error {
	pings := repeat(encode(&mqtt.Packet{Type: mqtt.Pingreq}), 1000)
	return c.speak(member, func(conn net.Conn) error {
		if member%2 == 0 {
			return flood(conn, pings)
		}
		return floodAndRead(conn, pings)
	})
}

// mqttInvalidUTF8 publishes to a topic that is not UTF-8: [MQTT-1.5.4-1].
func mqttInvalidUTF8(c *crew, member int) error {
	b := encode(publication(topicOf(member, "xx"), nil))
	b[len(b)-3], b[len(b)-2] = 0xC3, 0x28 // the last byte is the length of the properties
	return c.speak(member, func(conn net.Conn) error { return provoke(conn, b) })
}

func topicOf(member int, rest string) string { return "device/" + device(member) + "/" + rest }

// levels returns a topic of n levels that are all the same.
func levels(level string, n int) string { return strings.Repeat(level+"/", n-1) + level }
