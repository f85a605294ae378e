package store

import (
	"math"
	"slices"

	"github.com/longline/longline/internal/message"
)

// A durable queue whose store can read its medium keeps in memory what it needs soon. Unload lets go of messages that the medium
// has; what is left of them in memory is a run, a few bytes for each. NextPage says which of them are needed again; a worker has
// the store read them (Opener.Read), and Load puts them where they were. A message of which the medium has not yet heard stays in
// memory.

// Medium is a Journal whose operations make a state from which messages can be read.
type Medium interface {
	Journal

	// Progress returns how many operations were appended, and how many of them, the oldest, the state has. It does not
	// block.
	Progress() (appended, applied uint64)

	// Read is Opener.Read.
	Read(p *Page) error
}

// Numberer is a Journal that says where the numbers of a queue begin, because other stores number messages of the same device.
type Numberer interface {
	Journal

	// Base returns a number below those of the messages that a new queue of a device gets. It does not block, and does not call the store.
	Base(device string) uint64
}

// Page is a list of messages that are on the medium alone: of a queue, or retained.
type Page struct {
	Device   string
	Numbers  []uint64           // of messages in the device's queue, ascending
	Retained []Kept             // or retained messages
	Messages []*message.Message // those that were read, as many; nil where the medium has none

	queue  *queue
	failed []error // as many as Retained; nil when none of them has failed
}

// Fail notes that the i-th retained message cannot be read.
func (p *Page) Fail(i int, why error) {
	if p.failed == nil {
		p.failed = make([]error, len(p.Retained))
	}
	p.failed[i] = why
}

// Failed returns why the i-th retained message could not be read, or nil.
func (p *Page) Failed(i int) error {
	if p.failed == nil {
		return nil
	}
	return p.failed[i]
}

// The bounds of a page, but for messages that were sent before, which it has in any case.
const (
	pageMessages = 32
	pageBytes    = 32 << 10
)

// paged is the part of a queue that knows what is on the medium alone.
type paged struct {
	stored, shared int // messages that are there alone, and how many of them came by a share
	runs           int // entries that are runs

	// The medium has the messages up to the number has. It has those up to marked when it has as many operations as
	// mark says.
	has, marked, mark uint64

	unloaded uint64 // has, when Unload let go of all that it could; another number when there may be more
	from     int    // Unload has nothing to do before this index
}

// UnloadAtOnce bounds the work of Unload.
const UnloadAtOnce = 1024

// soonest returns when the first message of an entry expires at the earliest.
func (e *entry) soonest() int64 {
	if e.run != nil {
		return e.run.soonest
	}
	return e.due
}

// used returns the number of entries that are no gaps.
func (q *queue) used() int { return q.InMemory() + q.paged.runs }

// owed returns what is left of the message of an entry without it.
func (e *entry) owed() Owed {
	return Owed{Number: e.number, Due: e.due, Size: e.m.Size(), Packet: e.id, QoS: e.qos, Shared: shared(e.m)}
}

// pageOut appends a message to entries without keeping it: to the last of them if that is a run with room, else as a new run.
// Entries before from are not changed.
func (q *queue) pageOut(entries []entry, from int, o *Owed) []entry {
	last := len(entries) - 1
	if last < from || entries[last].run == nil || entries[last].run.n >= runLength {
		entries = append(entries, entry{run: newRun(o)})
		q.paged.runs++
		last++
	}
	q.pagedOut(entries[last].run, o)
	return entries
}

// pagedOut adds a message to a run.
func (q *queue) pagedOut(r *run, o *Owed) {
	r.add(o)
	q.paged.stored++
	if o.Shared {
		q.paged.shared++
	}
}

// pagedIn notes that a message is no longer on the medium alone.
func (q *queue) pagedIn(o *Owed) {
	q.paged.stored--
	if o.Shared {
		q.paged.shared--
	}
}

// lose is uncount for a message that is on the medium alone.
func (q *queue) lose(o *Owed) {
	q.pagedIn(o)
	q.live--
	q.bytes -= o.Size
	if o.exchanged() {
		q.release(o.Number, o.Packet)
	} else {
		q.note(&Op{Kind: OpRemove, Number: o.Number})
	}
}

// takeStored removes the oldest unsent message, which is on the medium alone.
func (q *queue) takeStored() {
	r := q.entries[q.cursor].run
	o := r.pop()
	q.lose(&o)
	if r.n == 0 {
		q.paged.runs--
		q.cursor++
		q.vacate(q.cursor - 1)
	}
}

// expireStored removes the messages of a run that have expired, and returns how many. If none is left, e is a gap.
func (q *queue) expireStored(e *entry, now int64) (n int) {
	r := e.run
	if now < r.soonest {
		return 0
	}
	q.paged.runs--
	var left []entry
	for o := range r.all {
		if now >= o.Due {
			q.lose(o)
			n++
		} else {
			q.pagedIn(o)
			left = q.pageOut(left, 0, o)
		}
	}
	if *e = (entry{}); len(left) > 0 {
		*e = left[0]
	}
	return n
}

// restore adds what a medium has of a message, or of an identifier to be released.
func (q *queue) restore(o *Owed) {
	q.lastNumber = max(q.lastNumber, o.Number)
	q.paged.has = q.lastNumber
	if o.Released {
		q.released = append(q.released, release{number: o.Number, id: o.Packet})
		return
	}
	if q.live == 0 {
		q.soonest = never
	}
	q.entries = q.pageOut(q.entries, q.cursor, o)
	q.live++
	q.bytes += o.Size
	q.soonest = min(q.soonest, o.Due)
}

func (q *queue) InMemory() int { return q.live - q.paged.stored }

