package stream

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/store"
)

var (
	// ErrClosed is the error of readers and acknowledgements after Set.Close.
	ErrClosed = errors.New("the stream is closed")
	// ErrTakenOver ends a reader, because a newer one reads for its consumer.
	ErrTakenOver = errors.New("a newer reader took over the consumer")
	// ErrDeleted ends a reader, because its consumer was deleted.
	ErrDeleted = errors.New("the consumer was deleted")
	// ErrConsumer says that a stream has no consumer of that name.
	ErrConsumer = errors.New("the stream has no such consumer")
	// ErrName refuses a consumer's name.
	ErrName = errors.New("want a consumer's name of 1 to 128 bytes of UTF-8, without / + # and control characters")
	// ErrPlace refuses to acknowledge what the stream does not have yet.
	ErrPlace = errors.New("the place is behind the end of the stream")
	// ErrTooMany refuses a consumer or reader beyond the bounds of a stream.
	ErrTooMany = errors.New("the stream takes no more consumers or readers: delete consumers that never come back")
)

// The bounds of one stream.
const (
	mostConsumers = 100
	mostReaders   = 1000
	mostName      = 128 // bytes of a consumer's name
)

// audience is the consumers and readers of a stream.
type audience struct {
	// Static after construction.
	stream string
	store  store.Store
	first  func() uint64 // the stream's

	mu sync.Mutex
	// Guarded by mu.
	consumers map[string]*consumer
	readers   map[*Reader]struct{}
	lost      ranges
	closed    bool
}

// consumer is one consumer of a stream.
type consumer struct {
	place  uint64 // all entries before it are done
	safe   uint64 // the same, as it is safe in the store
	kept   bool   // the store has it safely
	missed uint64
	owed   uint64  // of missed: since something was acknowledged. The next reader is told
	told   uint64  // what the log says of missed
	reader *Reader // nil while nobody reads
}

func validName(name string) bool {
	return len(name) >= 1 && len(name) <= mostName && utf8.ValidString(name) &&
		!strings.ContainsAny(name, "/+#") && !strings.ContainsFunc(name, unicode.IsControl)
}

// key returns the key of a consumer's place in the store.
func (a *audience) key(name string) string { return a.stream + "\x00" + name }

// restore makes the consumers that the store knows, and returns the names of those whose values cannot be read.
func (a *audience) restore(places map[string][]byte) (unreadable []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, value := range places {
		name, ok := strings.CutPrefix(key, a.key(""))
		if !ok {
			continue
		}
		place, missed, err := parsePlace(value)
		if err != nil {
			unreadable = append(unreadable, name)
			continue
		}
		a.consumers[name] = &consumer{place: place, safe: place, kept: true, missed: missed, told: missed}
	}
	return unreadable
}

// limit moves consumers whose place is behind the stream's end back to the end, and returns their names. Their places are there
// if the stream's files are new, or older than the store.
func (a *audience) limit(end uint64) (moved []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, c := range a.consumers {
		if c.place > end {
			c.place, c.safe = end, end
			moved = append(moved, name)
		}
	}
	return moved
}

// A consumer's value in the store has its place and the number of entries that it missed, as varints.

func appendPlace(dst []byte, place, missed uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, place), missed)
}

func parsePlace(p []byte) (place, missed uint64, err error) {
	place, n := binary.Uvarint(p)
	if n > 0 {
		var m int
		if missed, m = binary.Uvarint(p[n:]); m > 0 {
			return place, missed, nil
		}
	}
	return 0, 0, errors.New("its place cannot be read")
}

// put gives the place of c to the store. mu is held.
func (a *audience) put(name string, c *consumer) {
	a.store.Put(store.SpacePlace, a.key(name), appendPlace(nil, c.place, c.missed))
}

// settle moves c past entries that were dropped. The store need not know: it would find the same again. mu is held.
func (a *audience) settle(c *consumer) {
	if first := a.first(); c.place < first {
		c.missed += first - c.place
		c.owed += first - c.place
		c.place = first
	}
}

// lowest returns the place before which all consumers have acknowledged all entries safely; 0 if there is no consumer.
func (a *audience) lowest() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	low := uint64(0)
	for _, c := range a.consumers {
		if low == 0 || c.safe < low {
			low = c.safe
		}
	}
	return low
}

// addLost notes spoilt entries and returns how many of them are news.
func (a *audience) addLost(g journal.Gap) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost.forget(journal.Place(a.first()))
	return a.lost.add(g)
}

