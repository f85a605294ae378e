package mqtt

import "github.com/longline/longline/internal/message"

// maxRemaining is the largest remaining length, in bytes, §2.1.4.
const maxRemaining = 1<<28 - 1

// Decoder decodes the packets of one peer from a stream of bytes. It has no state: its caller sets
// what it needs to know about the connection.
type Decoder struct {
	// Version is the version of the CONNECT; 0 until there was one, when only CONNECT is legal.
	// The caller sets it. A client's decoder has it from the start.
	Version Version
	// MaxPacket is the largest packet in bytes, with its fixed header; 0 is the protocol's
	// limit, 268,435,460.
	MaxPacket int
	// Server says that this side is the server, which decodes the packets of clients.
	Server bool
}

// Size returns the length in bytes, with the fixed header, of the packet at the beginning of b:
// 0 if b is too short to tell. The error is an *Error, and comes as early as b shows it.
func (d *Decoder) Size(b []byte) (int, error) {
	n, _, err := d.measure(b)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// measure returns the size of the packet, 0 if unknown, and the size of its fixed header.
func (d *Decoder) measure(b []byte) (size, header int, err *Error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	if err := d.checkFirst(b[0]); err != nil {
		return 0, 0, err
	}
	remaining, n := varint(b[1:])
	switch {
	case n < 0:
		return 0, 0, ErrLength
	case n == 0:
		return 0, 0, nil
	case d.Version == V5 && !shortest(b[1:1+n]): // [MQTT-1.5.5-1]; 3.1.1 has no such rule
		return 0, 0, ErrVarint
	}
	header = 1 + n
	size = header + remaining
	if d.MaxPacket > 0 && size > d.MaxPacket { // [MQTT-3.1.2-24] [MQTT-3.2.2-15]
		return 0, 0, ErrTooLarge
	}
	return size, header, nil
}

// Flags of PUBLISH, §3.3.1. In MQTT 3.1 PUBREL, SUBSCRIBE and UNSUBSCRIBE have DUP as well, and
// those of CONNECT are not used, 3.1 §3.1.
const (
	flagRetain = 1 << 0
	flagDup    = 1 << 3
)

// checkFirst checks the rules for the first byte, §2.1.2 and §2.1.3.
func (d *Decoder) checkFirst(first byte) *Error {
	t, flags := Type(first>>4), first&0x0F
	switch {
	case t == 0:
		return ErrReservedType
	case d.Version == 0 && t != Connect:
		return ErrNotConnect // [MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1]
	case d.Version != 0 && t == Connect && d.Server:
		return ErrSecondConnect // [MQTT-3.1.0-2] [3.1.1 MQTT-3.1.0-2]
	case !t.sends(d.Version, !d.Server):
		return ErrSender
	case t == Publish:
		return checkPublishFlags(flags)
	case t == Connect && d.Server:
		return nil // only the version, which comes later, decides whether the flags are reserved: see Decode
	case d.Version == V3 && forms[t].flags != 0 && flags == forms[t].flags|flagDup:
		return nil
	case flags != forms[t].flags: // [MQTT-2.1.3-1] [3.1.1 MQTT-2.2.2-1] [3.1.1 MQTT-2.2.2-2]
		return forms[t].flagRule
	}
	return nil
}

func checkPublishFlags(flags byte) *Error {
	switch dup, qos := flags&flagDup != 0, flags>>1&3; {
	case qos == 3: // [MQTT-3.3.1-4] [3.1.1 MQTT-3.3.1-4]
		return ErrQoS
	case dup && qos == 0: // [MQTT-3.3.1-2] [3.1.1 MQTT-3.3.1-2]
		return ErrDup
	}
	return nil
}

// Decode fills p from the packet at the beginning of b and returns its length n in bytes; n is 0
// if b does not hold all of it. p is a view of b. The error is an *Error and comes as early
// as b shows it; of p, only Connect.Version is valid then.
func (d *Decoder) Decode(p *Packet, b []byte) (n int, err error) {
	size, header, e := d.measure(b)
	if e != nil {
		p.Connect.Version = 0
		return 0, e
	}
	if size == 0 || len(b) < size {
		return 0, nil
	}
	p.Reset()
	first := b[0]
	p.Type = Type(first >> 4)
	if p.Type == Publish {
		p.Dup, p.QoS, p.Retain = first&flagDup != 0, message.QoS(first>>1&3), first&flagRetain != 0
	}
	r := reader{b: b[header:size:size]}
	d.body(p, &r)
	r.require(len(r.b) == 0, ErrTrailing)
	// [MQTT-1.5.5-1]: only now it is known whether the CONNECT's version has this rule
	r.require(p.Connect.Version != V5 || shortest(b[1:header]), ErrVarint)
	// [MQTT-2.1.3-1] [3.1.1 MQTT-2.2.2-2]: and whether its flags are reserved
	r.require(p.Type != Connect || first&0x0F == 0 || p.Connect.Version == V3, ErrFlags)
	if r.err != nil {
		return 0, r.err
	}
	return size, nil
}

// body reads what follows the fixed header.
func (d *Decoder) body(p *Packet, r *reader) {
	switch p.Type {
	case Connect:
		r.connect(p)
	case Connack:
		d.connack(p, r)
	case Publish:
		d.publish(p, r)
	case Puback, Pubrec, Pubrel, Pubcomp:
		d.acknowledgement(p, r)
	case Subscribe:
		d.subscribe(p, r)
	case Suback, Unsuback:
		d.subscribed(p, r)
	case Unsubscribe:
		d.unsubscribe(p, r)
	case Disconnect, Auth:
		d.disconnectOrAuth(p, r)
	case Pingreq, Pingresp: // nothing follows
	}
}
