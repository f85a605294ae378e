package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/store"
)

// retained is the store.RetainedLog of a cluster. A writer writes what the node changes, in batches, one at a time; a reader follows the log and applies
// what is in it to the node's memory.
type retained struct {
	// Static after construction; memory from start on.
	link     *Link
	keys     []string // of retainScript
	origin   string
	position func() uint64 // Options.Position
	inMemory int
	patience time.Duration
	log      *slog.Logger
	memory   *store.Memory
	recent   recent[entry]
	cancel   context.CancelFunc
	ended    sync.WaitGroup
	wake     chan struct{} // there is something to write
	ready    chan struct{} // closed when memory has what is retained

	at     atomic.Uint64 // up to where the reader has read the log
	spoilt atomic.Uint64 // entries and messages that could not be read

	mu      sync.Mutex
	line    []store.Change    // to be written, the oldest first
	in      map[string]uint64 // the place in line of the change of a topic, counted from the first change of all
	gone    uint64            // changes that have left the line
	written uint64            // of these, those that are written
	again   []entry           // to be written again
	fences  []fence
	stuck   time.Time // since when writing fails; zero if it does not
	why     error
}

// fence is told when all changes up to the one with a number are written.
type fence struct {
	behind uint64
	done   func(error)
}

const (
	allKey = iota
	largeKey
	logKey
	dueKey
)

// recentBytes bounds what is kept of what was written in the last seconds.
const recentBytes = 32 << 20

// newRetained returns a log of which start is to be called.
func newRetained(o Options, bounds store.Options) *retained {
	prefix := o.Prefix + "{retained}:"
	r := &retained{
		link: o.Link, keys: []string{prefix + "all", prefix + "large", prefix + "log", prefix + "due"}, origin: o.Owner, position: o.Position,
		inMemory: bounds.WithDefaults().Retained.InMemory, patience: o.Patience, log: o.Log,
		recent: recent[entry]{sure: o.Link.Sure, most: recentBytes},
		wake:   make(chan struct{}, 1), ready: make(chan struct{}), in: map[string]uint64{},
	}
	if r.position == nil {
		r.position = func() uint64 { return 0 }
	}
	return r
}

// start begins to write and to read. memory is the one that has r as its RetainedLog.
func (r *retained) start(memory *store.Memory) {
	r.memory = memory
	r.link.OnLoss(r.writeAgain)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.ended.Go(func() { r.write(ctx) })
	r.ended.Go(func() { r.read(ctx) })
}

// close ends writing and reading. What is not written is lost; its fences are refused.
func (r *retained) close() {
	r.cancel()
	r.ended.Wait()
	r.refuse(context.Canceled)
}

// Append implements store.RetainedLog. A change takes the place of an older one of its topic that is not being written yet: so there are no more of
// them than topics, and whoever waits for the older one waits for this one.
func (r *retained) Append(c store.Change) {
	c.At = r.position()
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, there := r.in[c.Topic]; there {
		r.line[at-r.gone] = c
		return
	}
	r.in[c.Topic] = r.gone + uint64(len(r.line))
	r.line = append(r.line, c)
	r.awake()
}

// commit has done told when everything that was appended before is in Redis. It returns false, and does not call done, if that is so now. done
// is called with no lock held and must not block.
func (r *retained) commit(done func(error)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	behind := r.gone + uint64(len(r.line))
	if behind == r.written {
		return false
	}
	r.fences = append(r.fences, fence{behind, done})
	return true
}

// err returns why nothing can be written, if that lasts for longer than the patience.
func (r *retained) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stuck.IsZero() || time.Since(r.stuck) < r.patience {
		return nil
	}
	return fmt.Errorf("%w: retained messages cannot be written: %w", ErrAway, r.why)
}

// progress returns how many changes there were, and how many are written; a change that takes the place of another is none.
func (r *retained) progress() (changes, written uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone + uint64(len(r.line)), r.written
}

func (r *retained) awake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// writeAgain has what was written lately written again: Redis may have lost it.
func (r *retained) writeAgain() {
	// Of a topic the last change counts. Of that there may be two entries: as it was written, and as it was read, without the body.
	all := r.recent.take()
	best := make(map[string]int, len(all))
	for i := range all {
		e := &all[i]
		j, there := best[e.topic]
		if !there || all[j].place < e.place || all[j].place == e.place && all[j].body == "" {
			best[e.topic] = i
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range all {
		if best[all[i].topic] == i {
			r.again = append(r.again, all[i])
		}
	}
	r.awake()
}

// write writes what is appended, until ctx ends.
func (r *retained) write(ctx context.Context) {
	for ctx.Err() == nil {
		batch, own := r.next()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-r.wake:
			}
			continue
		}
		for {
			places, err := r.send(ctx, batch)
			if err == nil {
				r.wrote(batch, places, own)
				break
			}
			if !r.failed(ctx, err) {
				return
			}
		}
	}
}

