package mqtt

import (
	"cmp"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Who is alive. A device of MQTT promises a packet within its keep alive, and is closed after
// one and a half times that, [MQTT-3.1.2-22] [3.1.1 MQTT-3.1.2-24]; any bytes count. MQTT 5
// has no device without a keep alive here: CONNACK gives it one. One of 3.1.1 may be without:
// then it is pinged as the gateway's other devices are where it comes by WebSocket, and
// elsewhere the kernel asks whether its host is there.

// patience is the silence after which the connection is closed, 0 when that is the kernel's
// business.
func (c *Device) patience() time.Duration {
	switch {
	case c.keepAlive > 0:
		return time.Duration(c.keepAlive) * time.Second * 3 / 2
	case c.carrier.pings():
		return c.shard.server.Door.Config.HeartbeatTimeout
	}
	return 0
}

// watch begins to look for silence.
func (c *Device) watch() {
	switch limit := c.patience(); {
	case limit == 0:
		c.Transport().Probe(c.shard.server.Door.Config.HeartbeatTimeout)
		c.SetAlarm(c.shard.server.Door.Config.HeartbeatTimeout) // in place of the handshake's
	case c.keepAlive == 0:
		c.SetAlarm(c.HeartbeatAfter())
	default:
		c.SetAlarm(limit)
	}
}

// OnAlarm implements reactor.Handler: for silence, for the end of a credential, and for that of the handshake's time.
func (c *Device) OnAlarm(*reactor.Conn) {
	switch {
	case !c.Attached():
		c.TimeOut()
	case !c.StillHeld():
		c.Beat()
	}
}

// Listen implements door.Handler: it closes a connection that is silent for too long, and pings one that may be gone.
// The device has no way to show another credential but to connect again.
func (c *Device) Listen() {
	limit, silence := c.patience(), c.Transport().Silence()
	ping := c.HeartbeatAfter()
	switch {
	case c.Transport().Paused():
		c.outwait(cmp.Or(limit, c.shard.server.Door.Config.HeartbeatTimeout), silence)
	case limit == 0:
		c.SetAlarm(door.ForEver)
	case silence >= limit:
		c.Fail(wire.CloseHeartbeat)
	case c.keepAlive > 0:
		c.SetAlarm(limit - silence)
	case silence < ping:
		c.SetAlarm(ping - silence)
	default:
		c.carrier.ping()
		c.SetAlarm(limit - silence)
	}
}

// outwait is for a connection that is not read: it is we who do not listen. But where others
// wait for what it acknowledges, and it for them or for itself, nobody would ever go on.
func (c *Device) outwait(limit, silence time.Duration) {
	c.reassure()
	switch {
	case silence < limit:
		c.SetAlarm(min(limit-silence, c.reassureAfter()))
	case c.Link().Stuck():
		c.Fail(errStuck)
	default:
		c.SetAlarm(min(limit, c.reassureAfter()))
	}
}

// reassure answers the PINGREQ that may be in what the device has sent and is not read, behind publications
// that wait for their receivers: it would take us for dead. A PINGRESP too many harms nobody, so it
// is answered again when it is read.
func (c *Device) reassure() {
	if c.keepAlive > 0 && c.carrier.unread() {
		_ = c.write(&mqtt.Packet{Type: mqtt.Pingresp})
	}
}

// reassureEvery is how long a PINGREQ that is not read may be without an answer: clients wait for a part of
// their keep alive, some for few seconds.
const reassureEvery = 2 * time.Second

// reassureAfter is how often that is done.
func (c *Device) reassureAfter() time.Duration {
	if c.keepAlive == 0 {
		return door.ForEver
	}
	return min(reassureEvery, time.Duration(c.keepAlive)*time.Second/2)
}

// Resume implements door.Handler. A device that was not listened to has its patience anew.
func (c *Device) Resume() {
	c.Conn.Resume()
	if c.Attached() {
		c.watch()
	}
}
