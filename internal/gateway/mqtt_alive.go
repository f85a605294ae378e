package gateway

import (
	"cmp"
	"time"

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
func (c *mqttDevice) patience() time.Duration {
	switch {
	case c.keepAlive > 0:
		return time.Duration(c.keepAlive) * time.Second * 3 / 2
	case c.carrier.pings():
		return c.shard.gateway.config.HeartbeatTimeout
	}
	return 0
}

// watch begins to look for silence.
func (c *mqttDevice) watch() {
	switch limit := c.patience(); {
	case limit == 0:
		c.conn.Probe(c.shard.gateway.config.HeartbeatTimeout)
		c.setAlarm(c.shard.gateway.config.HeartbeatTimeout) // in place of the handshake's
	case c.keepAlive == 0:
		c.setAlarm(c.shard.gateway.heartbeatAfter(c.conn))
	default:
		c.setAlarm(limit)
	}
}

// OnAlarm implements reactor.Handler: for silence, for the end of a credential, and for that of the handshake's time.
func (c *mqttDevice) OnAlarm(*reactor.Conn) {
	switch {
	case c.phase != attached:
		c.timeOut()
	case !c.stillHeld():
		c.beat()
	}
}

// listen implements handler: it closes a connection that is silent for too long, and pings one that may be gone.
// The device has no way to show another credential but to connect again.
func (c *mqttDevice) listen() {
	limit, silence := c.patience(), c.conn.Silence()
	ping := c.shard.gateway.heartbeatAfter(c.conn)
	switch {
	case c.conn.Paused():
		c.outwait(cmp.Or(limit, c.shard.gateway.config.HeartbeatTimeout), silence)
	case limit == 0:
		c.setAlarm(forEver)
	case silence >= limit:
		c.fail(wire.CloseHeartbeat)
	case c.keepAlive > 0:
		c.setAlarm(limit - silence)
	case silence < ping:
		c.setAlarm(ping - silence)
	default:
		c.carrier.ping()
		c.setAlarm(limit - silence)
	}
}

// outwait is for a connection that is not read: it is we who do not listen. But where others
// wait for what it acknowledges, and it for them or for itself, nobody would ever go on.
func (c *mqttDevice) outwait(limit, silence time.Duration) {
	c.reassure()
	switch {
	case silence < limit:
		c.setAlarm(min(limit-silence, c.reassureAfter()))
	case c.link.Stuck():
		c.fail(errStuck)
	default:
		c.setAlarm(min(limit, c.reassureAfter()))
	}
}

// reassure answers the PINGREQ that may be in what the device has sent and is not read, behind publications
// that wait for their receivers: it would take us for dead. A PINGRESP too many harms nobody, so it
// is answered again when it is read.
func (c *mqttDevice) reassure() {
	if c.keepAlive > 0 && c.carrier.unread() {
		_ = c.write(&mqtt.Packet{Type: mqtt.Pingresp})
	}
}

// reassureEvery is how long a PINGREQ that is not read may be without an answer: clients wait for a part of
// their keep alive, some for few seconds.
const reassureEvery = 2 * time.Second

// reassureAfter is how often that is done.
func (c *mqttDevice) reassureAfter() time.Duration {
	if c.keepAlive == 0 {
		return forEver
	}
	return min(reassureEvery, time.Duration(c.keepAlive)*time.Second/2)
}

// resume implements handler. A device that was not listened to has its patience anew.
func (c *mqttDevice) resume() {
	c.connection.resume()
	if c.phase == attached {
		c.watch()
	}
}
