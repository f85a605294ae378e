package store

import (
	"math"
	"time"

	"github.com/longline/longline/internal/message"
)

// queue is a slice that slides: messages leave at the front and are appended at the back. When the array is used up,
// the entries move to its start, or to an array of twice the size. The entries before head are gaps, those from head
// to cursor were sent, and those from cursor on are unsent.
//
// Both parts may have gaps. Unsent messages that have an identifier, sent on an older connection, come before all that
// were never sent. Unsent messages may be on the medium alone: an entry is then a run of them (paging.go).
type queue struct {
	// Static after construction.
	store  *Memory
	device string

	// Owned by the session.
	entries      []entry
	head, cursor int
	live         int   // entries that are not gaps
	inFlight     int   // how many of them are in flight
	bytes        int   // sum of their sizes
	expired      int   // discarded since the last TakeExpired
	soonest      int64 // Unix milliseconds before which no unsent message expires
	lossy        int   // no unsent entry before this index has QoS 0

	conflated map[string]int // index of the entry that Conflate may replace, by topic; nil when there is none
	released  []release      // identifiers that wait for PUBREL or PUBCOMP, in the order of PUBREC

	durable    bool   // the store has a journal and the device has a record
	lastNumber uint64 // the last number of an entry
	paged      paged
}

// entry is one message, or a run of messages that are on the medium alone, or a gap: its message left before others.
type entry struct {
	m         *message.Message
	run       *run
	number    uint64 // its number in the journal; 0 when it is not there
	due       int64  // when it expires, in Unix milliseconds
	sent      uint32 // when it was sent, in Unix seconds
	id        uint16 // packet identifier; 0 when it has none
	qos       message.QoS
	conflates bool // it is in queue.conflated
}

// release is a packet identifier whose QoS 2 message has left the queue.
type release struct {
	number uint64 // its number in the journal
	since  uint32 // when PUBREL was sent, in Unix seconds
	id     uint16
	told   bool // PUBREL was sent on this connection
}

// fewEntries is the size of the first array, and of the largest array that an empty queue keeps.
const fewEntries = 4

func (q *queue) Len() int      { return q.live }
func (q *queue) Bytes() int    { return q.bytes }
func (q *queue) InFlight() int { return q.inFlight }

func (q *queue) Push(m *message.Message, qos message.QoS, now time.Time) error {
	if err := q.Check(m.Size(), now); err != nil {
		return err
	}
	if len(q.entries) == cap(q.entries) {
		q.makeRoom()
	}
	if q.live == 0 {
		q.soonest = never
	}
	q.settle(m.Topic)
	q.entries = append(q.entries, entry{m: m, due: q.due(m, now), qos: qos})
	q.count(m)
	if q.durable {
		q.journal(&q.entries[len(q.entries)-1])
	}
	return nil
}

func (q *queue) count(m *message.Message) {
	q.live++
	q.bytes += m.Size()
	m.Hold(q.store.options.Account)
}

func (q *queue) Conflate(m *message.Message, now time.Time) (*message.Message, error) {
	at, ok := q.conflated[m.Topic]
	if !ok {
		return nil, q.pushConflated(m, now)
	}
	limits, size := &q.store.options.Queue, m.Size()
	e := &q.entries[at]
	old := e.m
	switch after := q.bytes - old.Size() + size; {
	case size > limits.Bytes:
		return nil, ErrTooLarge
	case after > limits.Bytes:
		return nil, ErrFull
	default:
		q.bytes = after
	}
	old.Release(q.store.options.Account)
	m.Hold(q.store.options.Account)
	e.m, e.due = m, q.due(m, now)
	delete(q.conflated, old.Topic) // the key shares the memory of the old message
	q.conflated[m.Topic] = at
	return old, nil
}

func (q *queue) pushConflated(m *message.Message, now time.Time) error {
	if err := q.Push(m, message.AtMostOnce, now); err != nil {
		return err
	}
	if q.conflated == nil {
		q.conflated = make(map[string]int)
	}
	at := len(q.entries) - 1
	q.entries[at].conflates = true
	q.conflated[m.Topic] = at
	return nil
}

// settle prevents that a newer message replaces the one of the topic, because another message of the topic is queued
// behind it.
func (q *queue) settle(topic string) {
	if at, ok := q.conflated[topic]; ok {
		q.entries[at].conflates = false
		delete(q.conflated, topic)
	}
}

// due returns when a message expires that is queued at now.
func (q *queue) due(m *message.Message, now time.Time) int64 {
	due := min(now.Add(q.store.options.Queue.Age).UnixMilli(), expiry(m))
	q.soonest = min(q.soonest, due)
	return due
}

