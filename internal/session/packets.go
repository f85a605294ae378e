package session

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
)

// packets are the packet identifiers of what is on its way to the device, in the order in
// which it was first sent: that of the session's queue. They survive the connection, so that
// a message is sent again under the same one [MQTT-4.4.0-1].
//
//	PUBLISH 1:  inFlight -> PUBACK, gone
//	PUBLISH 2:  inFlight -> PUBREC -> released -> PUBCOMP, gone
//	new connection:  inFlight -> lapsed, released -> unreleased, until sent again
type packets struct {
	list   []packet
	lapsed int32 // of those, in this state
	last   uint16
	owes   bool // some may be unreleased
}

// packet is one message with its identifier.
type packet struct {
	message uint64 // its ID
	id      uint16
	qos     message.QoS
	state   packetState
	since   uint32 // Unix seconds at which what it waits for was asked for
}

// seconds is a time in Unix seconds.
func seconds(t time.Time) uint32 { return uint32(t.Unix()) }

// oldest returns since when the oldest that is on its way waits for its acknowledgement.
func (p *packets) oldest() (since time.Time, ok bool) {
	for _, e := range p.list {
		if e.state == inFlight || e.state == released {
			return time.Unix(int64(e.since), 0), true
		}
	}
	return time.Time{}, false
}

type packetState uint8

const (
	inFlight   packetState = iota // sent on this connection
	lapsed                        // sent on an older one
	released                      // PUBREL was sent on this connection
	unreleased                    // PUBREL has to be sent on this connection
)

// open is how many of the device's Receive Maximum are taken, MQTT 5 §4.9.
func (p *packets) open() int { return len(p.list) - int(p.lapsed) }

// rewind is for a connection that ended.
func (p *packets) rewind() {
	p.lapsed = 0
	for i := range p.list {
		switch e := &p.list[i]; e.state {
		case inFlight, lapsed:
			e.state = lapsed
			p.lapsed++
		case released:
			e.state = unreleased
			p.owes = true
		}
	}
	p.rest()
}

// rest gives back the memory of an empty list, which is lent as that of a queue is.
func (p *packets) rest() {
	if len(p.list) == 0 {
		p.list = nil
	}
}

// next returns the packet for a message that the queue gives to be sent: again the one that it
// had, or a new one. Those that lapsed and come before it have left the queue: lost.
func (p *packets) next(id uint64, q message.QoS) (_ packet, again bool) {
	for p.lapsed > 0 {
		i := p.first()
		if e := &p.list[i]; e.message == id {
			e.state, e.since = inFlight, seconds(time.Now())
			p.lapsed--
			return *e, true
		}
		p.lose(i)
	}
	e := packet{message: id, id: p.unused(), qos: q, since: seconds(time.Now())}
	p.list = append(p.list, e)
	return e, false
}

// loseAll is for a queue that has nothing to be sent.
func (p *packets) loseAll() {
	for p.lapsed > 0 {
		p.lose(p.first())
	}
}

// first finds the first that lapsed; there is one.
func (p *packets) first() int {
	return slices.IndexFunc(p.list, func(e packet) bool { return e.state == lapsed })
}

// lose gives up a message that expired or was pushed out after it was sent. The device may
// hold the identifier of a QoS 2 message as received, so that it would take another one for a
// repetition: PUBREL makes it forget, as if it had said PUBREC.
func (p *packets) lose(i int) {
	p.lapsed--
	if p.list[i].qos == message.ExactlyOnce {
		p.list[i].state, p.owes = unreleased, true
		return
	}
	p.list = slices.Delete(p.list, i, i+1)
}

// unused returns an identifier that is not in use [MQTT-2.2.1-4], and never 0 [MQTT-2.2.1-3].
func (p *packets) unused() uint16 {
	for {
		if p.last++; p.last != 0 && p.find(p.last) < 0 {
			return p.last
		}
	}
}

// find returns the place of an identifier, -1 when it is not in use.
func (p *packets) find(id uint16) int {
	return slices.IndexFunc(p.list, func(e packet) bool { return e.id == id })
}

// remove takes one out that did not lapse.
func (p *packets) remove(i int) { p.list = slices.Delete(p.list, i, i+1) }
