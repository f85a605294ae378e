package store

import (
	"encoding/binary"
	"fmt"

	"github.com/longline/longline/internal/message"
)

// Owed is what a queue has to know of a message that is on the medium alone, or of an identifier to be released.
type Owed struct {
	Number   uint64
	Due      int64 // when the message expires, in Unix milliseconds
	Size     int   // of the message, see message.Message.Size
	Packet   uint16
	QoS      message.QoS
	Shared   bool // the message came by a shared subscription
	Released bool // Packet is to be released, and there is no message
}

// OwedBy returns what an operation says of the message of its number: an OpPush, OpSent or OpReceived.
func OwedBy(op *Op) Owed {
	o := Owed{Number: op.Number, Due: op.Due, Size: op.Size, Packet: op.Packet, QoS: op.QoS, Shared: op.Shared, Released: op.Kind == OpReceived}
	if m := op.Message; m != nil {
		o.Size, o.Shared = m.Size(), shared(m)
	}
	return o
}

// shared reports whether a message came by a shared subscription.
func shared(m *message.Message) bool { return m.Delivery != nil && m.Delivery.Share != "" }

// exchanged reports whether it is a QoS 2 message that the device may have received.
func (o *Owed) exchanged() bool { return o.Packet != 0 && o.QoS == message.ExactlyOnce }

// The first byte of an encoded Owed is its QoS, or owedReleased, and perhaps owedShared.
const (
	owedReleased = 3
	owedQoS      = 3 // the bits
	owedShared   = 4
)

// AppendOwed appends o, encoded, but for its number.
func AppendOwed(dst []byte, o *Owed) []byte {
	head := byte(o.QoS)
	if o.Released {
		head = owedReleased
	}
	if o.Shared {
		head |= owedShared
	}
	dst = binary.BigEndian.AppendUint16(append(dst, head), o.Packet)
	return binary.AppendVarint(binary.AppendUvarint(dst, uint64(o.Size)), o.Due)
}

// ParseOwed undoes AppendOwed.
func ParseOwed(number uint64, p []byte) (o Owed, err error) {
	if len(p) < 5 || p[0] > owedQoS|owedShared {
		return o, fmt.Errorf("%w: it does not tell of a message", ErrOp)
	}
	o = Owed{Number: number, QoS: message.QoS(p[0] & owedQoS), Shared: p[0]&owedShared != 0, Packet: binary.BigEndian.Uint16(p[1:])}
	if o.QoS == owedReleased {
		o.QoS, o.Released = 0, true
	}
	p = p[3:]
	size, n := binary.Uvarint(p)
	due, m := binary.Varint(p[max(n, 0):])
	if n <= 0 || m <= 0 || n+m != len(p) {
		return o, fmt.Errorf("%w: what it tells of a message is cut off", ErrOp)
	}
	o.Size, o.Due = int(size), due
	return o, nil
}

// Restore gives the store what a medium knows of the queue of a device that has a record, in the order of numbers. The caller
// restores all queues before it uses the store.
func (s *Memory) Restore(device string, owed []Owed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[device] == nil {
		return // its session has ended, and OpDrop follows
	}
	q := s.queue(device)
	for i := range owed {
		q.restore(&owed[i])
	}
}