// next returns what is to be written at once, and how many changes of the line it is.
func (r *retained) next() (batch []entry, own int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bytes := 0
	if n := min(len(r.again), writeAtOnce); n > 0 {
		i := 0
		for i < n && (i == 0 || bytes+r.again[i].bytes() <= bytesAtOnce) {
			bytes += r.again[i].bytes()
			i++
		}
		batch, r.again = r.again[:i:i], r.again[i:]
		return batch, 0
	}
	for own < len(r.line) && own < writeAtOnce && (own == 0 || bytes < bytesAtOnce) {
		c := &r.line[own]
		batch = append(batch, newEntry(c, r.origin, r.inMemory, r.link))
		bytes += batch[own].bytes()
		delete(r.in, c.Topic)
		*c = store.Change{}
		own++
	}
	r.line = r.line[own:]
	r.gone += uint64(own)
	return batch, own
}

// send writes a batch and returns the places of its changes.
func (r *retained) send(ctx context.Context, batch []entry) ([]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	arguments := make([]string, 0, 3+10*len(batch))
	arguments = append(arguments, strconv.Itoa(logEntries), strconv.FormatUint(r.at.Load(), 10), strconv.FormatInt(r.link.Now().UnixMilli(), 10))
	for i := range batch {
		arguments = batch[i].arguments(arguments)
	}
	answer, err := retainScript.Exec(ctx, r.link.client, r.keys, arguments).AsStrSlice()
	if err != nil {
		return nil, err
	}
	if len(answer) != len(batch) {
		return nil, fmt.Errorf("redis answers %d places for %d changes", len(answer), len(batch))
	}
	n := numbers{}
	places := make([]uint64, len(batch))
	for i, text := range answer {
		places[i] = n.parse(text)
	}
	return places, n.err
}

const (
	writeTimeout = 5 * time.Second
	writePause   = 200 * time.Millisecond // after an error
)

// wrote tells who waits that a batch is written, the first own of which are of the line.
func (r *retained) wrote(batch []entry, places []uint64, own int) {
	for i := range batch {
		e := &batch[i]
		if e.origin == r.origin {
			r.memory.Settle(store.Change{Topic: e.topic, Number: e.number, Place: places[i]}, places[i] == 0)
		}
		if places[i] != 0 {
			e.place = places[i]
			r.recent.add(*e, e.bytes())
		}
	}
	r.mu.Lock()
	r.written += uint64(own)
	r.stuck, r.why = time.Time{}, nil
	n := 0
	for n < len(r.fences) && r.fences[n].behind <= r.written {
		n++
	}
	passed := r.fences[:n:n]
	r.fences = r.fences[n:]
	r.mu.Unlock()
	for _, f := range passed {
		f.done(nil)
	}
}

// failed waits after an error, and reports whether the batch is to be sent again.
func (r *retained) failed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	r.link.Look()
	r.mu.Lock()
	if r.stuck.IsZero() {
		r.stuck = time.Now()
		r.log.Warn("retained messages cannot be written", "err", err)
	}
	r.why = err
	r.mu.Unlock()
	if err := r.err(); err != nil {
		r.refuse(err)
	}
	return pause(ctx, writePause)
}

// refuse tells all fences that what they wait for is not safe.
func (r *retained) refuse(err error) {
	r.mu.Lock()
	refused := r.fences
	r.fences = nil
	r.mu.Unlock()
	for _, f := range refused {
		f.done(err)
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// readPage is store.Medium.Read for a page of retained messages: those that are large.
func (r *retained) readPage(ctx context.Context, p *store.Page) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	topics := make([]string, len(p.Retained))
	for i, k := range p.Retained {
		topics[i] = k.Topic
	}
	found, err := r.link.client.Do(ctx, r.link.client.B().Hmget().Key(r.keys[largeKey]).Field(topics...).Build()).ToArray()
	if err != nil {
		return err
	}
	if len(found) != len(topics) {
		return fmt.Errorf("redis answers %d retained messages of %d", len(found), len(topics))
	}
	p.Messages = p.Messages[:0]
	for i := range found {
		p.Messages = append(p.Messages, nil)
		if found[i].IsNil() {
			continue
		}
		text, err := found[i].ToString()
		if err == nil {
			_, record, _ := strings.Cut(text, " ")
			p.Messages[i], err = readMessage(record, r.link)
		}
		if err != nil {
			r.spoilt.Add(1)
			p.Fail(i, err)
		}
	}
	return nil
}
