package message

import (
	"sync/atomic"
	"unsafe"
)

// Account is what a node owes: the bytes of the messages that it keeps for somebody, in queues, lines,
// retained, as wills. A message that many wait for is in it once, and each place in which it is kept as an
// entry. It is asked before a message is taken, so that it cannot be outrun. A nil Account has no
// bound. Safe from any goroutine.
type Account struct {
	bytes, most atomic.Int64
}

// SetLimit bounds the account, in bytes; 0 is no bound.
func (a *Account) SetLimit(bytes int64) {
	if a != nil {
		a.most.Store(bytes)
	}
}

// Full reports whether nothing more may be taken.
func (a *Account) Full() bool {
	if a == nil {
		return false
	}
	most := a.most.Load()
	return most > 0 && a.bytes.Load() >= most
}

// Bytes returns what is owed, and the bound.
func (a *Account) Bytes() (owed, limit int64) {
	if a == nil {
		return 0, 0
	}
	return a.bytes.Load(), a.most.Load()
}

const (
	messageBytes = int64(unsafe.Sizeof(Message{})) + 64 // and the allocator's rounding
	entryBytes   = 48                                   // of a queue or a list, which grow by doubling
)

// Hold notes one more place in which an owned message is kept. Who keeps it no longer calls Release.
func (m *Message) Hold(a *Account) {
	if a == nil {
		return
	}
	n := int64(entryBytes)
	if m.holders.Add(1) == 1 {
		n += messageBytes + int64(m.Size())
	}
	a.bytes.Add(n)
}

// Release undoes a Hold.
func (m *Message) Release(a *Account) {
	if a == nil {
		return
	}
	n := int64(entryBytes)
	if m.holders.Add(-1) == 0 {
		n += messageBytes + int64(m.Size())
	}
	a.bytes.Add(-n)
}
