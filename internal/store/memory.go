package store

import (
	"slices"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// Memory is a Store whose state is in memory. It lasts as long as the process, unless it has a journal. A device costs
// one map entry for its record, and one for its queue while that is open or has contents.
type Memory struct {
	options  Options  // static
	log      log      // static
	medium   Medium   // static; nil if the store cannot read its journal's state
	numberer Numberer // static; nil if the numbers of each queue begin at 1
	retained retained

	// Guarded by mu.
	mu      sync.Mutex
	records map[string]*saved
	queues  map[string]*queue
	values  map[Space]map[string][]byte // found at the opening, until TakeValues
}

// saved is a record, with the received identifiers of its session, in few bytes: there is one per device.
type saved struct {
	session       uint64
	expiry        time.Duration
	subscriptions []topic.Subscription // shared with the session
	rare          *rare                // nil if all of it is zero, as in the record of a device that is connected
}

// rare is what few records have.
type rare struct {
	left     int64
	missed   uint64
	will     *Will
	received Identifiers
}

// set keeps what r says. The identifiers stay.
func (x *saved) set(r *Record) {
	x.session, x.expiry, x.subscriptions = r.Session, r.Expiry, r.Subscriptions
	if x.rare == nil && r.Left == 0 && r.Missed == 0 && r.Will == nil {
		return
	}
	y := x.more()
	y.left, y.missed, y.will = r.Left, r.Missed, r.Will
	if y.left == 0 && y.missed == 0 && y.will == nil && y.received.Bytes() == 0 {
		x.rare = nil
	}
}

// record returns the record that set was given.
func (x *saved) record(device string) Record {
	r := Record{Device: device, Session: x.session, Expiry: x.expiry, Subscriptions: x.subscriptions}
	if y := x.rare; y != nil {
		r.Left, r.Missed, r.Will = y.left, y.missed, y.will
	}
	return r
}

// whole is record with the received identifiers.
func (x *saved) whole(device string) *Record {
	r := x.record(device)
	if x.rare != nil {
		r.Received = slices.Collect(x.rare.received.All())
	}
	return &r
}

// more returns x.rare, which it makes if necessary.
func (x *saved) more() *rare {
	if x.rare == nil {
		x.rare = new(rare)
	}
	return x.rare
}

var (
	_ Store  = (*Memory)(nil)
	_ Opener = (*Memory)(nil)
)

// NewMemory returns an empty store that is not durable.
func NewMemory(o Options) *Memory { return NewJournaled(o, nil) }

// NewJournaled returns an empty store that appends its operations to j. If j is a Medium, messages need not stay in
// memory. The caller replays a journal that has operations already by Apply, or restores what they make.
func NewJournaled(o Options, j Journal) *Memory {
	o = o.WithDefaults()
	s := &Memory{
		options: o,
		log:     log{j},
		records: map[string]*saved{},
		queues:  map[string]*queue{},
	}
	s.medium, _ = j.(Medium)
	s.numberer, _ = j.(Numberer)
	s.retained = newRetained(o, s.log, s.medium)
	return s
}

func (s *Memory) Queue(device string) Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue(device)
}

// queue returns the device's queue, which it makes if necessary. s is locked.
func (s *Memory) queue(device string) *queue {
	q := s.queues[device]
	if q == nil {
		q = &queue{store: s, device: device, durable: s.log.journal != nil && s.records[device] != nil}
		if q.durable && s.numberer != nil {
			q.lastNumber = s.numberer.Base(device)
		}
		s.queues[device] = q
	}
	return q
}

// release forgets q, which is empty.
func (s *Memory) release(q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[q.device] == q {
		delete(s.queues, q.device)
	}
}

// Read implements Opener.
func (s *Memory) Read(p *Page) error { return s.medium.Read(p) }

func (s *Memory) Save(r *Record) {
	had, q := s.save(r)
	if s.log.journal == nil {
		return
	}
	s.log.save(r, had)
	if q != nil {
		q.makeDurable()
	}
}

// save keeps what r says and returns the record before, or nil, and the queue of the device, or nil.
func (s *Memory) save(r *Record) (had *Record, q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.records[r.Device]
	if x == nil {
		x = new(saved)
		s.records[r.Device] = x
	} else {
		before := x.record(r.Device)
		had = &before
	}
	x.set(r)
	return had, s.queues[r.Device]
}

