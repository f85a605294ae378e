package main

import (
	"encoding/binary"
	"net"
	"sync"

	"github.com/longline/longline/internal/websocket"
)

// open is an attack by a device that is upgraded.
func (c *crew) open(member int, deflate bool, do func(net.Conn) error) error {
	conn, err := c.upgraded(member, deflate)
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(conn)
}

// longHeader begins a masked binary frame of a length, RFC 6455 §5.2, with the key 0.
func longHeader(length uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{0x82, 0xFF}, length)
	return append(b, 0, 0, 0, 0)
}

// halfFrame is a frame whose second half is missing.
func halfFrame(length int) []byte {
	return append(longHeader(uint64(length)), make([]byte, length/2)...)
}

// oversizeFrame announces a tebibyte.
func oversizeFrame(c *crew, member int) error {
	return c.open(member, false, func(conn net.Conn) error { return provoke(conn, longHeader(1<<40)) })
}

// slowFrame sends the last half of the largest frame a byte a second.
func slowFrame(c *crew, member int) error {
	return c.open(member, false, func(conn net.Conn) error { return slowly(conn, halfFrame(maxPayload)) })
}

const maxPayload = 256 << 10 // the gateway's default

// slowly sends all but the end of something at once.
func slowly(conn net.Conn, b []byte) error {
	go func() { _ = await(conn) }()
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return trickle(conn, make([]byte, 3600))
}

// bomb is a frame of 16 MiB in some KiB.
var bomb = sync.OnceValue(func() []byte {
	return websocket.AppendMaskedCompressed(nil, websocket.Binary, make([]byte, 16<<20), 0, 0)
})

// compressionBomb sends what unpacks to far more.
func compressionBomb(c *crew, member int) error {
	return c.open(member, true, func(conn net.Conn) error { return provoke(conn, bomb()) })
}

// fragmentFlood sends a message of empty fragments that has no end, RFC 6455 §5.4.
func fragmentFlood(c *crew, member int) error {
	return c.open(member, false, func(conn net.Conn) error {
		if _, err := conn.Write([]byte{0x02, 0x80, 0, 0, 0, 0}); err != nil {
			return err
		}
		return floodAndRead(conn, repeat([]byte{0x00, 0x80, 0, 0, 0, 0}, 1000))
	})
}

// pingFlood sends the largest pings; every other member does not take the pongs.
func pingFlood(c *crew, member int) error {
	pings := repeat(websocket.AppendMaskedFrame(nil, websocket.Ping, make([]byte, 125), 0), 100)
	return c.open(member, false, func(conn net.Conn) error {
		if member%2 == 0 {
			return flood(conn, pings)
		}
		return floodAndRead(conn, pings)
	})
}

// invalidUTF8 sends a text that is none.
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
