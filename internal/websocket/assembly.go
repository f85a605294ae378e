package websocket

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// assembly is a frame or message that arrives in pieces: the state that a Reader has only
// while one is unfinished, and the buffer of its payload. Both are borrowed from the pools.
type assembly struct {
	buf []byte

	// The current frame.
	left uint64 // payload bytes that have not arrived yet
	key  uint32 // rotated so that it fits the next payload byte
	open bool   // false between the frames of a message
	fin  bool

	// The message.
	op         Opcode
	compressed bool
	text       utf8Checker

	// lent: the caller uses the buffer until the next call.
	lent bool
}

// Buffers have 512 bytes times a power of two. Those of at most 1 MiB come from pools.
const (
	smallestClass = 9
	classes       = 12
)

// pools[i] holds assemblies whose buffer has 512<<i bytes.
var pools [classes]sync.Pool

// class returns the index of the smallest buffer with room for n bytes.
func class(n int) int { return bits.Len(uint(max(n, 1)-1) >> smallestClass) }

// lent counts the assemblies that Readers hold. Safe from any goroutine.
var lent atomic.Int64

// Unfinished returns how many messages and control frames of all Readers in this process have arrived
// in part only: each holds a buffer.
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

// giveBack returns a and its buffer to the pools.
func (a *assembly) giveBack() {
	lent.Add(-1)
	*a = assembly{buf: a.buf[:0]}
	if c := class(cap(a.buf)); c < classes {
		pools[c].Put(a)
	}
}

// grow makes room for n more bytes, in a larger buffer if necessary.
func (a *assembly) grow(n int) {
	need := len(a.buf) + n
	if need <= cap(a.buf) {
		return
	}
	b := borrow(need)
	a.buf, b.buf = append(b.buf, a.buf...), a.buf
	b.giveBack()
}
