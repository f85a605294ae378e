package disk

import (
	"errors"
	"sync"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
)

// intake is the store.Journal of a Store. The journal proper may refuse: for want of room, or because the disk fails, and
// then it forgets what was under way. An operation cannot be refused, because memory has changed already. So each is kept
// here until it is safe, and handed over again after a failure, in the same order.
//
//	ops:  | with the journal | not yet |
//	       handed             the rest
//
// Fences go to the journal behind the operations before them. While the disk fails they are refused at once.
type intake struct {
	journal *journal.Journal // set before the first use
	first   uint64           // the place of the first operation; set with it
	settled func(error)      // the method settle

	mu sync.Mutex
	// Guarded by mu.
	ops     fifo
	handed  int // of the oldest operations, those that the journal has
	refused int // of those, how many it has given back; it gives back all
	fences  []fence
	passed  uint64 // operations that were ever safe
	lost    error  // why an operation before the next fence cannot be made safe; nil if all can

	most    int       // bytes that the journal takes as one record; static
	tooLong func(int) // told of an operation that is longer; it must not block

	telling sync.WaitGroup // goroutines that refuse fences
}

// fence waits until so many operations are with the journal.
type fence struct {
	behind uint64
	done   func(error)
}

// errTooLong is what the fence behind an operation is told that no journal holds.
var errTooLong = errors.New("store: what changed is too large to be made safe")

func newIntake(most int, tooLong func(int)) *intake {
	in := &intake{most: most, tooLong: tooLong}
	in.settled = in.settle
	return in
}

// begin makes the intake hand operations to j, which has those before a place.
func (in *intake) begin(j *journal.Journal, end uint64) { in.journal, in.first = j, end }

// appended returns the place behind the last operation.
func (in *intake) appended() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.first + in.passed + uint64(in.ops.n)
}

// encoded holds buffers for operations.
var encoded = sync.Pool{New: func() any { return new([]byte) }}

// keptEncoded is the size of the largest of them that is reused.
const keptEncoded = 64 << 10

// Add implements store.Journal.
func (in *intake) Add(op store.Op) {
	b := encoded.Get().(*[]byte)
	*b = store.AppendOp((*b)[:0], &op)
	in.append(*b)
	if cap(*b) <= keptEncoded {
		encoded.Put(b)
	}
}

// append adds an encoded operation, which is borrowed.
func (in *intake) append(p []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(p) > in.most {
		in.lost = errTooLong
		in.tooLong(len(p))
		return
	}
	in.ops.push(p)
	_ = in.handOver() // fences are told, and pump is called
}

// Commit implements store.Journal.
func (in *intake) Commit(done func(error)) {
	in.mu.Lock()
	f := fence{in.passed + uint64(in.ops.n), done}
	if err := in.lost; err != nil {
		in.lost = nil
		in.mu.Unlock()
		in.tell([]fence{f}, err)
		return
	}
	in.fences = append(in.fences, f)
	err := in.handOver()
	refused := in.refuse(err)
	in.mu.Unlock()
	in.tell(refused, err)
}

// Err implements store.Journal.
func (in *intake) Err() error { return in.journal.Err() }

func (in *intake) len() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ops.n
}

// handOver gives the journal what it takes. It returns the journal's error unless that has no room for now: then pump is called
// when it has. mu is held.
func (in *intake) handOver() error {
	for in.refused == 0 {
		var err error
		if len(in.fences) > 0 && in.fences[0].behind == in.passed+uint64(in.handed) {
			if err = in.journal.Commit(in.fences[0].done); err == nil {
				in.fences[0] = fence{}
				in.fences = in.fences[1:]
			}
		} else if in.handed == in.ops.n {
			return nil
		} else if _, err = in.journal.Append(in.ops.next(), in.settled); err == nil {
			in.handed++
			in.ops.advance()
		}
		if errors.Is(err, journal.ErrFull) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return in.journal.Err()
}

// pump hands over what waits. The journal calls it when it has room, or works again.
func (in *intake) pump() {
	in.mu.Lock()
	err := in.handOver()
	refused := in.refuse(err)
	in.mu.Unlock()
	in.tell(refused, err)
}

// settle is told of each operation, in their order: it is safe, or the journal has given it back with all that it had.
func (in *intake) settle(err error) {
	in.mu.Lock()
	if err == nil {
		in.ops.pop()
		in.handed--
		in.passed++
		in.mu.Unlock()
		return
	}
	in.refused++
	if in.refused == in.handed {
		in.handed, in.refused = 0, 0
		in.ops.again()
		err = in.handOver() // has the journal call pump when it works again, if it does not yet
	}
	refused := in.refuse(err)
	in.mu.Unlock()
	in.tell(refused, err)
}

// refuse takes the fences that wait, if err says that the disk fails. mu is held.
func (in *intake) refuse(err error) (refused []fence) {
	if err != nil {
		refused, in.fences = in.fences, nil
	}
	return refused
}

// tell refuses fences, on a goroutine: who asks for one may hold locks that done takes.
func (in *intake) tell(refused []fence, err error) {
	if len(refused) > 0 {
		in.telling.Go(func() {
			for _, f := range refused {
				f.done(err)
			}
		})
	}
}

// wait returns when all that were refused know it.
func (in *intake) wait() { in.telling.Wait() }
