package mqtt

import (
	"cmp"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Keep alive. A device of MQTT sends a packet within its keep alive, and the gateway closes its connection after one and a half times
// that [MQTT-3.1.2-22] [3.1.1 MQTT-3.1.2-24]; any bytes count. A device of MQTT 5 always has a keep alive, because CONNACK sets one.
// A device of 3.1.1 may have none: then the gateway pings it over WebSocket, like its other devices; over TCP, the kernel probes
// whether its host is there.

// silenceLimit returns the silence after which the connection is closed; 0 if the kernel probes it.
func (c *Device) silenceLimit() time.Duration {
	switch {
	case c.keepAlive > 0:
		return time.Duration(c.keepAlive) * time.Second * 3 / 2
	case c.carrier.pings():
		return c.shard.server.Door.Config.HeartbeatTimeout
	}
	return 0
}

// armKeepAlive sets the first alarm for silence.
func (c *Device) armKeepAlive() {
	switch limit := c.silenceLimit(); {
	case limit == 0:
		c.Transport().Probe(c.shard.server.Door.Config.HeartbeatTimeout)
		c.SetAlarm(c.shard.server.Door.Config.HeartbeatTimeout) // replaces the handshake's
	case c.keepAlive == 0:
		c.SetAlarm(c.HeartbeatAfter())
	default:
		c.SetAlarm(limit)
	}
}

// OnAlarm implements reactor.Handler, for the handshake timeout, the keep alive, and other time limits.
func (c *Device) OnAlarm(*reactor.Conn) {
	switch {
	case !c.Attached():
		c.TimeOut()
	case !c.StillHeld():
		c.Check()
	}
}

// CheckAlive implements door.Handler: it closes a connection that was silent for too long, and pings one that may have
// gone.
func (c *Device) CheckAlive() {
	limit, silence := c.silenceLimit(), c.Transport().Silence()
	ping := c.HeartbeatAfter()
	switch {
	case c.Transport().Paused():
		c.checkPaused(cmp.Or(limit, c.shard.server.Door.Config.HeartbeatTimeout), silence)
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

// checkPaused is CheckAlive for a connection that the gateway does not read, so that silence means nothing. It closes
// the connection if it is in a deadlock, see Link.Stuck.
func (c *Device) checkPaused(limit, silence time.Duration) {
	c.answerUnreadPing()
	switch {
	case silence < limit:
		c.SetAlarm(min(limit-silence, c.unreadPingAfter()))
	case c.Link().Stuck():
		c.Fail(errStuck)
	default:
		c.SetAlarm(min(limit, c.unreadPingAfter()))
	}
}

// answerUnreadPing sends a PINGRESP if the device has sent bytes that are not read, because publications that wait are
// before them: a PINGREQ may be among them, and the device would believe that the gateway is dead. If there is one, it
// is answered again when it is read, which harms nobody.
func (c *Device) answerUnreadPing() {
	if c.keepAlive > 0 && c.carrier.unread() {
		_ = c.write(&mqtt.Packet{Type: mqtt.Pingresp})
	}
}

// unreadPingEvery is how long an unread PINGREQ may be without an answer: clients wait for a part of their keep alive,
// some for few seconds.
const unreadPingEvery = 2 * time.Second

// unreadPingAfter returns after what time answerUnreadPing is called again.
func (c *Device) unreadPingAfter() time.Duration {
	if c.keepAlive == 0 {
		return door.ForEver
	}
	return min(unreadPingEvery, time.Duration(c.keepAlive)*time.Second/2)
}

// Resume implements door.Handler. The silence of the device counts from now.
func (c *Device) Resume() {
	c.Conn.Resume()
	if c.Attached() {
		c.armKeepAlive()
	}
}
