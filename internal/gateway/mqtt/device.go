package mqtt

import (
	"bytes"
	"errors"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Device is one connection of a device that speaks MQTT 3.1, 3.1.1 or 5: a carrier of packets below, a session's link
// above. It belongs to its loop; of its methods, those that door.Conn names, Acks and Protocol are safe from any
// goroutine.
//
// The flow: the carrier gives bytes to consume, which decodes packets and handles each. The first is CONNECT
// (connect.go): the entrance verifies it, attaches the session, and greet answers it. From then on publications and
// acknowledgements go to the link (uplink.go), and the session's messages come by Send and SendPacket (downlink.go).
// Every end goes through finish (close.go).
type Device struct {
	door.Conn

	// Static after construction.
	shard   *Shard
	carrier carrier

	// Static after CONNECT.
	encoders  *encoders
	maxPacket uint32 // the client's Maximum Packet Size, in bytes; 0 means no limit
	aliasMax  uint16 // the client's Topic Alias Maximum
	keepAlive uint16 // seconds; 0 means none
	version   mqtt.Version
	noReasons bool // the client wants no reason strings: Request Problem Information 0

	// Owned by the loop.
	rare *rare // nil when there is none
}

// rare is what most connections do not need, or not for long.
type rare struct {
	inbound  []string // topics of aliases from the device, beginning with alias 1
	outbound []string // topics of aliases to the device, beginning with alias 1
	skip     skip     // the packet that is being skipped
	opening  *opening // until CONNACK; nil otherwise
}

// more returns the connection's rare part, which it makes if necessary.
func (c *Device) more() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// carrier is the transport of an MQTT connection's packets: a TCP stream, or WebSocket frames.
type carrier interface {
	// frame appends packets to dst as they are sent.
	frame(dst, packets []byte) []byte
	// pings reports whether ping makes a silent peer answer.
	pings() bool
	ping()
	// unread reports whether bytes of the peer are not handled yet.
	unread() bool
	// end closes the connection once everything pending is sent, and says why if it can.
	end(why *wire.Close)
}

// consume handles the complete packets of p and returns how many bytes they had. It stops before the end if the device
// is not to be read any more, or has to yield.
func (c *Device) consume(p []byte) (done int) {
	packet := &c.shard.packet
	for done < len(p) && c.Phase() != door.Ended && !c.Transport().Paused() && !c.Transport().Yields() {
		if c.skipping() {
			done += c.skipMore(p[done:])
			continue
		}
		decoder := mqtt.Decoder{Version: c.version, MaxPacket: c.maxUplink(), Server: true}
		n, err := decoder.Decode(packet, p[done:])
		if errors.Is(err, mqtt.ErrTooLarge) && c.maySkip() {
			if n, err = c.beginSkip(&decoder, p[done:]); err == nil {
				if done += n; n > 0 {
					continue
				}
				break
			}
		}
		if err != nil && c.version == 0 {
			c.version = answerVersion(packet.Connect.Version, err, p[done:])
		}
		if err == nil && n > 0 {
			err = c.handle(packet)
		}
		if err != nil {
			c.Fail(err)
		}
		if n == 0 {
			break
		}
		done += n
		c.AfterPacket()
	}
	if c.Phase() == door.Ended {
		return len(p)
	}
	return done
}

// maxUplink returns the size of the largest packet that the gateway accepts: before CONNECT is accepted, that of a
// handshake.
func (c *Device) maxUplink() int {
	config := &c.shard.server.Door.Config
	if c.Phase() == door.Handshaking {
		return min(config.HeaderBytes, config.MaxPayload)
	}
	return config.MaxPayload
}

// answerVersion returns the version in which a refused client is answered: its own, or 0 if it named none. A client of
// an unknown protocol level is answered in MQTT 5 if its CONNECT is one of MQTT 5 except for the level, else in 3.1.1,
// as 3.1.1 §3.1.2.2 asks for.
func answerVersion(v mqtt.Version, err error, connect []byte) mqtt.Version {
	switch {
	case !errors.Is(err, mqtt.ErrProtocolLevel):
		return v
	case likeV5(connect):
		return mqtt.V5
	}
	return mqtt.V4
}

// likeV5 reports whether a CONNECT of an unknown level has the fields of MQTT 5.
func likeV5(connect []byte) bool {
	name := []byte("\x00\x04MQTT")
	before, after, found := bytes.Cut(connect, name)
	if !found || len(after) == 0 {
		return false
	}
	b := bytes.Clone(connect)
	b[len(before)+len(name)] = byte(mqtt.V5)
	n, err := (&mqtt.Decoder{Server: true}).Decode(new(mqtt.Packet), b)
	return n > 0 && err == nil
}

// handle does what a packet asks for. The packet is borrowed. An error ends the connection.
func (c *Device) handle(p *mqtt.Packet) error {
	c.shard.MQTTPackets[p.Type]++
	c.shard.CountPacket(p.Type == mqtt.Publish, len(p.Subscriptions)+len(p.Filters))
	switch p.Type {
	case mqtt.Connect:
		return c.connect(p)
	case mqtt.Publish:
		return c.publish(p)
	case mqtt.Puback:
		return c.Link().Acked(p.ID)
	case mqtt.Pubrec:
		return c.received(p)
	case mqtt.Pubrel:
		c.released(p)
	case mqtt.Pubcomp:
		return c.Link().Completed(p.ID)
	case mqtt.Subscribe:
		c.subscribe(p)
	case mqtt.Unsubscribe:
		c.unsubscribe(p)
	case mqtt.Pingreq: // [MQTT-3.12.4-1] [3.1.1 MQTT-3.12.4-1]
		_ = c.write(&mqtt.Packet{Type: mqtt.Pingresp})
	case mqtt.Disconnect:
		return c.disconnect(p)
	default:
		return errNoAuth
	}
	return nil
}

// OnClose implements reactor.Handler.
func (c *Device) OnClose(conn *reactor.Conn, err error) {
	if c.AfterClose(conn, err) != door.Ended {
		c.rare = nil
	}
}

var _ session.Exchanger = (*Device)(nil)

// Protocol implements door.Handler.
func (c *Device) Protocol() string {
	switch c.version {
	case mqtt.V3:
		return "mqtt 3.1"
	case mqtt.V4:
		return "mqtt 3.1.1"
	}
	return "mqtt 5"
}

// Acks implements session.Conn.
func (c *Device) Acks() bool { return true }

// SetReading implements session.Conn.
func (c *Device) SetReading(on bool) {
	switch {
	case !on:
		c.HoldReading()
		c.SetAlarm(min(c.shard.server.Door.Config.HeartbeatTimeout, c.unreadPingAfter()))
	case c.ReleaseReading():
		c.Resume()
	}
}

var errNotSent = errors.New("the packet is larger than the client's Maximum Packet Size")

// write sends a packet that is no PUBLISH. If it is larger than the client accepts, write sends it without reason
// string and user properties, and not at all if it is still too large [MQTT-3.1.2-24].
func (c *Device) write(p *mqtt.Packet) error {
	b, err := c.encode(p)
	if errors.Is(err, errNotSent) {
		p.Properties.ReasonString, p.Properties.User = "", nil
		b, err = c.encode(p)
	}
	if err == nil {
		c.send(b)
	}
	return err
}

// send sends an encoded packet.
func (c *Device) send(b []byte) {
	c.Transport().Commit(c.carrier.frame(c.Transport().Reserve(len(b)+maxFraming), b))
}

// encode encodes a packet into the loop's scratch.
func (c *Device) encode(p *mqtt.Packet) ([]byte, error) {
	b, err := mqtt.Append(c.shard.scratch[:0], c.version, p)
	if err != nil {
		return nil, err
	}
	if cap(b) <= maxScratch {
		c.shard.scratch = b
	}
	if c.maxPacket > 0 && len(b) > int(c.maxPacket) {
		return nil, errNotSent
	}
	return b, nil
}
