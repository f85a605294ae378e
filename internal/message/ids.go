package message

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A message's ID has 53 bits, because JSON devices read it as a number. No ID is assigned twice, by two nodes
// or by two lives of a node, so that a device's late acknowledgement cannot name another message, and a system behind
// several nodes can recognize repeated messages by it.
//
//	52        32 31    26 25        0
//	| range     | node   | in range |
// A node takes IDs in ranges, each above the previous one. Ranges decides where they come from: the clock,
// or a file that records which were assigned (store.OpenIDs). A counter that a cluster shares could be another source, without
// node numbers.
// needs no node number.

const (
	rangeBits = 26 // 67 million IDs: 22 minutes at 50,000/s
	nodeBits  = 6
	idBits    = 53
	laneBits  = idBits - nodeBits // the IDs of one node: 89 years at 50,000/s
)

// MaxNode is the largest node number; 1 is the smallest.
const MaxNode = 1<<nodeBits - 1

// Range is the IDs from First up to, but without, End.
type Range struct{ First, End uint64 }

// Ranges decides which IDs a node may assign.
type Ranges interface {
	// Reserve returns IDs that are in no other range, of any node at any time, and
	// above those of the previous range. It may block. It is not called concurrently.
	Reserve() (Range, error)
}

// ErrNoIDs says that the node has no ID for a message, because no further range could be reserved.
var ErrNoIDs = errors.New("the node has no message IDs left, and could not reserve more")

// IDs assigns the IDs of ranges, in ascending order. When it begins a range, it reserves the next one on another
// goroutine, so that Next never waits: when no ID is left, it returns 0. If a reservation failed, it is retried in the
// second half of the range, at most once per second. Call Start first.
type IDs struct {
	current atomic.Pointer[idRange]

	// Guarded by mu.
	mu        sync.Mutex
	ranges    Ranges
	next      *idRange // nil until it is reserved
	reserving bool
	retry     time.Time // no retry before this; zero if the last reservation succeeded
	failed    func(error)
}

// idRange is the range in use.
type idRange struct {
	half, end uint64        // static
	taken     atomic.Uint64 // the last ID taken; from end on they are not assigned
}

func newIDRange(r Range) *idRange {
	i := &idRange{half: r.First + (r.End-r.First)/2, end: r.End}
	i.taken.Store(r.First - 1)
	return i
}

// Start makes r the source of IDs, replacing the previous one. It calls failed, on any goroutine, for each later range that
// could not be reserved: at most once per second.
func (i *IDs) Start(r Ranges, failed func(error)) error {
	first, err := r.Reserve()
	if err != nil {
		return err
	}
	second, err := r.Reserve() // because the first may be only a short rest of a range
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ranges, i.failed = r, failed
	i.next = newIDRange(second)
	i.current.Store(newIDRange(first))
	return nil
}

// Next returns the next ID, or 0 when there is none. Safe from any goroutine, and does not block.
func (i *IDs) Next() uint64 {
	r := i.current.Load()
	id := r.taken.Add(1)
	if id < r.half {
		return id
	}
	return i.nextOf(r, id)
}

// askEvery is the number of IDs, in the second half of a range, between two checks whether the next range is there.
const askEvery = 1 << 16

// retryAfter is the least time between a failed reservation and the next.
const retryAfter = time.Second

// nextOf is Next for an ID that is not in the first half of r.
func (i *IDs) nextOf(r *idRange, id uint64) uint64 {
	if id < r.end && (id-r.half)%askEvery != 0 {
		return id
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for id >= r.end {
		if r == i.current.Load() {
			if i.next == nil {
				id = 0
				break
			}
			i.current.Store(i.next)
			i.next = nil
		}
		r = i.current.Load()
		id = r.taken.Add(1)
	}
	if i.next == nil && !i.reserving && time.Now().After(i.retry) {
		i.reserving = true
		go i.reserve(i.ranges)
	}
	return id
}

// reserve reserves the next range.
func (i *IDs) reserve(from Ranges) {
	r, err := from.Reserve()
	i.mu.Lock()
	i.reserving = false
	failed := i.failed
	switch {
	case err != nil:
		i.retry = time.Now().Add(retryAfter)
	case from == i.ranges:
		i.next, i.retry = newIDRange(r), time.Time{}
	}
	i.mu.Unlock()
	if err != nil && failed != nil {
		failed(err)
	}
}

// A Lane is the part of all IDs that belongs to one node, as positions from 0. Its value is the node's number.
type Lane uint16

// At returns the IDs from a position to the end of the position's range, and the position of the next range.
func (l Lane) At(position uint64) (r Range, next uint64, err error) {
	if position >= 1<<laneBits {
		return Range{}, 0, fmt.Errorf("node %d has assigned all of its message IDs", l)
	}
	first := position>>rangeBits<<(rangeBits+nodeBits) | uint64(l)<<rangeBits
	in := position & (1<<rangeBits - 1)
	return Range{first + in, first + 1<<rangeBits}, (position>>rangeBits + 1) << rangeBits, nil
}

// clockShift makes the clock pass 256 positions per millisecond, for 17 years from 2026.
const clockShift = 8

var clockEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Position returns the clock's position on a lane. It is above every ID that a node assigned since it started by the clock, unless
// the node assigned more than 256,000 IDs per second.
func Position(now time.Time) uint64 {
	return uint64(max(0, now.Sub(clockEpoch).Milliseconds())) << clockShift
}

// Clock is the Ranges of a node without persistent state. It uses the clock, which therefore must
// not be set back between two lives of the node; during a life it may be.
type Clock struct {
	lane Lane
	now  func() time.Time
	next uint64
}

// NewClock returns the Ranges of a node that uses the clock.
func NewClock(node uint16) *Clock { return &Clock{lane: Lane(node), now: time.Now} }

// Reserve implements Ranges.
func (c *Clock) Reserve() (r Range, err error) {
	r, next, err := c.lane.At(max(c.next, Position(c.now())))
	if err == nil {
		c.next = next
	}
	return r, err
}

// processIDs assigns the IDs of this process, which is one node. Until StartIDs it uses the clock, as node 1.
var processIDs IDs

func init() {
	if err := processIDs.Start(NewClock(1), nil); err != nil {
		panic(err) // the clock is past the year 2043
	}
}

// StartIDs makes r the source of this process's IDs; failed is as in IDs.Start.
func StartIDs(r Ranges, failed func(error)) error { return processIDs.Start(r, failed) }

// NextID returns the next ID of this process, or 0 when there is none. Safe from any goroutine.
func NextID() uint64 { return processIDs.Next() }
