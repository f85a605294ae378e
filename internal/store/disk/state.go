package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// The state is a database of keys. Most values are operations: those that, applied to an empty store, make what the operations of
// the journal before a place have made. A start reads all but the messages of queues and large retained ones: of these it reads what
// has to be in memory (store.Owed, store.OpRetained).
//
//	place                            the place: what is behind it in the journal is not in the state yet
//	q/{device} 0 {number}            a message of the device's queue
//	n/{device} 0 {number}            what the queue has to know of it, or of an identifier to be released
//	i/{device} 0 {identifier}        an identifier that the device has not released
//	r/{device}                       the record of the device's session, but for its subscriptions
//	s/{device} 0 {filter}            one of its subscriptions
//	t/{topic}                        a retained message, or the head of a large one
//	b/{topic}                        the large one
//	v/{space} {key}                  a value; the space is one byte
//
// No device's id and no topic has a zero byte.
var (
	keyPlace = []byte("place")
	// loadOrder are the prefixes of operations that a start reads. A queue is nobody's before its record is there.
	loadOrder = []string{"r/", "s/", "i/", "t/", "v/"}
)

// format is the version of pebble's files. It is raised by hand, when no older Longline need open them any more.
const format = pebble.FormatNewest

type state struct {
	db     *pebble.DB            // static
	bounds *store.RetainedLimits // say which messages are large; static
	fault  func(error)           // told of what cannot be read; static

	// Owned by the applier.
	place journal.Place

	reached atomic.Uint64 // place, for any goroutine
}

