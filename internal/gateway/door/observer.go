package door

import (
	"cmp"
	"net/netip"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/wire"
)

// Observer watches connections of devices. Door calls its methods on the connections' loops; they must not block. A
// connection is accepted, and then refused, or attached and finally closed. One that only asks for health is neither.
type Observer interface {
	// Accepted is called with the address of a new connection, of which nothing was read yet.
	Accepted(from netip.AddrPort)
	// Attached is called when a connection has its session, before the device is greeted.
	Attached(device string, p devices.Peer)
	// Refused is called when a connection ends that was not attached. why is the HTTP status, the MQTT reason code, or
	// "incomplete". device is the ID that the connection claims, as far as it has said; p has no Protocol.
	Refused(device string, p devices.Peer, why string)
	// Closed is called when an attached connection ends. why is the label of metrics.
	Closed(device string, p devices.Peer, why string)
}

// peer returns the address and the protocol of an attached connection.
func (c *Conn) peer() devices.Peer {
	return devices.Peer{Addr: c.conn.RemoteAddr(), Protocol: c.handler().Protocol()}
}

// CountRefused counts that a connection is refused, by its HTTP status or MQTT reason code.
func (c *Conn) CountRefused(code, reason string) {
	c.shard.Handshakes["refused_"+code]++
	c.refusing(code, reason)
}

// refusing tells the observer and the log, once, that a connection is refused; or, without a reason, that it ended
// before it was attached.
func (c *Conn) refusing(code, reason string) {
	o, log := c.shard.door.Config.Observer, reason != "" && c.shard.logDue("refused "+code)
	if o == nil && !log {
		return
	}
	p := devices.Peer{Addr: c.conn.RemoteAddr()}
	if o != nil {
		o.Refused(c.shard.claimed, p, code)
	}
	if log {
		logConnection("connection refused", c.shard.claimed, p, code, reason)
	}
}

// closing tells the observer and the log, once, that an attached connection ends, before it is detached.
func (c *Conn) closing(why *wire.Close) {
	o, log := c.shard.door.Config.Observer, !ordinary[why.Label] && c.shard.logDue("closed "+why.Label)
	if o == nil && !log {
		return
	}
	device, p := c.link.Session().Device(), c.peer()
	if o != nil {
		o.Closed(device, p, why.Label)
	}
	if log {
		logConnection("connection closed", device, p, why.Label, cmp.Or(why.Reason, why.Label))
	}
}
