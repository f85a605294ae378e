package mqtt

import "github.com/longline/longline/internal/message"

// Oversized describes a PUBLISH that is too large to be read: its length, and
// what its acknowledgement needs.
type Oversized struct {
	Size int // bytes, with the fixed header
	ID   uint16
	QoS  message.QoS
}

// Oversize reads the beginning of a packet that is larger than MaxPacket. ok is false if b is too short, which
// takes no more than the length of its topic. The error is an *Error: ErrTooLarge when the
// packet is no PUBLISH.
func (d *Decoder) Oversize(b []byte) (o Oversized, ok bool, err error) {
	unbounded := *d
	unbounded.MaxPacket = 0
	size, header, e := unbounded.measure(b)
	switch {
	case e != nil:
		return o, false, e
	case size == 0:
		return o, false, nil
	case Type(b[0]>>4) != Publish:
		return o, false, ErrTooLarge
	}
	o = Oversized{Size: size, QoS: message.QoS(b[0] >> 1 & 3)}
	if o.QoS == message.AtMostOnce {
		return o, true, nil
	}
	r := reader{b: b[header:min(len(b), size)]}
	if r.binary(); r.err == nil {
		o.ID = r.id()
	}
	switch {
	case r.err == nil:
		return o, true, nil
	case r.err == ErrTruncated && len(b) < size:
		return Oversized{}, false, nil
	}
	return Oversized{}, false, r.err
}
