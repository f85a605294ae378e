package door

import (
	"cmp"
	"net/netip"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/wire"
)

// Observer watches connections of devices. Its methods are called on their loops and do not block. A connection is
// accepted, then refused, or attached and at last closed; one that only asks for health is neither.
type Observer interface {
	// Accepted is told of a connection of which nothing was read yet.
	Accepted(from netip.AddrPort)
	// Attached is told of one that has its session and is about to be greeted.
	Attached(device string, p devices.Peer)
	// Refused is told of one that will not be attached: why is its status of HTTP, its reason code of MQTT, or incomplete. The
	// device is who it says it is, as far as it has said. The peer's protocol is empty.
	Refused(device string, p devices.Peer, why string)
	// Closed is told of one that was attached: why is the label of metrics.
	Closed(device string, p devices.Peer, why string)
}

// peer is where a connection with a session comes from, and what it speaks.
func (c *Conn) peer() devices.Peer {
	return devices.Peer{Addr: c.conn.RemoteAddr(), Protocol: c.own().Protocol()}
}

// CountRefused counts a connection that is not attached and is refused, with the status of HTTP or the reason code of MQTT.
func (c *Conn) CountRefused(code, reason string) {
	c.shard.Handshakes["refused_"+code]++
	c.refusing(code, reason)
}

// refusing is called once when a connection that is not attached is refused, or has gone: then without a reason.
func (c *Conn) refusing(code, reason string) {
	o, log := c.shard.door.Config.Observer, reason != "" && c.shard.logs("refused "+code)
	if o == nil && !log {
		return
	}
	p := devices.Peer{Addr: c.conn.RemoteAddr()}
	if o != nil {
		o.Refused(c.shard.claimed, p, code)
	}
	if log {
		logConnection("a connection is refused", c.shard.claimed, p, code, reason)
	}
}

// closing is called once when an attached connection ends, before its session is left.
func (c *Conn) closing(why *wire.Close) {
	o, log := c.shard.door.Config.Observer, !ordinary[why.Label] && c.shard.logs("closed "+why.Label)
	if o == nil && !log {
		return
	}
	device, p := c.link.Session().Device(), c.peer()
	if o != nil {
		o.Closed(device, p, why.Label)
	}
	if log {
		logConnection("a connection is broken off", device, p, why.Label, cmp.Or(why.Reason, why.Label))
	}
}
