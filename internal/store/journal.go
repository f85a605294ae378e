package store

import (
	"sync"
)

// Journal is where a durable store appends its operations. Its methods do not block: they may be called on a loop and with
// locks held.
type Journal interface {
	// Append takes an operation, behind those that were appended before. p is borrowed.
	Append(p []byte)
	// Commit is Store.Commit.
	Commit(done func(error))
	// Err is Store.Err.
	Err() error
}

// log is the way to a journal; without one it does nothing.
type log struct{ journal Journal }

// encoded are buffers for operations.
var encoded = sync.Pool{New: func() any { return new([]byte) }}

// keptBuffer is the size of the largest buffer that is used again.
const keptBuffer = 64 << 10

func (l log) add(op *Op) {
	if l.journal == nil {
		return
	}
	b := encoded.Get().(*[]byte)
	*b = AppendOp((*b)[:0], op)
	l.journal.Append(*b)
	if cap(*b) <= keptBuffer {
		encoded.Put(b)
	}
}

// Apply makes the change that an operation of the journal tells, whatever the bounds are by now. It is called for all of
// them, in their order, before the store is used, and keeps p. What is applied twice is the same as once.
func (s *Memory) Apply(p []byte) error {
	op, err := ParseOp(p)
	if err != nil {
		return err
	}
	switch op.Kind {
	case OpSave:
		s.save(op.Record)
	case OpDrop:
		s.drop(op.Device)
	case OpReceive:
		s.receive(op.Device, op.Packet)
	case OpRelease:
		s.unreceive(op.Device, op.Packet)
	case OpRetain:
		s.retained.restore(op.Message)
	case OpUnretain:
		s.retained.forget(op.Topic)
	case OpPush, OpSent, OpRemove, OpReceived:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.records[op.Device] != nil { // else its session has ended by now, and OpDrop follows
			s.queue(op.Device).apply(&op)
		}
	}
	return nil
}