func (s *Memory) Records(yield func(*Record) bool) error {
	for _, r := range s.allRecords() {
		if !yield(r) {
			break
		}
	}
	return nil
}

func (s *Memory) allRecords() []*Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Record, 0, len(s.records))
	for device, has := range s.records {
		all = append(all, has.whole(device))
	}
	return all
}

// Record implements Store.
func (s *Memory) Record(device string) *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.records[device]
	if has == nil {
		return nil
	}
	return has.whole(device)
}

// Forget implements Store.
func (s *Memory) Forget(device string) { s.drop(device) }

func (s *Memory) Drop(device string) {
	if s.drop(device) {
		s.log.add(&Op{Kind: OpDrop, Device: device})
	}
}

// drop reports whether the device had a record.
func (s *Memory) drop(device string) (had bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, had = s.records[device]
	delete(s.records, device)
	if q := s.queues[device]; q != nil {
		q.letGo()
	}
	delete(s.queues, device)
	return had
}

func (s *Memory) Receive(device string, id uint16) {
	if s.receive(device, id) {
		s.log.add(&Op{Kind: OpReceive, Device: device, Packet: id})
	}
}

// receive reports whether the device has a record.
func (s *Memory) receive(device string, id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.records[device]
	if has == nil {
		return false
	}
	has.more().received.Add(id)
	return true
}

func (s *Memory) Release(device string, id uint16) {
	if s.unreceive(device, id) {
		s.log.add(&Op{Kind: OpRelease, Device: device, Packet: id})
	}
}

// unreceive reports whether it changed something.
func (s *Memory) unreceive(device string, id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.records[device]
	if has == nil || has.rare == nil {
		return false
	}
	received := &has.rare.received
	if id == 0 {
		some := received.Bytes() > 0
		*received = Identifiers{}
		return some
	}
	return received.Remove(id)
}

// Put implements Store. The store keeps no values in memory: their owners do.
func (s *Memory) Put(space Space, key string, value []byte) { s.PutFor("", space, key, value) }

// PutFor implements Store.
func (s *Memory) PutFor(device string, space Space, key string, value []byte) {
	op := Op{Kind: OpPut, Device: device, Space: space, Key: key, Value: value}
	if value == nil {
		op.Kind = OpDelete
	}
	s.log.add(&op)
}

// TakeValues implements Opener.
func (s *Memory) TakeValues(space Space) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.values[space]
	delete(s.values, space)
	return found, nil
}

// applyValue makes the change of an operation of the journal. s is locked.
func (s *Memory) applyValue(op *Op) {
	if op.Kind == OpDelete {
		delete(s.values[op.Space], op.Key)
		return
	}
	if s.values == nil {
		s.values = make(map[Space]map[string][]byte)
	}
	if s.values[op.Space] == nil {
		s.values[op.Space] = make(map[string][]byte)
	}
	s.values[op.Space][op.Key] = op.Value
}

func (s *Memory) Retain(m *message.Message, now time.Time) error { return s.retained.put(m, now) }

func (s *Memory) Unretain(k Kept) bool { return s.retained.drop(k) }

func (s *Memory) Retained(w *Walk, found []Kept, looks int, now time.Time) ([]Kept, int) {
	return s.retained.find(w, found, looks, now)
}

// NewestRetained implements Store.
func (s *Memory) NewestRetained() uint64 {
	s.retained.mu.RLock()
	defer s.retained.mu.RUnlock()
	return s.retained.newest
}

func (s *Memory) Durable() bool { return s.log.journal != nil }

func (s *Memory) Commit(done func(error)) {
	if s.log.journal == nil {
		done(nil)
		return
	}
	s.log.journal.Commit(done)
}

func (s *Memory) Err() error {
	if s.log.journal == nil {
		return nil
	}
	return s.log.journal.Err()
}

// Close implements Opener: it waits for a fence.
func (s *Memory) Close() error {
	safe := make(chan error, 1)
	s.Commit(func(err error) { safe <- err })
	return <-safe
}
