package websocket

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// assembly is a frame or message that came in pieces: the state that a Reader has only
// while there is one, and the buffer of its payload. Both are borrowed from the pools.
type assembly struct {
	buf []byte

	// The frame under way.
	left uint64 // payload bytes still to come
	key  uint32 // turned to meet the next of them
	open bool   // false between the frames of a message
	fin  bool

	// The message.
	op         Opcode
	compressed bool
	text       utf8Checker

	// lent: the buffer is in the caller's hands until the next call.
	lent bool
}

// Buffers have 512 bytes times a power of two. Those of at most 1 MiB are pooled.
const (
	smallestClass = 9
	classes       = 12
)

// pools[i] holds assemblies whose buffer has 512<<i bytes.
var pools [classes]sync.Pool

// class returns the index of the smallest buffer with room for n bytes.
func class(n int) int { return bits.Len(uint(max(n, 1)-1) >> smallestClass) }

// lent counts the assemblies that Readers have. Safe from any goroutine.
var lent atomic.Int64

// Unfinished returns how many messages and control frames came to the Readers of this process
// in pieces, and have not been whole or given up: each holds what has come of it.
func Unfinished() int64 { return lent.Load() }

// borrow returns an empty assembly with room for n bytes.
func borrow(n int) *assembly {
	lent.Add(1)
	c := class(n)
	if c < classes {
		if a, ok := pools[c].Get().(*assembly); ok {
			return a
		}
	}
	return &assembly{buf: make([]byte, 0, 1<<(c+smallestClass))}
}

// giveBack ends the use of a and its buffer.
func (a *assembly) giveBack() {
	lent.Add(-1)
	*a = assembly{buf: a.buf[:0]}
	if c := class(cap(a.buf)); c < classes {
		pools[c].Put(a)
	}
}

// grow makes room for n more bytes, by taking a larger buffer when it must.
func (a *assembly) grow(n int) {
	need := len(a.buf) + n
	if need <= cap(a.buf) {
		return
	}
	b := borrow(need)
	a.buf, b.buf = append(b.buf, a.buf...), a.buf
	b.giveBack()
}
