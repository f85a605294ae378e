package wire

import (
	"time"

	"github.com/longline/longline/internal/message"
)

// The accessors of a Packet's fields, by which both encodings read and fill it.

// text returns a pointer to the text field f of p.
func (p *Packet) text(f field) *string {
	switch f {
	case fieldSession:
		return &p.Hello.Session
	case fieldTopic:
		return &p.Message.Topic
	case fieldService:
		return &p.Service
	case fieldMethod:
		return &p.Method
	case fieldToken:
		return &p.Token
	default: // fieldType
		if p.Op == Pub || p.Op == Msg {
			return &p.Message.ContentType
		}
		return &p.ContentType
	}
}

// flag returns a pointer to the flag f of p.
func (p *Packet) flag(f field) *bool {
	switch f {
	case fieldResumed:
		return &p.Hello.Resumed
	case fieldConflate:
		return &p.Conflate
	case fieldAgain:
		return &p.Again
	default: // fieldRetain
		return &p.Message.Retain
	}
}

// payload returns a pointer to p's payload.
func (p *Packet) payload() *[]byte {
	if p.Op == Pub || p.Op == Msg {
		return &p.Message.Payload
	}
	return &p.Payload
}

// qos returns a pointer to p's QoS.
func (p *Packet) qos() *message.QoS {
	if p.Op == Sub {
		return &p.QoS
	}
	return &p.Message.QoS
}

// number returns the value of the number field f of p. Durations are rounded up, so that a short one
// does not become 0, which means none.
func (p *Packet) number(f field) uint64 {
	switch f {
	case fieldID:
		return p.ID
	case fieldHeartbeat:
		return ceil(p.Hello.Heartbeat, time.Second)
	case fieldMaxPayload:
		return uint64(p.Hello.MaxPayload)
	case fieldMissed:
		return p.Hello.Missed
	case fieldQoS:
		return uint64(*p.qos())
	case fieldExpiry:
		return ceil(p.Expiry, time.Second)
	case fieldExpires:
		return ceil(p.Lifetime, time.Second)
	case fieldTime:
		return uint64(p.Message.Time)
	default: // fieldTimeout
		return ceil(p.Timeout, time.Millisecond)
	}
}

func ceil(d, unit time.Duration) uint64 {
	n := d / unit
	if d%unit > 0 {
		n++
	}
	return uint64(n)
}

// setNumber sets the number field f of p to v, which is at most the field's maximum.
func (p *Packet) setNumber(f field, v uint64) {
	switch f {
	case fieldID:
		p.ID = v
	case fieldHeartbeat:
		p.Hello.Heartbeat = time.Duration(v) * time.Second
	case fieldMaxPayload:
		p.Hello.MaxPayload = int(v)
	case fieldMissed:
		p.Hello.Missed = v
	case fieldQoS:
		*p.qos() = message.QoS(v)
	case fieldExpiry:
		p.Expiry = time.Duration(v) * time.Second
	case fieldExpires:
		p.Lifetime = time.Duration(v) * time.Second
	case fieldTime:
		p.Message.Time = int64(v)
	case fieldTimeout:
		p.Timeout = time.Duration(v) * time.Millisecond
	}
}
