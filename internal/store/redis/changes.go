package redis

import (
	"strconv"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// In the hash of a device:
//
//	e        the epoch of the claim
//	o        the owner, name/life
//	w        the number of the owner's last write
//	r        the record of its session, but for the subscriptions and received identifiers
//	f/FILTER a subscription
//	i/ID     an identifier that the device has not released
//	h/NUMBER what its queue has to know of a message, or of an identifier to be released (store.Owed)
//	v/S/KEY  a value in the space S
//
// Its queue is another hash, from numbers to messages.

// name is that of a field of the hash, or the number of an entry of the queue.
type name struct {
	kind   byte
	number uint64
	text   string
}

const (
	kindRecord       = 'r'
	kindSubscription = 'f'
	kindReceived     = 'i'
	kindEntry        = 'h'
	kindValue        = 'v'
)

func valueName(space store.Space, key string) name { return name{kindValue, uint64(space), key} }

func (n name) String() string {
	switch n.kind {
	case kindSubscription:
		return "f/" + n.text
	case kindReceived, kindEntry:
		return string(n.kind) + "/" + strconv.FormatUint(n.number, 10)
	case kindValue:
		return "v/" + strconv.FormatUint(n.number, 10) + "/" + n.text
	}
	return string(n.kind)
}

// change is what becomes of one field. An entry of the queue is a field and a message.
type change struct {
	name  name
	value []byte // of the field; nil removes it

	// Of an entry.
	owed   store.Owed
	m      *message.Message // was pushed among these changes; nil if it was before, or has left
	orphan string           // the orphan that the message was
	whole  bool             // its whole life is among these changes
	gone   bool             // it leaves the queue
}

// what is done to a device besides the changes of a list.
type what struct {
	drop    bool // all but the values goes, before
	release bool // all received identifiers go, before
	end     bool // the claim ends, behind
}

func (w what) String() (s string) {
	if w.drop {
		s = "drop "
	}
	if w.release {
		s += "release "
	}
	if w.end {
		s += "end"
	}
	return s
}

// changes are what the operations of a device have changed since the last write, each thing once.
type changes struct {
	device string
	epoch  uint64 // of the claim under which the operations came; 0 if the node had none
	what   what
	list   []change
	index  map[name]int // of the list, when it is long
}

// longList is how many changes are found without an index.
const longList = 8

// find returns the change of a name, or nil.
func (c *changes) find(n name) *change {
	if c.index != nil {
		if i, ok := c.index[n]; ok {
			return &c.list[i]
		}
		return nil
	}
	for i := range c.list {
		if c.list[i].name == n {
			return &c.list[i]
		}
	}
	return nil
}

// at returns the change of a name, which it adds if necessary.
func (c *changes) at(n name) *change {
	if x := c.find(n); x != nil {
		return x
	}
	c.list = append(c.list, change{name: n})
	switch i := len(c.list) - 1; {
	case c.index != nil:
		c.index[n] = i
	case i == longList:
		c.index = make(map[name]int)
		for i := range c.list {
			c.index[c.list[i].name] = i
		}
	}
	return &c.list[len(c.list)-1]
}

func (c *changes) set(n name, value []byte) { c.at(n).value = value }

// add adds an operation.
func (c *changes) add(op *store.Op) {
	switch op.Kind {
	case store.OpSave, store.OpUpdate:
		c.set(name{kind: kindRecord}, store.AppendRecord(make([]byte, 0, 32), op.Record))
		if op.Kind == store.OpSave {
			for i := range op.Record.Subscriptions {
				c.subscribe(&op.Record.Subscriptions[i])
			}
		}
	case store.OpSubscribe:
		c.subscribe(op.Subscription)
	case store.OpUnsubscribe:
		c.set(name{kind: kindSubscription, text: op.Topic}, nil)
	case store.OpReceive:
		c.set(name{kind: kindReceived, number: uint64(op.Packet)}, []byte{})
	case store.OpRelease:
		if op.Packet == 0 {
			c.releaseAll()
			return
		}
		c.set(name{kind: kindReceived, number: uint64(op.Packet)}, nil)
	case store.OpPut:
		c.set(valueName(op.Space, op.Key), append([]byte{}, op.Value...))
	case store.OpDelete:
		c.set(valueName(op.Space, op.Key), nil)
	case store.OpDrop:
		c.dropAll()
	default:
		c.addEntry(op)
	}
}

func (c *changes) subscribe(s *topic.Subscription) {
	c.set(name{kind: kindSubscription, text: s.Filter}, store.AppendSubscription(nil, s))
}

// addEntry adds an operation of an entry of the queue.
func (c *changes) addEntry(op *store.Op) {
	x := c.at(name{kind: kindEntry, number: op.Number})
	switch op.Kind {
	case store.OpPush:
		whole := x.whole || !x.gone && x.owed.Number == 0
		*x = change{name: x.name, owed: store.OwedBy(op), m: op.Message, orphan: op.Key, whole: whole}
	case store.OpSent:
		x.owed = store.OwedBy(op)
	case store.OpReceived:
		x.owed, x.m, x.gone = store.OwedBy(op), nil, !x.whole
	case store.OpRemove, store.OpOrphan:
		x.owed, x.m, x.gone = store.Owed{}, nil, true
	}
	if op.Kind == store.OpOrphan {
		c.set(valueName(store.SpaceOrphan, op.Key), append([]byte{}, op.Value...))
	}
}

// dropAll forgets the changes but for those of values, because a drop comes behind them.
func (c *changes) dropAll() {
	c.what.drop = true
	c.keepOnly(func(kind byte) bool { return kind == kindValue })
}

// releaseAll forgets the changes of received identifiers, because all go.
func (c *changes) releaseAll() {
	c.what.release = true
	c.keepOnly(func(kind byte) bool { return kind != kindReceived })
}

func (c *changes) keepOnly(want func(kind byte) bool) {
	list := c.list
	c.list, c.index = nil, nil
	for _, x := range list {
		if want(x.name.kind) {
			*c.at(x.name) = x
		}
	}
}

// The bounds of one call of the script, because Lua takes so many values at once.
const (
	mostNames = 512
	mostBytes = 1 << 20
)

// write is one call of the script.
type write struct {
	of           *changes
	from, to     int // the changes, by their places in the list
	what         what
	remove       []string // names of the hash
	removeQueued []string // numbers
	set          []string // names and values of the hash
	setQueued    []string // numbers and messages
	bytes        int
}

// writes appends the calls that make the changes. Messages and times are by Redis' clock.
func (c *changes) writes(to []write, clock clock) []write {
	w := write{of: c, what: what{drop: c.what.drop, release: c.what.release}}
	for i := range c.list {
		x := &c.list[i]
		n := x.name.String()
		switch {
		case x.name.kind != kindEntry && x.value == nil:
			w.remove = append(w.remove, n)
		case x.name.kind != kindEntry:
			w.setValue(n, x.value)
		default:
			w.entry(n, x, clock)
		}
		if len(w.remove)+len(w.removeQueued)+len(w.set)+len(w.setQueued) >= mostNames || w.bytes >= mostBytes {
			w.to = i + 1
			to = append(to, w)
			w = write{of: c, from: i + 1}
		}
	}
	w.to, w.what.end = len(c.list), c.what.end
	return append(to, w)
}

// size returns about how many bytes the changes of w take in memory.
func (w *write) size() int { return w.bytes + 160*(w.to-w.from) + 100 }

func (w *write) setValue(n string, value []byte) {
	w.set = append(w.set, n, string(value))
	w.bytes += len(n) + len(value)
}

func (w *write) entry(n string, x *change, clock clock) {
	number := n[len("h/"):]
	switch {
	case x.owed.Number == 0 && x.whole: // it came and went
		return
	case x.owed.Number == 0:
		w.remove = append(w.remove, n)
	default:
		o := x.owed
		o.Due = clock.ToRedis(o.Due)
		w.setValue(n, store.AppendOwed(nil, &o))
	}
	switch {
	case x.m != nil:
		m := x.m
		if due := clock.ToRedis(m.Expiry); due != m.Expiry {
			m = m.With(m.Delivery)
			m.Expiry = due
		}
		body := message.AppendRecord(nil, m)
		w.setQueued = append(w.setQueued, number, string(body))
		w.bytes += len(body)
	case x.gone:
		w.removeQueued = append(w.removeQueued, number)
	}
}

// names returns how many values of w the script gets.
func (w *write) names() int {
	return 8 + len(w.remove) + len(w.removeQueued) + len(w.setQueued) + len(w.set)
}

// appendArgs appends what the script gets of w. number is that of the write.
func (w *write) appendArgs(to []string, number string) []string {
	n := strconv.Itoa
	to = append(to, n(w.names()-1), strconv.FormatUint(w.of.epoch, 10), w.what.String(), n(len(w.remove)), n(len(w.removeQueued)), n(len(w.setQueued)))
	to = append(to, w.remove...)
	to = append(to, w.removeQueued...)
	to = append(to, w.setQueued...)
	return append(append(to, "w", number), w.set...)
}

// clock is what has Redis' time.
type clock interface {
	ToRedis(ms int64) int64
	FromRedis(ms int64) int64
}
