package store

import (
	"cmp"
	"slices"

	"github.com/longline/longline/internal/message"
)

// In the journal the messages of a queue have numbers, which rise with the order of the queue.

// note appends an operation of the queue.
func (q *queue) note(op *Op) {
	op.Device = q.device
	q.store.log.add(op)
}

// journal appends a message to the journal, unless it is of QoS 0.
func (q *queue) journal(e *entry) {
	if e.qos == message.AtMostOnce {
		return
	}
	q.lastNumber++
	e.number = q.lastNumber
	op := Op{Kind: OpPush, Number: e.number, QoS: e.qos, Due: e.due, Size: e.m.Size(), Shared: shared(e.m), Message: e.m}
	if e.m.Delivery != nil {
		op.Key = e.m.Delivery.Orphan
	}
	q.note(&op)
}

// noteSent appends that a message was sent, or lost its identifier.
func (q *queue) noteSent(e *entry) {
	q.note(&Op{Kind: OpSent, Number: e.number, Packet: e.id, Due: e.due, QoS: e.qos, Size: e.m.Size(), Shared: shared(e.m)})
}

// makeDurable appends the contents of the queue to the journal, when its device gets a record.
func (q *queue) makeDurable() {
	if q.durable {
		return
	}
	q.durable = true
	if n := q.store.numberer; n != nil {
		q.lastNumber = max(q.lastNumber, n.Base(q.device))
	}
	for i := range q.released {
		r := &q.released[i]
		q.lastNumber++
		r.number = q.lastNumber
		q.note(&Op{Kind: OpReceived, Number: r.number, Packet: r.id})
	}
	for i := q.head; i < len(q.entries); i++ {
		e := &q.entries[i]
		if e.m == nil {
			continue
		}
		if q.journal(e); e.number != 0 && e.id != 0 {
			q.noteSent(e)
		}
	}
}

// apply makes the change of an operation of the journal. No message is in flight.
func (q *queue) apply(op *Op) {
	q.lastNumber = max(q.lastNumber, op.Number)
	switch op.Kind {
	case OpPush:
		q.unapply(op.Number)
		q.insert(entry{m: op.Message, number: op.Number, due: op.Due, qos: op.QoS})
	case OpSent:
		if i, ok := q.search(op.Number); ok {
			q.entries[i].id, q.entries[i].due = op.Packet, op.Due
		}
	case OpRemove, OpOrphan:
		q.unapply(op.Number)
	case OpReceived:
		q.unapply(op.Number)
		q.released = append(q.released, release{number: op.Number, id: op.Packet})
	}
}

// insert puts e at the place of its number. Entries before cursor are gaps.
func (q *queue) insert(e entry) {
	if q.live == 0 {
		q.soonest = never
	}
	i, _ := q.search(e.number)
	q.entries = slices.Insert(q.entries, i, e)
	q.count(e.m)
	q.soonest = min(q.soonest, e.due)
}

// unapply removes what has the number, if there is something.
func (q *queue) unapply(number uint64) {
	if i, ok := q.search(number); ok {
		q.discount(q.entries[i].m)
		if q.entries[i] = (entry{}); i == q.cursor {
			q.cursor++
			q.head = q.cursor
		} else {
			q.entries = slices.Delete(q.entries, i, i+1)
		}
		q.reset()
	}
	q.released = slices.DeleteFunc(q.released, func(r release) bool { return r.number == number })
}

// search returns the place of a number among the unsent entries, which have no gaps.
func (q *queue) search(number uint64) (i int, ok bool) {
	i, ok = slices.BinarySearchFunc(q.entries[q.cursor:], number, func(e entry, n uint64) int { return cmp.Compare(e.number, n) })
	return q.cursor + i, ok
}
