package mqtt

import "github.com/longline/longline/internal/message"

// Connect flags, §3.1.2.3.
const (
	flagReserved   = 1 << 0
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// names are the protocol names by version, §3.1.2.1.
var names = map[Version]string{V3: "MQIsdp", V4: "MQTT", V5: "MQTT"}

// connect reads a CONNECT, §3.1. The order of its fields is fixed [MQTT-3.1.3-1].
func (r *reader) connect(p *Packet) {
	c := &p.Connect
	r.protocol(c)
	flags := r.byte()
	r.connectFlags(c, flags)
	c.KeepAlive = r.uint16()
	if c.Version == V5 {
		r.properties(&p.Properties, Connect)
	}
	c.ClientID = r.text() // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
	// [3.1.1 MQTT-3.1.3-7] [3.1.1 MQTT-3.1.3-8]: in 3.1.1 it may be empty for a clean session,
	// in 3.1 never. The limit of 23 characters, MQTT 3.1 §3.1, is not enforced
	r.require(c.ClientID != "" || c.Version == V5 || c.Version == V4 && c.Clean, ErrNoClientID)
	if c.HasWill { // [MQTT-3.1.2-9]
		r.will(&c.Will, c.Version)
	}
	if c.HasUsername { // [MQTT-3.1.2-16] [MQTT-3.1.2-17]
		c.Username = r.text() // [MQTT-3.1.3-12]
	}
	if c.HasPassword { // [MQTT-3.1.2-18] [MQTT-3.1.2-19]
		c.Password = r.binary()
	}
}

// protocol reads the protocol name and level. The rest of a CONNECT with an unknown level is not read.
func (r *reader) protocol(c *Client) {
	name := r.text()
	r.require(name == "MQTT" || name == "MQIsdp", ErrProtocolName) // [MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-1]
	c.Version = Version(r.byte())
	r.require(names[c.Version] == name, ErrProtocolLevel) // [MQTT-3.1.2-2] [3.1.1 MQTT-3.1.2-2]
}

// connectFlags sets c from the connect flags, §3.1.2.3 to §3.1.2.9.
func (r *reader) connectFlags(c *Client, flags byte) {
	c.Clean = flags&flagClean != 0
	c.HasWill = flags&flagWill != 0
	c.HasUsername = flags&flagUsername != 0
	c.HasPassword = flags&flagPassword != 0
	c.Will.QoS = message.QoS(flags & flagWillQoS >> 3)
	c.Will.Retain = flags&flagWillRetain != 0

	r.require(flags&flagReserved == 0 || c.Version == V3, ErrConnectFlag)           // [MQTT-3.1.2-3] [3.1.1 MQTT-3.1.2-3]; 3.1 has no such rule
	r.require(c.HasWill || c.Will.QoS == 0, ErrWillQoS)                             // [MQTT-3.1.2-11] [3.1.1 MQTT-3.1.2-13]
	r.require(c.HasWill || !c.Will.Retain, ErrWillRetain)                           // [MQTT-3.1.2-13] [3.1.1 MQTT-3.1.2-15]
	r.require(c.Will.QoS <= 2, ErrWillQoS3)                                         // [MQTT-3.1.2-12] [3.1.1 MQTT-3.1.2-14]
	r.require(c.Version == V5 || c.HasUsername || !c.HasPassword, ErrPasswordAlone) // [3.1.1 MQTT-3.1.2-22]
}

// will reads the will of a CONNECT, §3.1.3.2 to §3.1.3.4.
func (r *reader) will(w *Will, v Version) {
	if v == V5 {
		r.properties(&w.Properties, inWill)
	}
	w.Topic = r.text()                                 // [MQTT-3.1.3-11] [3.1.1 MQTT-3.1.3-10]
	r.require(w.Topic != "", ErrEmptyTopic)            // [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.3-1]
	r.require(!hasWildcard(w.Topic), ErrTopicWildcard) // it becomes a PUBLISH: [MQTT-3.3.2-2]
	w.Payload = r.binary()
}

// connack reads a CONNACK, §3.2. Return codes of 3.1.1 become reason codes of 5.
func (d *Decoder) connack(p *Packet, r *reader) {
	flags := r.byte()
	// [MQTT-3.2.2-1]; 3.1 has no session present flag, and its byte is reserved without a fixed value
	r.require(flags&^1 == 0 || d.Version == V3, ErrConnackFlags)
	p.SessionPresent = flags&1 != 0 && d.Version > V3
	if d.Version == V5 {
		p.Reason = d.code(Connack, r) // [MQTT-3.2.2-8]
		d.properties(p, r)
	} else {
		p.Reason = r.returnCode()
	}
	// [MQTT-3.2.2-6] [3.1.1 MQTT-3.2.2-4]
	r.require(p.Reason == Success || !p.SessionPresent, ErrSessionOfRefused)
}

// returnCode reads the return code of a 3.1.1 CONNACK, of which there are six.
func (r *reader) returnCode() Code {
	n := int(r.byte())
	if n >= len(connackV3) { // [3.1.1 MQTT-3.2.2-6]
		r.fail(ErrConnackCode)
		return 0
	}
	return connackV3[n]
}
