package main

import (
	"encoding/binary"
	"net"
	"sync"

	"github.com/longline/longline/internal/websocket"
)

// open returns an attack by upgraded devices.
func (c *crew) open(member int, deflate bool, do func(net.Conn) error) error {
	conn, err := c.upgraded(member, deflate)
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(conn)
}

// longHeader returns the header of a masked binary frame of a length, RFC 6455 §5.2, with the key 0.
func longHeader(length uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{0x82, 0xFF}, length)
	return append(b, 0, 0, 0, 0)
}

// halfFrame returns the first half of a frame.
func halfFrame(length int) []byte {
	return append(longHeader(uint64(length)), make([]byte, length/2)...)
}

// oversizeFrame announces a frame of a tebibyte.
func oversizeFrame(c *crew, member int) error {
	return c.open(member, false, func(conn net.Conn) error { return provoke(conn, longHeader(1<<40)) })
}

// slowFrame sends the second half of the largest frame at one byte per second.
func slowFrame(c *crew, member int) error {
	return c.open(member, false, func(conn net.Conn) error { return slowly(conn, halfFrame(maxPayload)) })
}

const maxPayload = 256 << 10 // the gateway's default

// slowly writes b, and then one byte per second. It reads meanwhile.
func slowly(conn net.Conn, b []byte) error {
	go func() { _ = await(conn) }()
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return trickle(conn, make([]byte, 3600))
}

// bomb is a compressed frame of some KiB that unpacks to 16 MiB.
var bomb = sync.OnceValue(func() []byte {
	return websocket.AppendMaskedCompressed(nil, websocket.Binary, make([]byte, 16<<20), 0, 0)
})

// compressionBomb sends a compressed frame that unpacks to far more.
func compressionBomb(c *crew, member int) error {
	return c.open(member, true, func(conn net.Conn) error { return provoke(conn, bomb()) })
}

// fragmentFlood sends empty fragments of one message without end, RFC 6455 §5.4.
func fragmentFlood(c *crew, member int) error {
	return c.open(member, false, func(conn net.Conn) error {
		if _, err := conn.Write([]byte{0x02, 0x80, 0, 0, 0, 0}); err != nil {
			return err
		}
		return floodAndRead(conn, repeat([]byte{0x00, 0x80, 0, 0, 0, 0}, 1000))
	})
}

// pingFlood sends the largest pings. Every other member does not read the pongs.
func pingFlood(c *crew, member int) error {
	pings := repeat(websocket.AppendMaskedFrame(nil, websocket.Ping, make([]byte, 125), 0), 100)
	return c.open(member, false, func(conn net.Conn) error {
		if member%2 == 0 {
			return flood(conn, pings)
		}
		return floodAndRead(conn, pings)
	})
}

// invalidUTF8 sends a text frame that is not UTF-8.
func invalidUTF8(c *crew, member int) error {
	text := websocket.AppendMaskedFrame(nil, websocket.Text, []byte("{\"op\":\"\xC3\x28\"}"), 0)
	return c.open(member, false, func(conn net.Conn) error { return provoke(conn, text) })
}

func repeat(b []byte, n int) (all []byte) {
	for range n {
		all = append(all, b...)
	}
	return all
}
