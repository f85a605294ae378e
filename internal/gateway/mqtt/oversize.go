package mqtt

import (
	"github.com/longline/longline/internal/wire/mqtt"
)

// A client of 3.1.1 cannot be told the largest packet that the gateway takes. If a PUBLISH beyond it ended the
// connection, a client that keeps its session would send it again for ever, and nothing behind it would
// ever come. So it is read past, kept nowhere, acknowledged, and counted.

// maxSkipped is the largest packet that is read past, in bytes.
const maxSkipped = 16 << 20

// skip is a packet that is being read past.
type skip struct {
	mqtt.Oversized
	left int // bytes that have not come
}

// skips reports whether the client is one whose packets may be read past.
func (c *Device) skips() bool { return c.Attached() && c.version < mqtt.V5 }

// skipping reports whether a packet is being read past.
func (c *Device) skipping() bool { return c.rare != nil && c.rare.skip.left > 0 }

// beginSkip begins to read past the packet that p begins with and returns how many bytes of it p has; 0 when
// more is needed to know what it is.
func (c *Device) beginSkip(d *mqtt.Decoder, p []byte) (n int, err error) {
	o, ok, err := d.Oversize(p)
	switch {
	case err != nil || !ok:
		return 0, err
	case o.Size > maxSkipped:
		return 0, mqtt.ErrTooLarge
	}
	c.more().skip = skip{o, o.Size}
	return c.goOn(p), nil
}

// goOn reads past more of the packet, and answers it at its end.
func (c *Device) goOn(p []byte) (n int) {
	s := &c.rare.skip
	n = min(len(p), s.left)
	if s.left -= n; s.left == 0 {
		c.shard.MQTTPackets[mqtt.Publish]++
		c.shard.Note(true, 0)
		c.Link().RefuseTooLarge(uint64(s.ID), s.QoS)
		c.AfterPacket()
	}
	return n
}
