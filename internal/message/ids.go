package message

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A message's ID has 53 bits, because JSON devices read it as a number. No two nodes give out the same one,
// nor two lives of a node, so that a device's late acknowledgement names no other message and a system behind
// several nodes can tell repeated messages by it.
//
//	52        32 31    26 25        0
//	| range     | node   | in range |
//
// A node takes IDs by ranges, each above the one before. Where ranges come from is Ranges' business: from the clock,
// or from a file that remembers which were given (store.OpenIDs). A shared counter of a cluster can be another, which
// needs no node number.

const (
	rangeBits = 26 // 67 million IDs: 22 minutes at 50,000/s
	nodeBits  = 6
	idBits    = 53
	laneBits  = idBits - nodeBits // a node's own IDs: 89 years at 50,000/s
)

// MaxNode is the largest number of a node; 1 is the smallest.
const MaxNode = 1<<nodeBits - 1

// Range is the IDs from First up to and without End.
type Range struct{ First, End uint64 }

// Ranges says which IDs a node may give out.
type Ranges interface {
	// Reserve returns IDs that were and will be in no other range, of whatever node and life, and that are
	// above those of the last range. It may block. It is not called while it runs.
	Reserve() (Range, error)
}

// ErrNoIDs says that the node has no ID for a message, because no further range could be reserved.
var ErrNoIDs = errors.New("the node has no message IDs left, and could not reserve more")

// IDs gives out the IDs of ranges, in ascending order. When it begins a range it reserves the next, on a goroutine of
// its own, so that giving an ID never waits: when there is none, it is 0. A reservation that failed is tried again from the
// half of the range on, at most once a second. It is used after Start.
type IDs struct {
	current atomic.Pointer[idRange]

	// Guarded by mu.
	mu        sync.Mutex
	ranges    Ranges
	next      *idRange // nil until it is reserved
	reserving bool
	retry     time.Time // not before this; zero when the last reservation did not fail
	failed    func(error)
}

// idRange is a Range whose IDs are being given out.
type idRange struct {
	half, end uint64        // static
	taken     atomic.Uint64 // the ID that was taken last; those from end on are not given out
}

func newIDRange(r Range) *idRange {
	i := &idRange{half: r.First + (r.End-r.First)/2, end: r.End}
	i.taken.Store(r.First - 1)
	return i
}

// Start has IDs come from r, instead of what they came from before. failed is told, on any goroutine, of each range that
// could not be reserved later: at most one a second.
func (i *IDs) Start(r Ranges, failed func(error)) error {
	first, err := r.Reserve()
	if err != nil {
		return err
	}
	second, err := r.Reserve() // as the first may be the short rest of one
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

// Last returns the ID that was given out last. Safe from any goroutine.
func (i *IDs) Last() uint64 {
	r := i.current.Load()
	return min(r.taken.Load(), r.end-1)
}

// askEvery is after how many IDs of a range's second half it is looked again whether the next is there.
const askEvery = 1 << 16

// retryAfter is how long nothing is reserved after a failure.
const retryAfter = time.Second

// nextOf is Next for an ID of r that is not in its first half.
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

// reserve has the next range reserved.
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

// A Lane is the part of all IDs that a node has for itself, as positions from 0. It bears the node's number.
type Lane uint16

// At returns the IDs from a position to the end of its range, and the position of the next range.
func (l Lane) At(position uint64) (r Range, next uint64, err error) {
	if position >= 1<<laneBits {
		return Range{}, 0, fmt.Errorf("node %d has given out all message IDs that there are", l)
	}
	first := position>>rangeBits<<(rangeBits+nodeBits) | uint64(l)<<rangeBits
	in := position & (1<<rangeBits - 1)
	return Range{first + in, first + 1<<rangeBits}, (position>>rangeBits + 1) << rangeBits, nil
}

// clockShift has the clock pass 256 positions in a millisecond, for 17 years from 2026.
const clockShift = 8

var clockEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Position is where the clock is on a lane: above what a node that began by the clock has given out since, unless
// that was more than 256,000 IDs a second.
func Position(now time.Time) uint64 {
	return uint64(max(0, now.Sub(clockEpoch).Milliseconds())) << clockShift
}

// Clock is the Ranges of a node that remembers nothing from life to life. It goes by the clock, which therefore must
// not have been set back since the life before; while the node lives it may be.
type Clock struct {
	lane Lane
	now  func() time.Time
	next uint64
}

// NewClock makes the Ranges of a node by the clock.
func NewClock(node uint16) *Clock { return &Clock{lane: Lane(node), now: time.Now} }

// Reserve implements Ranges.
func (c *Clock) Reserve() (r Range, err error) {
	r, next, err := c.lane.At(max(c.next, Position(c.now())))
	if err == nil {
		c.next = next
	}
	return r, err
}

// processIDs are those of this process, which is one node. Until StartIDs they are those of node 1 by the clock.
var processIDs IDs

func init() {
	if err := processIDs.Start(NewClock(1), nil); err != nil {
		panic(err) // the clock is past the year 2043
	}
}

// StartIDs has the IDs of this process come from r; failed is as in IDs.Start.
func StartIDs(r Ranges, failed func(error)) error { return processIDs.Start(r, failed) }

// NextID returns the next ID of this process, or 0 when there is none. Safe from any goroutine.
func NextID() uint64 { return processIDs.Next() }

// LastID returns the ID that was given out last. Safe from any goroutine.
func LastID() uint64 { return processIDs.Last() }