func (q *queue) Check(size int, now time.Time) error {
	limits := &q.store.options.Queue
	if size > limits.Bytes {
		return ErrTooLarge
	}
	if !q.fits(size, limits) {
		q.expire(now.UnixMilli())
	}
	if !q.fits(size, limits) {
		return ErrFull
	}
	return nil
}

func (q *queue) fits(size int, limits *Limits) bool {
	return q.live < limits.Count && q.bytes+size <= limits.Bytes
}

func (q *queue) Next(now time.Time) (*message.Message, message.QoS, bool) {
	i, ok := q.oldestUnsent(now)
	if !ok {
		return nil, 0, false
	}
	e := q.entries[i]
	if e.qos == message.AtMostOnce {
		q.takeUnsent()
	} else {
		q.send(&q.entries[i], now)
	}
	return e.m, e.qos, true
}

// oldestUnsent discards expired messages and returns the index of the first unsent one after them.
func (q *queue) oldestUnsent(now time.Time) (i int, ok bool) {
	for q.cursor < len(q.entries) {
		switch e := &q.entries[q.cursor]; {
		case e.run != nil:
			if now.UnixMilli() < e.run.first().Due {
				return 0, false // its messages have to be read
			}
			q.expired++
			q.takeStored()
		case e.m == nil:
			q.cursor++
		case now.UnixMilli() >= e.due:
			q.expired++
			q.takeUnsent()
		default:
			return q.cursor, true
		}
	}
	return 0, false
}

// send notes that the oldest unsent message, which is not of QoS 0, is sent.
func (q *queue) send(e *entry, now time.Time) {
	if e.qos == message.ExactlyOnce { // [MQTT-4.3.3-7]
		e.due = now.Add(q.store.options.Queue.Age).UnixMilli()
	}
	e.sent = uint32(now.Unix())
	q.cursor++
	q.inFlight++
}

func (q *queue) TakeExpired() int {
	n := q.expired
	q.expired = 0
	return n
}

func (q *queue) Ack(id uint64) bool {
	for i := q.head; i < q.cursor; i++ {
		if m := q.entries[i].m; m != nil && m.ID == id {
			q.takeSent(i)
			return true
		}
	}
	return false
}

func (q *queue) Oldest() (time.Time, bool) {
	oldest := uint32(math.MaxUint32)
	for i := q.head; i < q.cursor; i++ {
		if e := &q.entries[i]; e.m != nil {
			oldest = e.sent
			break
		}
	}
	for i := range q.released {
		if r := &q.released[i]; r.told {
			oldest = min(oldest, r.since)
		}
	}
	return time.Unix(int64(oldest), 0), oldest != math.MaxUint32
}

func (q *queue) Rewind() {
	for i := range q.released {
		q.released[i].told = false
	}
	q.closeGaps(q.entries[:0])
	q.cursor, q.inFlight, q.paged.unloaded = 0, 0, math.MaxUint64
	for i := range q.entries {
		q.soonest = min(q.soonest, q.entries[i].soonest())
	}
}

func (q *queue) DropOldest() (*message.Message, bool) {
	for q.cursor < len(q.entries) {
		switch e := &q.entries[q.cursor]; {
		case e.run != nil:
			q.takeStored()
			return nil, true
		case e.m != nil:
			m := e.m
			q.takeUnsent()
			return m, true
		}
		q.cursor++
	}
	return nil, false
}

func (q *queue) DropOldestQoS0() (*message.Message, bool) {
	for q.lossy = max(q.lossy, q.cursor); q.lossy < len(q.entries); q.lossy++ {
		if e := q.entries[q.lossy]; e.m != nil && e.qos == message.AtMostOnce {
			q.forget(q.lossy)
			return e.m, true
		}
	}
	return nil, false
}

func (q *queue) ShedQoS0() int {
	return q.sweep(0, func(e *entry) bool { return e.qos == message.AtMostOnce })
}

func (q *queue) Remove(want func(*message.Message, message.QoS) (orphan string, remove bool), now time.Time) int {
	q.expire(now.UnixMilli())
	return q.sweep(0, func(e *entry) bool {
		if e.exchanged() {
			return false
		}
		orphan, remove := want(e.m, e.qos)
		if remove && orphan != "" && e.number != 0 {
			q.note(&Op{Kind: OpOrphan, Number: e.number, Key: orphan, Value: message.AppendRecord(nil, e.m)})
			e.number = 0 // so that nothing more is noted
		}
		return remove
	})
}

