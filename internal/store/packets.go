package store

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
)

func (q *queue) NextPacket(now time.Time, last uint16) (p Packet, ok bool) {
	i, ok := q.oldestUnsent(now)
	if !ok {
		return Packet{}, false
	}
	e := &q.entries[i]
	p = Packet{Message: e.m, QoS: e.qos, ID: e.id, Again: e.id != 0}
	if p.QoS == message.AtMostOnce {
		q.takeUnsent()
		return p, true
	}
	if q.send(e, now); p.ID == 0 {
		p.ID = q.unused(last)
		e.id = p.ID
	}
	if e.number != 0 && (!p.Again || e.qos == message.ExactlyOnce) {
		q.noteSent(e)
	}
	return p, true
}

// unused returns the next identifier after id that is free; never 0 [MQTT-2.2.1-3].
func (q *queue) unused(id uint16) uint16 {
	for {
		if id++; id != 0 && q.find(id) < 0 && q.findReleased(id) < 0 {
			return id
		}
	}
}

// find returns the index of the message that has an identifier, or -1.
func (q *queue) find(id uint16) int {
	for i := q.head; i < len(q.entries); i++ {
		switch e := &q.entries[i]; {
		case e.run != nil: // what has an identifier is not on the medium alone
			return -1
		case e.m == nil:
		case e.id == id:
			return i
		case e.id == 0 && i >= q.cursor: // no message was sent from here on
			return -1
		}
	}
	return -1
}

func (q *queue) findReleased(id uint16) int {
	return slices.IndexFunc(q.released, func(r release) bool { return r.id == id })
}

func (q *queue) Acked(id uint16) (m uint64, err error) {
	switch i := q.find(id); {
	case i < 0 && q.findReleased(id) >= 0, i >= 0 && q.entries[i].qos != message.AtLeastOnce:
		return 0, ErrNotDue
	case i < 0 || i >= q.cursor:
		return 0, nil
	default:
		m = q.entries[i].m.ID
		q.takeSent(i)
		return m, nil
	}
}

func (q *queue) Received(id uint16, refused bool, now time.Time) (m uint64, found bool, err error) {
	if i := q.find(id); i >= 0 {
		switch {
		case q.entries[i].qos != message.ExactlyOnce:
			return 0, false, ErrNotDue
		case i >= q.cursor:
			return 0, false, nil
		}
		m = q.entries[i].m.ID
		q.takeSent(i)
	}
	i := q.findReleased(id)
	if i < 0 {
		return 0, false, nil
	}
	if refused {
		q.free(i)
		return m, true, nil
	}
	r := &q.released[i]
	r.told, r.since = true, uint32(now.Unix())
	return m, true, nil
}

func (q *queue) Completed(id uint16) (freed bool, err error) {
	if i := q.find(id); i >= 0 {
		if i < q.cursor {
			err = ErrNotDue
		}
		return false, err
	}
	i := q.findReleased(id)
	if i < 0 || !q.released[i].told {
		return false, nil
	}
	q.free(i)
	return true, nil
}

func (q *queue) NextRelease(now time.Time) (id uint16, ok bool) {
	for i := range q.released {
		if r := &q.released[i]; !r.told {
			r.told, r.since = true, uint32(now.Unix())
			return r.id, true
		}
	}
	return 0, false
}

func (q *queue) ForgetPackets() {
	for len(q.released) > 0 {
		q.free(len(q.released) - 1)
	}
	for i := q.head; i < len(q.entries); i++ {
		e := &q.entries[i]
		if e.id == 0 {
			continue
		}
		if e.id = 0; e.number != 0 {
			q.noteSent(e)
		}
	}
}

func (q *queue) Open() int { return q.inFlight + len(q.released) }

// release notes that the identifier of a QoS 2 message is to be released.
func (q *queue) release(number uint64, id uint16) {
	q.released = append(q.released, release{number: number, id: id})
	if number != 0 {
		q.note(&Op{Kind: OpReceived, Number: number, Packet: id})
	}
}

// free removes an identifier that was to be released.
func (q *queue) free(i int) {
	if n := q.released[i].number; n != 0 {
		q.note(&Op{Kind: OpRemove, Number: n})
	}
	if q.released = slices.Delete(q.released, i, i+1); len(q.released) == 0 && cap(q.released) > fewEntries {
		q.released = nil
	}
}
