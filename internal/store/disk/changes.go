package disk

import (
	"github.com/longline/longline/internal/store"
)

// changes gathers operations in their order, for one batch of the state, and leaves out what comes to nothing: a message that was pushed,
// sent and removed among them.
//
// That is the same for the state, because it has no message of the number before: numbers of a queue ascend, and the state has all
// operations before these.
type changes struct {
	list []change
	data []byte // the operations, in pieces: here is the last one

	last map[entryName]int // the newest change of an entry, by its index in list
	drop int               // changes before this one have nothing to do with later ones: a session ended in between
}

// entryName is an entry of a queue.
type entryName struct {
	device string
	number uint64
}

type change struct {
	op      store.Op
	p       []byte
	before  int  // the index of an older change of the entry, all of which are here; -1 when there is none
	begun   bool // the first of those is the push
	nothing bool // it is left out
}

// keptChanges is how many changes an empty list keeps room for in any case.
const keptChanges = 1024

// dataPiece is how much memory for operations is made at once.
const dataPiece = 64 << 10

// add adds an operation, of which it makes a copy.
func (c *changes) add(p []byte) error {
	p = c.keep(p)
	op, err := store.ParseHead(p)
	if err != nil {
		return err
	}
	x := change{op: op, p: p, before: -1}
	switch op.Kind {
	case store.OpPush:
		if x.begun = op.Key == ""; x.begun { // else it also ends an orphan
			c.newest(&x)
		}
	case store.OpSent, store.OpReceived:
		c.newest(&x)
	case store.OpRemove:
		if c.end(&op) {
			return nil
		}
	case store.OpOrphan:
		c.forget(&op)
	case store.OpDrop:
		c.drop = len(c.list)
	}
	c.list = append(c.list, x)
	return nil
}

func (c *changes) keep(p []byte) []byte {
	if len(c.data)+len(p) > cap(c.data) {
		c.data = make([]byte, 0, max(dataPiece, len(p)))
	}
	at := len(c.data)
	c.data = append(c.data, p...)
	return c.data[at:len(c.data):len(c.data)]
}

// newest makes x the newest change of its entry; it is added next.
func (c *changes) newest(x *change) {
	if c.last == nil {
		c.last = make(map[entryName]int)
	}
	name := entryName{x.op.Device, x.op.Number}
	if at, ok := c.last[name]; ok && at >= c.drop && x.op.Kind != store.OpPush {
		x.before, x.begun = at, c.list[at].begun
	}
	c.last[name] = len(c.list)
}

// end leaves out the changes of an entry that is removed, if the first of them is the push, and reports whether it is.
func (c *changes) end(op *store.Op) bool {
	at := c.forget(op)
	if at < 0 || !c.list[at].begun {
		return false
	}
	for ; at >= 0; at = c.list[at].before {
		c.list[at].nothing = true
	}
	return true
}

// forget makes later changes of an entry have nothing to do with those before, and returns the index of the newest of these, or -1.
func (c *changes) forget(op *store.Op) int {
	name := entryName{op.Device, op.Number}
	at, ok := c.last[name]
	if !ok {
		return -1
	}
	delete(c.last, name)
	if at < c.drop {
		return -1
	}
	return at
}

// write gives the changes to a batch, and begins anew. It keeps the memory as long as much of it is used.
func (c *changes) write(b *batch) {
	for i := range c.list {
		if x := &c.list[i]; !x.nothing {
			b.add(&x.op, x.p)
		}
	}
	c.reset()
}

func (c *changes) reset() {
	n := len(c.list)
	if cap(c.list) > keptChanges && n < cap(c.list)/4 {
		*c = changes{}
		return
	}
	clear(c.list)
	clear(c.last)
	c.list, c.data, c.drop = c.list[:0], c.data[:0], 0
}
