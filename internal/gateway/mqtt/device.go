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

// Device is one connection of a device that speaks MQTT 3.1, 3.1.1 or 5: a carrier of
// packets below, a session's link above. It belongs to its loop; of its methods, those that door.Conn names,
// Acks and speaks are safe from any goroutine.
//
// The flow: the carrier hands bytes to consume, which decodes packets and handles each. The
// first is CONNECT (connect.go): it is verified, attached to its session and answered.
// From then on publications and acknowledgements go to the link (uplink.go), and what the
// session owes comes by Send and SendPacket (downlink.go). Any end goes through finish
// (close.go).
type Device struct {
	door.Conn

	// Static after construction.
	shard   *Shard
	carrier carrier

	// Static after CONNECT.
	encoders  *encoders
	maxPacket uint32 // bytes that the client takes, its Maximum Packet Size; 0 is no limit
	aliasMax  uint16 // topic aliases that it takes
	keepAlive uint16 // seconds; 0 is without
	version   mqtt.Version
	terse     bool // it wants no reason strings: Request Problem Information 0

	// Owned by the loop.
	rare *rare // nil while it has nothing
}

// rare is what most connections do not need, or not for long.
type rare struct {
	inbound  []string // topics by alias from the device, the first is alias 1
	outbound []string // topics by alias to the device
	replied  []uint16 // identifiers of QoS 2 replies that are not released
	skip     skip     // the packet that is being read past
	opening  *opening // from the transport's or CONNECT's arrival until CONNACK, or nil
}

// more returns the connection's rare part, made when it is first needed.
func (c *Device) more() *rare {
	if c.rare == nil {
		c.rare = new(rare)
	}
	return c.rare
}

// carrier is what brings an MQTT connection's packets: a TCP stream, or WebSocket frames.
type carrier interface {
	// frame adds packets to dst as they are to be sent.
	frame(dst, packets []byte) []byte
	// pings reports whether ping asks a silent peer for a sign of life.
	pings() bool
	ping()
	// unread reports whether there are bytes of the peer that were not handled.
	unread() bool
	// end closes the connection once what is pending has left, and says why if it can.
	end(why *wire.Close)
}

// consume handles the packets that p begins with and returns how many bytes they had. It
// stops when the device is not to be read any more, or for now.
func (c *Device) consume(p []byte) (done int) {
	packet := &c.shard.packet
	for done < len(p) && c.Phase() != door.Ended && !c.Transport().Paused() && !c.Transport().Yields() {
		if c.skipping() {
			done += c.goOn(p[done:])
			continue
		}
		decoder := mqtt.Decoder{Version: c.version, MaxPacket: c.maxUplink(), Server: true}
		n, err := decoder.Decode(packet, p[done:])
		if errors.Is(err, mqtt.ErrTooLarge) && c.skips() {
			if n, err = c.beginSkip(&decoder, p[done:]); err == nil {
				if done += n; n > 0 {
					continue
				}
				break
			}
		}
		if err != nil && c.version == 0 {
			c.version = answerable(packet.Connect.Version, err, p[done:])
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

// maxUplink is the size of the largest packet that is taken: of one who is not verified, as of any handshake.
func (c *Device) maxUplink() int {
	config := &c.shard.server.Door.Config
	if c.Phase() == door.Arriving {
		return min(config.HeaderBytes, config.MaxPayload)
	}
	return config.MaxPayload
}

// answerable is the version in whose form a refused client is answered: its own, or 0 where
// it did not say one. A level that is not known is answered in the form of the CONNECT: that of
// 5 if it is one of 5 but for its level, else that of 3.1.1, as 3.1.1 §3.1.2.2 wants it.
func answerable(v mqtt.Version, err error, connect []byte) mqtt.Version {
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

// handle does what a packet says. The packet is borrowed. An error ends the connection.
func (c *Device) handle(p *mqtt.Packet) error {
	c.shard.MQTTPackets[p.Type]++
	c.shard.Note(p.Type == mqtt.Publish, len(p.Subscriptions)+len(p.Filters))
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
	if c.Exit(conn, err) != door.Ended {
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
		c.SetAlarm(min(c.shard.server.Door.Config.HeartbeatTimeout, c.reassureAfter()))
	case c.ReleaseReading():
		c.Resume()
	}
}

var errNotSent = errors.New("the packet is larger than the client takes")

// write sends a packet that is no PUBLISH: without reason string and user properties if the
// client does not take so much, and not at all if it does not even then [MQTT-3.1.2-24].
func (c *Device) write(p *mqtt.Packet) error {
	b, err := c.encode(p)
	if errors.Is(err, errNotSent) {
		p.Properties.ReasonString, p.Properties.User = "", nil
		b, err = c.encode(p)
	}
	if err == nil {
		c.Transport().Commit(c.carrier.frame(c.Transport().Reserve(len(b)+maxFraming), b))
	}
	return err
}

// encode puts a packet into the loop's scratch.
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