func (q *queue) Unload(keep int) (again bool) {
	if q.store.medium == nil || !q.durable || q.InMemory()-q.inFlight <= keep {
		return false
	}
	if q.follow(); q.paged.has == q.paged.unloaded {
		return true
	}
	i, last := max(q.cursor, min(q.paged.from, len(q.entries))), -1 // last is the run that the next message may join, -1 for none
	connected, waits := keep > 0, false
	for left := UnloadAtOnce; i < len(q.entries) && left > 0 && !waits; i++ {
		switch e := &q.entries[i]; {
		case e.run != nil:
			last = q.join(last, i)
		case e.m == nil:
		case e.number == 0, keep > 0, connected && e.id != 0:
			keep, last = keep-1, -1
		case e.number > q.paged.has:
			waits, q.paged.unloaded = true, q.paged.has
		default:
			last = q.unload(last, i)
			left--
		}
	}
	if last >= 0 && !connected {
		q.paged.from = last
	}
	if waits || i < len(q.entries) {
		return true
	}
	if used := q.used(); cap(q.entries) > fewEntries && cap(q.entries) > 2*used {
		q.closeGaps(make([]entry, 0, used))
	}
	return false
}

// unload adds the message at i to the run at last, or makes a run of it if last is -1 or the run has no room. It returns the place of the
// run.
func (q *queue) unload(last, i int) int {
	e := &q.entries[i]
	o := e.owed()
	e.m.Release(q.store.options.Account)
	*e = entry{}
	if last < 0 || q.entries[last].run.n >= runLength {
		e.run, last = newRun(&o), i
		q.paged.runs++
	}
	q.pagedOut(q.entries[last].run, &o)
	return last
}

// join moves the messages of the run at i into the one at last, if that is one and has room. It returns the place of the run.
func (q *queue) join(last, i int) int {
	r := q.entries[i].run
	if last < 0 || q.entries[last].run.n+r.n > runLength {
		return i
	}
	for o := range r.all {
		q.pagedIn(o)
		q.pagedOut(q.entries[last].run, o)
	}
	q.entries[i] = entry{}
	q.paged.runs--
	return last
}

// follow brings up to date which messages the medium has.
func (q *queue) follow() {
	appended, applied := q.store.medium.Progress()
	p := &q.paged
	switch {
	case applied >= appended:
		p.has = q.lastNumber
	case applied >= p.mark:
		p.has = p.marked
		p.marked, p.mark = q.lastNumber, appended
	}
}

func (q *queue) NextPage(low int) *Page {
	if q.paged.stored == 0 {
		return nil
	}
	p, bytes := &Page{Device: q.device, queue: q}, 0
	for i := q.cursor; i < len(q.entries); i++ {
		e := &q.entries[i]
		switch {
		case e.run != nil:
			for o := range e.run.all {
				bytes += o.Size
				if !q.inPage(p, o, bytes) {
					return p
				}
				p.Numbers = append(p.Numbers, o.Number)
			}
		case e.m == nil || e.id != 0:
		case len(p.Numbers) > 0:
			return p
		case low == 0:
			return nil
		default:
			low--
		}
	}
	return p
}

// inPage reports whether a page has room for one more message, with which it has so many bytes. While memory is short, a page is one
// message.
func (q *queue) inPage(p *Page, o *Owed, bytes int) bool {
	n := len(p.Numbers)
	return n == 0 || o.Packet != 0 || n < pageMessages && bytes <= pageBytes && q.store.options.Account.Full(message.Debtor{}) == message.NoPart
}

func (q *queue) SharedPage() *Page {
	if q.paged.shared == 0 {
		return nil
	}
	p := &Page{Device: q.device, queue: q}
	for i := q.cursor; i < len(q.entries); i++ {
		if r := q.entries[i].run; r != nil && r.shared > 0 {
			for o := range r.all {
				if o.Shared {
					p.Numbers = append(p.Numbers, o.Number)
				}
			}
		}
	}
	return p
}

func (q *queue) Load(p *Page) (lost int) {
	if p.queue != q {
		return 0
	}
	at := q.cursor
	for k := 0; k < len(p.Numbers); {
		for at < len(q.entries) && (q.entries[at].run == nil || q.entries[at].run.last.number < p.Numbers[k]) {
			at++
		}
		if at == len(q.entries) {
			break
		}
		var in []entry
		var n int
		in, k, n = q.loadRun(q.entries[at].run, p, k)
		lost += n
		q.entries = slices.Replace(q.entries, at, at+1, in...)
		at += len(in)
	}
	q.paged.unloaded = math.MaxUint64
	q.moved()
	q.reset()
	return lost
}

// loadRun returns the entries that a run becomes when the messages of a page from the k-th on are loaded, the first of them that is
// behind the run, and how many the medium does not have any more.
func (q *queue) loadRun(r *run, p *Page, k int) (in []entry, _, lost int) {
	q.paged.runs--
	for o := range r.all {
		for k < len(p.Numbers) && p.Numbers[k] < o.Number {
			k++
		}
		switch {
		case k == len(p.Numbers) || p.Numbers[k] != o.Number:
			q.pagedIn(o)
			in = q.pageOut(in, 0, o)
		case p.Messages[k] == nil:
			q.lose(o)
			lost++
		default:
			q.pagedIn(o)
			m := p.Messages[k]
			m.Hold(q.store.options.Account)
			in = append(in, entry{m: m, number: o.Number, due: o.Due, id: o.Packet, qos: o.QoS})
		}
	}
	for k < len(p.Numbers) && p.Numbers[k] <= r.last.number {
		k++
	}
	return in, k, lost
}
