package mqtt

import (
	"github.com/longline/longline/internal/wire/mqtt"
)

// A client of 3.1.1 cannot be told the largest packet that the gateway accepts. If a larger PUBLISH ended the connection, a client
// that keeps its session would send it again for ever, and nothing behind it would ever arrive. So the gateway skips it: it reads it
// without keeping it, acknowledges it, and counts a drop.

// maxSkipped is the size of the largest packet that is skipped, in bytes.
const maxSkipped = 16 << 20

// skip is a packet that is being skipped.
type skip struct {
	mqtt.Oversized
	left int // bytes that were not received yet
}

// maySkip reports whether packets of this client may be skipped.
func (c *Device) maySkip() bool { return c.Attached() && c.version < mqtt.V5 }

// skipping reports whether a packet is being skipped.
func (c *Device) skipping() bool { return c.rare != nil && c.rare.skip.left > 0 }

// beginSkip begins to skip the packet that p begins with and returns how many of its bytes are in p; 0 if more bytes
// are needed to know its kind.
func (c *Device) beginSkip(d *mqtt.Decoder, p []byte) (n int, err error) {
	o, ok, err := d.Oversize(p)
	switch {
	case err != nil || !ok:
		return 0, err
	case o.Size > maxSkipped:
		return 0, mqtt.ErrTooLarge
	}
	c.more().skip = skip{o, o.Size}
	return c.skipMore(p), nil
}

// skipMore skips more of the packet, and answers it at its end.
func (c *Device) skipMore(p []byte) (n int) {
	s := &c.rare.skip
	n = min(len(p), s.left)
	if s.left -= n; s.left == 0 {
		c.shard.MQTTPackets[mqtt.Publish]++
		c.shard.CountPacket(true, 0)
		c.Link().RefuseTooLarge(uint64(s.ID), s.QoS)
		c.AfterPacket()
	}
	return n
}
