package store

// Journal is where a durable store adds its operations. Its methods do not block: they may be called on a loop and
// with locks held.
type Journal interface {
	// Add adds an operation. What op points to is borrowed, but for Message.
	Add(op Op)
	// Commit is Store.Commit.
	Commit(done func(error))
	// Err is Store.Err.
	Err() error
}

// log adds operations to a journal; without a journal it does nothing.
type log struct{ journal Journal }

func (l log) add(op *Op) {
	if l.journal != nil {
		l.journal.Add(*op)
	}
}

// Apply makes the change of an operation of the journal, whatever the bounds are now. The caller applies all
// operations, in order, before it uses the store. Apply keeps p. To apply an operation twice has the same result as
// once.
func (s *Memory) Apply(p []byte) error {
	op, err := ParseOp(p)
	if err != nil {
		return err
	}
	switch op.Kind {
	case OpSave, OpUpdate, OpSubscribe, OpUnsubscribe:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.applyRecord(&op)
	case OpDrop:
		s.drop(op.Device)
	case OpReceive:
		s.receive(op.Device, op.Packet)
	case OpRelease:
		s.unreceive(op.Device, op.Packet)
	case OpRetain, OpRetained:
		s.retained.restore(op.Message, op.Size)
	case OpUnretain:
		s.retained.forget(op.Topic)
	case OpPut, OpDelete:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.applyValue(&op)
	case OpPush, OpSent, OpRemove, OpReceived, OpOrphan:
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case op.Kind == OpOrphan:
			s.applyValue(&Op{Space: SpaceOrphan, Key: op.Key, Value: op.Value})
		case op.Key != "":
			delete(s.values[SpaceOrphan], op.Key)
		}
		if s.records[op.Device] != nil { // otherwise its session has ended, and OpDrop follows
			s.queue(op.Device).apply(&op)
		}
	}
	return nil
}