func openState(path string, files vfs.FS, bounds *store.RetainedLimits, events *pebble.EventListener, fault func(error)) (*state, error) {
	log := newQuiet()
	events.EnsureDefaults(log)
	options := &pebble.Options{
		FS:                  patientFS{files, &log.opened, fault},
		MaxManifestFileSize: 4 << 20, // patientFS keeps it in memory
		DisableWAL:          true,    // the journal is the log
		FormatMajorVersion:  format,
		MemTableSize:        8 << 20,
		CacheSize:           2 << 20, // the state is read at start alone
		// Fewer compactions, for reads that are rare: most messages are gone before one comes to them.
		L0CompactionThreshold: 16,
		L0StopWritesThreshold: 36,
		LBaseMaxBytes:         1 << 30,
		EventListener:         events,
		Logger:                log,
	}
	var db *pebble.DB
	err := log.catch(func() (err error) {
		db, err = pebble.Open(path, options)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	s := &state{db: db, bounds: bounds, fault: fault}
	if err := s.readPlace(); err != nil {
		return nil, errors.Join(fmt.Errorf("state: %w", err), db.Close())
	}
	if err := log.settle(); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return s, nil
}

// readPlace reads up to where the operations of the journal are in the state.
func (s *state) readPlace() error {
	s.place = 1
	value, closer, err := s.db.Get(keyPlace)
	if err == nil {
		if len(value) != 8 {
			err = fmt.Errorf("its place has %d bytes", len(value))
		} else {
			s.place = journal.Place(binary.BigEndian.Uint64(value))
		}
		err = errors.Join(err, closer.Close())
	}
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	s.reached.Store(uint64(s.place))
	return nil
}

// quiet is pebble's log: errors that it survives are told by its events.
//
// pebble calls Fatalf when it cannot go on, from any of its goroutines, and expects that it does not return. While pebble is opened, the
// goroutine ends there, and the error is that of opening. pebble.Open may then wait for ever for what that goroutine was to do: it
// is left to the end of the process.
type quiet struct {
	opened atomic.Bool
	failed chan error // why pebble cannot be opened; has room for one

	mu sync.Mutex // held while opened is set, and while failed is told
}

func newQuiet() *quiet { return &quiet{failed: make(chan error, 1)} }

// catch calls open on a goroutine of its own, and returns its error, or as an error what is fatal for pebble.
func (q *quiet) catch(open func() error) error {
	done := make(chan error, 1)
	go func() { done <- open() }()
	select {
	case err := <-done:
		return err
	case err := <-q.failed:
		return err
	}
}

// settle ends the opening: from now on the state's files are patient, and what is fatal ends the process. The error is what was
// fatal before.
func (q *quiet) settle() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened.Store(true)
	select {
	case err := <-q.failed:
		return err
	default:
		return nil
	}
}

func (*quiet) Infof(string, ...any)  {}
func (*quiet) Errorf(string, ...any) {}

// Fatalf is called when pebble cannot go on: at start, because a file cannot be written; later only because of a mistake in pebble. Nothing
// is lost: the next start goes on from the journal.
func (q *quiet) Fatalf(text string, args ...any) {
	q.fail(fmt.Errorf(text, args...))
	runtime.Goexit()
}

// fail tells the caller of catch, or ends the process if the state is open.
func (q *quiet) fail(err error) {
	q.mu.Lock()
	if q.opened.Load() {
		slog.Error("the store's state cannot go on: the node ends, and goes on from the journal when it is started again", "error", err)
		os.Exit(1)
	}
	select {
	case q.failed <- err:
	default: // another one was told
	}
	q.mu.Unlock()
}

// load gives a store all that makes the state.
func (s *state) load(to *store.Memory) error {
	for _, prefix := range loadOrder {
		err := s.each(prefix, func(_, value []byte) error { return to.Apply(bytes.Clone(value)) })
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	if err := s.loadQueues(to); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// loadQueues restores the queues, without their messages.
func (s *state) loadQueues(to *store.Memory) error {
	var device string
	var owed []store.Owed
	err := s.each("n/", func(key, value []byte) error {
		name, number := key[len("n/"):len(key)-numberBytes-1], binary.BigEndian.Uint64(key[len(key)-numberBytes:])
		if string(name) != device {
			to.Restore(device, owed)
			device, owed = string(name), owed[:0]
		}
		o, err := store.ParseOwed(number, value)
		owed = append(owed, o)
		return err
	})
	to.Restore(device, owed)
	return err
}

// each calls do for the keys with a prefix, in their order. Key and value are borrowed.
func (s *state) each(prefix string, do func(key, value []byte) error) (err error) {
	return eachOf(s.db, prefix, do)
}

func eachOf(r pebble.Reader, prefix string, do func(key, value []byte) error) (err error) {
	i, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	for i.First(); i.Valid(); i.Next() {
		value, err := i.ValueAndErr()
		if err == nil {
			err = do(i.Key(), value)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", i.Key(), err)
		}
	}
	return i.Error()
}

// read implements store.Medium. Any goroutine may call it.
func (s *state) read(p *store.Page) error {
	if len(p.Retained) > 0 {
		s.readRetained(p)
		return nil
	}
	return s.readQueued(p)
}

// readRetained reads the messages of a page of retained ones, each for itself.
func (s *state) readRetained(p *store.Page) {
	p.Messages = make([]*message.Message, len(p.Retained))
	var b batch // for its keys
	for i := range p.Retained {
		m, err := s.readRetainedOne(&b, p.Retained[i].Topic)
		if err != nil {
			p.Fail(i, err)
			s.fault(fmt.Errorf("the retained message of %q cannot be read: %w", p.Retained[i].Topic, err))
		}
		p.Messages[i] = m
	}
}

// readRetainedOne returns nil if nothing is retained for the topic.
func (s *state) readRetainedOne(b *batch, topic string) (*message.Message, error) {
	for _, prefix := range []string{"b/", "t/"} { // one that was not large when it was retained has no other key
		op, err := get(s.db, b.name(prefix, topic))
		if err != nil {
			return nil, err
		}
		if op.Kind == store.OpRetain {
			return op.Message, nil
		}
	}
	return nil, nil
}

// get returns the operation that a key has, or none.
func get(r pebble.Reader, key []byte) (op store.Op, err error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return op, nil
	}
	if err != nil {
		return op, err
	}
	op, err = store.ParseOp(bytes.Clone(value))
	return op, errors.Join(err, closer.Close())
}

// readQueued reads messages of a queue.
func (s *state) readQueued(p *store.Page) (err error) {
	i, err := s.db.NewIter(&pebble.IterOptions{KeyTypes: pebble.IterKeyTypePointsOnly})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	var b batch // for its keys
	p.Messages = make([]*message.Message, len(p.Numbers))
	for k, number := range p.Numbers {
		key := b.numbered("q/", p.Device, number)
		if !i.SeekGE(key) || !bytes.Equal(i.Key(), key) {
			continue
		}
		value, err := i.ValueAndErr()
		if err != nil {
			return err
		}
		op, err := store.ParseOp(bytes.Clone(value))
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		p.Messages[k] = op.Message
	}
	return i.Error()
}

// after is behind all keys that begin so.
func after(prefix string) []byte {
	b := []byte(prefix)
	b[len(b)-1]++
	return b
}

// apply changes the state as the batch says. It belongs to the applier.
func (s *state) apply(b *batch) error {
	if b.next == 0 {
		return nil
	}
	place := binary.BigEndian.AppendUint64(nil, uint64(b.next))
	if err := b.b.Set(keyPlace, place, nil); err != nil {
		return err
	}
	if err := s.db.Apply(b.b, pebble.NoSync); err != nil {
		return err
	}
	s.place = b.next
	s.reached.Store(uint64(b.next))
	return nil
}

// size returns the bytes of the state's files.
func (s *state) size() uint64 { return s.db.Metrics().DiskSpaceUsage() }

// flush returns when all that was applied is durable.
func (s *state) flush() error { return s.db.Flush() }

func (s *state) close() error { return s.db.Close() }

// batch gathers operations for the state.
type batch struct {
	b    *pebble.Batch
	next journal.Place // behind the last operation; 0 when there is none

	bounds     *store.RetainedLimits // say which messages are large
	key, value []byte                // buffers
}

func (s *state) batch() *batch { return &batch{b: s.db.NewBatch(), bounds: s.bounds} }

func (b *batch) close() { _ = b.b.Close() } // it was applied, or is not wanted

// add makes the change of an operation, whose bytes are p. pebble's batches are in memory: their methods do not fail.
func (b *batch) add(op *store.Op, p []byte) {
	switch op.Kind {
	case store.OpSave: // there was no record, and so there are no subscriptions
		b.setRecord(op.Record)
		for i := range op.Record.Subscriptions {
			sub := &op.Record.Subscriptions[i]
			b.value = store.AppendOp(b.value[:0], &store.Op{Kind: store.OpSubscribe, Device: op.Device, Subscription: sub})
			b.set(b.subscription(op.Device, sub.Filter), b.value)
		}
	case store.OpUpdate:
		b.set(b.name("r/", op.Device), p)
	case store.OpSubscribe:
		b.set(b.subscription(op.Device, op.Subscription.Filter), p)
	case store.OpUnsubscribe:
		b.remove(b.subscription(op.Device, op.Topic))
	case store.OpDrop:
		b.remove(b.name("r/", op.Device))
		b.removeAll("s/", op.Device)
		b.removeAll("q/", op.Device)
		b.removeAll("n/", op.Device)
		b.removeAll("i/", op.Device)
	case store.OpReceive:
		b.set(b.numbered("i/", op.Device, uint64(op.Packet)), p)
	case store.OpRelease:
		if op.Packet == 0 {
			b.removeAll("i/", op.Device)
		} else {
			b.remove(b.numbered("i/", op.Device, uint64(op.Packet)))
		}
	case store.OpPush:
		b.set(b.numbered("q/", op.Device, op.Number), p)
		b.tell(op)
		if op.Key != "" {
			b.remove(b.keyed(store.SpaceOrphan, op.Key))
		}
	case store.OpSent:
		if op.QoS > 0 {
			b.tell(op)
		}
	case store.OpReceived:
		b.remove(b.numbered("q/", op.Device, op.Number))
		b.tell(op)
	case store.OpRemove:
		b.remove(b.numbered("q/", op.Device, op.Number))
		b.remove(b.numbered("n/", op.Device, op.Number))
	case store.OpOrphan:
		b.remove(b.numbered("q/", op.Device, op.Number))
		b.remove(b.numbered("n/", op.Device, op.Number))
		put := store.Op{Kind: store.OpPut, Space: store.SpaceOrphan, Key: op.Key, Value: op.Value} // the number may be used again
		b.set(b.keyed(put.Space, put.Key), store.AppendOp(nil, &put))
	case store.OpRetain:
		b.retain(op.Message, p)
	case store.OpUnretain:
		b.remove(b.name("t/", op.Topic))
		b.remove(b.name("b/", op.Topic))
	case store.OpPut:
		b.set(b.keyed(op.Space, op.Key), p)
	case store.OpDelete:
		b.remove(b.keyed(op.Space, op.Key))
	}
}

// retain sets the retained message of m's topic: its operation is p.
func (b *batch) retain(m *message.Message, p []byte) {
	if !b.bounds.OnMedium(m) {
		b.set(b.name("t/", m.Topic), p)
		b.remove(b.name("b/", m.Topic))
		return
	}
	b.value = store.AppendOp(b.value[:0], &store.Op{Kind: store.OpRetained, Message: m.Head(), Size: m.Size()})
	b.set(b.name("t/", m.Topic), b.value)
	b.set(b.name("b/", m.Topic), p)
}

// tell sets what the queue has to know of a message.
func (b *batch) tell(op *store.Op) {
	o := store.OwedBy(op)
	b.value = store.AppendOwed(b.value[:0], &o)
	b.set(b.numbered("n/", op.Device, op.Number), b.value)
}

func (b *batch) set(key, value []byte) { _ = b.b.Set(key, value, nil) }

func (b *batch) remove(key []byte) { _ = b.b.Delete(key, nil) }

func (b *batch) removeAll(prefix, device string) {
	from := append(b.name(prefix, device), 0)
	n := len(from)
	b.key = append(append(from, from[:n-1]...), 1)
	_ = b.b.DeleteRange(b.key[:n], b.key[n:], nil)
}

// name returns a key, which is valid until the next one.
func (b *batch) name(prefix, name string) []byte {
	b.key = append(append(b.key[:0], prefix...), name...)
	return b.key
}

// setRecord sets a record but for its subscriptions.
func (b *batch) setRecord(r *store.Record) {
	without := *r
	without.Subscriptions = nil
	b.value = store.AppendOp(b.value[:0], &store.Op{Kind: store.OpUpdate, Device: r.Device, Record: &without})
	b.set(b.name("r/", r.Device), b.value)
}

func (b *batch) subscription(device, filter string) []byte {
	b.key = append(append(b.name("s/", device), 0), filter...)
	return b.key
}

func (b *batch) keyed(space store.Space, key string) []byte {
	b.key = append(append(b.key[:0], 'v', '/', byte(space)), key...)
	return b.key
}

// numberBytes is the length of a number in a key.
const numberBytes = 8

func (b *batch) numbered(prefix, device string, number uint64) []byte {
	b.key = binary.BigEndian.AppendUint64(append(b.name(prefix, device), 0), number)
	return b.key
}