// attach makes r the reader of a consumer, which begins at start if it is new, and sets r's place. With an empty name r
// reads for no consumer. r.saved waits for a fence if the store may not have the consumer.
func (a *audience) attach(r *Reader, name string, start uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.consumers[name]
	isNew := c == nil && name != ""
	switch {
	case a.closed:
		return ErrClosed
	case isNew && len(a.consumers) >= mostConsumers:
		return ErrTooMany
	case len(a.readers) >= mostReaders && (c == nil || c.reader == nil):
		return ErrTooMany
	}
	if isNew {
		c = &consumer{place: start, safe: start}
		a.consumers[name] = c
		a.put(name, c)
	}
	if r.place = start; c != nil {
		if c.reader != nil {
			a.detach(c.reader, ErrTakenOver)
		}
		a.settle(c)
		c.reader, r.consumer, r.place, r.missed = r, c, c.place, c.owed
		if !c.kept {
			r.saved = make(chan error, 1)
		}
	}
	a.readers[r] = struct{}{}
	return nil
}

// has reports whether there is a consumer of that name.
func (a *audience) has(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.consumers[name] != nil
}

// leave ends a reader.
func (a *audience) leave(r *Reader, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.detach(r, why)
}

// detach is leave, locked.
func (a *audience) detach(r *Reader, why error) {
	r.end(why)
	delete(a.readers, r)
	if r.consumer != nil && r.consumer.reader == r {
		r.consumer.reader = nil
	}
}

// acknowledge moves a consumer forward. It reports whether that is safe already.
func (a *audience) acknowledge(name string, place, end uint64) (c *consumer, safe bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c = a.consumers[name]
	switch {
	case a.closed:
		return nil, false, ErrClosed
	case c == nil:
		return nil, false, ErrConsumer
	case place > end:
		return nil, false, ErrPlace
	}
	a.settle(c)
	if place > c.place {
		c.missed += a.lost.within(journal.Place(c.place), journal.Place(place))
		c.place, c.owed = place, 0
		a.put(name, c)
	}
	return c, place <= c.safe, nil
}

// keep notes that the store has c safely.
func (a *audience) keep(c *consumer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.kept = true
}

// confirm notes that a place of c is safe.
func (a *audience) confirm(c *consumer, place uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.safe = max(c.safe, place)
}

// remove forgets a consumer.
func (a *audience) remove(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.consumers[name]
	switch {
	case a.closed:
		return ErrClosed
	case c == nil:
		return ErrConsumer
	}
	if c.reader != nil {
		a.detach(c.reader, ErrDeleted)
	}
	delete(a.consumers, name)
	a.store.Put(store.SpacePlace, a.key(name), nil)
	return nil
}

// end ends all readers.
func (a *audience) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for r := range a.readers {
		a.detach(r, ErrClosed)
	}
}

// newlyMissed returns a consumer that missed entries since the last call, and how many all have missed.
func (a *audience) newlyMissed() (name string, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for one, c := range a.consumers {
		if a.settle(c); c.missed > c.told {
			name, n = one, n+c.missed-c.told
			c.told = c.missed
		}
	}
	return name, n
}

// list returns the consumers without their lag, by name, and the number of readers.
func (a *audience) list() (all []Consumer, readers int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.consumers)) {
		c := a.consumers[name]
		a.settle(c)
		all = append(all, Consumer{Name: name, Place: c.place, Reading: c.reader != nil, Missed: c.missed})
	}
	return all, len(a.readers)
}

// Acknowledge notes that all entries before place are done; what was done before stays done. It calls done once, from
// any goroutine, with no lock held: with nil when that is safe. The error is ErrConsumer, ErrPlace, ErrClosed, or the store's.
// It does not block.
func (s *Stream) Acknowledge(consumer string, place uint64, done func(error)) {
	if err := s.options.Store.Err(); err != nil && !errors.Is(err, store.ErrNoRoom) { // each place would be in memory until the store is well
		done(err)
		return
	}
	c, safe, err := s.audience.acknowledge(consumer, place, uint64(s.journal.End()))
	if err != nil || safe {
		done(err)
		return
	}
	s.options.Store.Commit(func(err error) {
		if err == nil {
			s.audience.confirm(c, place)
		}
		done(err)
	})
}

// DeleteConsumer forgets a consumer. A reader of it ends with ErrDeleted. If it returns nil, it calls done once, as
// Acknowledge does, when that is safe. It does not block.
func (s *Stream) DeleteConsumer(name string, done func(error)) error {
	if err := s.audience.remove(name); err != nil {
		return err
	}
	s.options.Store.Commit(done)
	return nil
}