// exchanged reports whether e is a QoS 2 message that the device may have received.
func (e *entry) exchanged() bool { return e.id != 0 && e.qos == message.ExactlyOnce }

func (q *queue) Durable() bool { return q.durable }

func (q *queue) Empty() bool { return q.live == 0 && len(q.released) == 0 }

func (q *queue) Close() {
	if q.Empty() {
		q.store.release(q)
	}
}

// takeSent removes a message in flight.
func (q *queue) takeSent(i int) {
	q.inFlight--
	q.forget(i)
}

// takeUnsent removes the oldest unsent entry.
func (q *queue) takeUnsent() {
	q.cursor++
	q.forget(q.cursor - 1)
}

// forget removes the message at i.
func (q *queue) forget(i int) {
	q.uncount(&q.entries[i])
	q.vacate(i)
}

// vacate makes a gap at i and removes the gaps at the front.
func (q *queue) vacate(i int) {
	q.entries[i] = entry{}
	for q.head < q.cursor && q.entries[q.head].m == nil {
		q.head++
	}
	q.reset()
}

// uncount removes an entry from the counts and the journal. The identifier of a message that the device may have
// received is to be released.
func (q *queue) uncount(e *entry) {
	q.discount(e.m)
	if e.conflates {
		delete(q.conflated, e.m.Topic)
	}
	switch {
	case e.exchanged():
		q.release(e.number, e.id)
	case e.number != 0:
		q.note(&Op{Kind: OpRemove, Number: e.number})
	}
}

func (q *queue) discount(m *message.Message) {
	q.live--
	q.bytes -= m.Size()
	m.Release(q.store.options.Account)
}

// reset frees the memory of an empty queue, except for the smallest array.
func (q *queue) reset() {
	if q.live > 0 {
		return
	}
	q.head, q.cursor, q.lossy, q.paged.from, q.entries = 0, 0, 0, 0, q.entries[:0]
	q.conflated = nil
	if cap(q.entries) > fewEntries {
		q.entries = nil
	}
}

// expire discards the unsent messages that have expired, if there may be any.
func (q *queue) expire(now int64) {
	if now >= q.soonest {
		q.expired += q.sweep(now, func(e *entry) bool { return now >= e.due })
	}
}

// sweep removes the unsent messages for which drop returns true, and of those on the medium alone what has expired at now.
// It returns how many.
func (q *queue) sweep(now int64, drop func(*entry) bool) (n int) {
	kept := q.entries[:q.cursor]
	q.soonest = never
	for _, e := range q.entries[q.cursor:] {
		switch {
		case e.run != nil:
			n += q.expireStored(&e, now)
			if e.run == nil {
				continue
			}
		case e.m == nil:
			continue
		case drop(&e):
			q.uncount(&e)
			n++
			continue
		}
		kept = append(kept, e)
		q.soonest = min(q.soonest, e.soonest())
	}
	clear(q.entries[len(kept):])
	q.entries = kept
	q.moved()
	q.reset()
	return n
}

// makeRoom moves the entries to the front of their array, or to a larger one if they fill more than half of it. So it
// is not called again soon.
func (q *queue) makeRoom() {
	to := q.entries[:0]
	if 2*q.used() >= cap(to) {
		to = make([]entry, 0, max(fewEntries, 2*cap(to)))
	}
	q.closeGaps(to)
}

// closeGaps moves the entries to the array to, which may be their own.
func (q *queue) closeGaps(to []entry) {
	from := q.entries
	for _, e := range from[q.head:] {
		if e.m != nil || e.run != nil {
			to = append(to, e)
		}
	}
	clear(from[min(len(to), len(from)):])
	q.head, q.cursor, q.entries = 0, q.inFlight, to
	q.moved()
}

// moved corrects the indexes of unsent entries after they have moved.
func (q *queue) moved() {
	q.lossy, q.paged.from = q.cursor, q.cursor
	if len(q.conflated) == 0 {
		return
	}
	for i := q.cursor; i < len(q.entries); i++ {
		if e := &q.entries[i]; e.conflates {
			q.conflated[e.m.Topic] = i
		}
	}
}

// letGo removes everything from the queue, because its session has ended.
func (q *queue) letGo() {
	for i := range q.entries {
		if m := q.entries[i].m; m != nil {
			q.discount(m)
		}
	}
	q.live, q.bytes = 0, 0 // also what is on the medium alone
	q.entries, q.released, q.inFlight, q.durable, q.paged = nil, nil, 0, false, paged{}
	q.reset()
}
