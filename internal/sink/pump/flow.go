package pump

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/stream"
)

// item is a record on its way.
type item struct {
	Record
	stream string // whose entry the message is
	feed   *feed
	number uint64 // in the feed's places
	size   int
	since  time.Time
}

// feed is what is read: the stream as it comes, or a replay.
type feed struct {
	// Static after construction.
	room  chan struct{}                       // gets a value when its places have moved; has room for one
	of    func(stream.Entry) (original, bool) // what an entry is to the sink, and whether it is anything; nil if it is what it is
	end   uint64                              // it ends before this place, unless that is 0
	until time.Time                           // and before an entry of this time, unless that is zero

	places places
}

// original is an entry as the stream had it from which the sink got it first.
type original struct {
	stream.Entry
	stream string
}

func newFeed() *feed { return &feed{room: make(chan struct{}, 1)} }

// within returns the entries that are before the end, and whether the end is behind them.
func (f *feed) within(entries []stream.Entry) (within []stream.Entry, ended bool) {
	i := slices.IndexFunc(entries, func(e stream.Entry) bool {
		return f.end > 0 && e.Place >= f.end || !f.until.IsZero() && !e.Time.Before(f.until)
	})
	if i < 0 {
		return entries, false
	}
	return entries[:i], true
}

// lane is a line of records that are sent one behind the other.
type lane struct {
	line    []*item // the first of them may be under way
	bytes   int     // of the line
	sending int     // how many are under way
	again   bool    // the first were sent already, and have to be sent again
	gaveUp  bool    // it has failed while the sink closes
}

// flow is the state of a pump: records in lanes, and what may be done with them. It has no goroutines, clock or I/O; Pump.mu guards it.
type flow struct {
	// Static after construction.
	batch Batch
	ahead Ahead
	exact bool // the target is Transactional: there is one lane

	lanes   []lane
	burying int // records that are on their way to the dead letters

	paused  bool  // by somebody
	stopped error // why the sink has stopped by itself: its configuration; nil if it has not
	closing bool  // nothing more is read; what is there is sent
}

// held reports whether lanes may send nothing.
func (f *flow) held() bool { return f.paused || f.stopped != nil }

// room returns how much more may be read for a feed: 0 messages if nothing.
func (f *flow) room(of *feed) (messages, bytes int) {
	if f.closing {
		return 0, 0
	}
	p := &of.places
	messages, bytes = f.ahead.Messages-p.messages, f.ahead.Bytes-p.bytes
	if messages <= 0 || bytes <= 0 {
		return 0, 0
	}
	return messages, bytes
}

// pass notes an entry that needs no record.
func (f *flow) pass(of *feed, place uint64, size int) { of.places.add(place, size, true) }

// push adds a record to a lane.
func (f *flow) push(n int, it *item, place uint64) {
	it.number = it.feed.places.add(place, it.size, false)
	l := &f.lanes[n]
	l.line, l.bytes = append(l.line, it), l.bytes+it.size
}

// misfit adds a record that goes to the dead letters instead of a lane.
func (f *flow) misfit(it *item, place uint64) {
	it.number = it.feed.places.add(place, it.size, false)
	f.burying++
}

// next returns the records that lane n may send now, and notes that they are under way. If there are none, wait is after how long there will be
// some although nothing happens; 0 means never.
func (f *flow) next(n int, now time.Time) (batch []*item, wait time.Duration) {
	l := &f.lanes[n]
	if len(l.line) == 0 || l.sending > 0 || l.gaveUp || f.held() || f.exact && f.burying > 0 {
		return nil, 0
	}
	if !l.again && !f.closing && len(l.line) < f.batch.Messages && l.bytes < f.batch.Bytes {
		if wait = f.batch.Wait - now.Sub(l.line[0].since); wait > 0 {
			return nil, wait
		}
	}
	size := 0
	for _, it := range l.line[:min(len(l.line), f.batch.Messages)] {
		size += it.size
		if l.sending > 0 && (size > f.batch.Bytes || f.exact && it.feed != l.line[0].feed) {
			break
		}
		l.sending++
	}
	return l.line[:l.sending], 0
}

// over reports whether lane n has nothing to do any more.
func (f *flow) over(n int) bool {
	l := &f.lanes[n]
	return f.closing && l.sending == 0 && (l.gaveUp || f.held() || len(l.line) == 0 && f.burying == 0)
}

// upTo returns the place that the other side may note when it has the first records of the only lane, which are under way.
func (f *flow) upTo() uint64 {
	l := &f.lanes[0]
	last := l.line[l.sending-1]
	return last.feed.places.upTo(last.number)
}

// confirm notes that the other side has the first records that lane n has under way.
func (f *flow) confirm(n, records int) {
	l := &f.lanes[n]
	done := l.line[:records]
	l.line, l.sending = l.line[records:], l.sending-records
	for _, it := range done {
		l.bytes -= it.size
		it.feed.places.finish(it.number)
	}
	clear(done)
}

// bury takes a record that lane n has under way, the one at i, for the dead letters.
func (f *flow) bury(n, i int) *item {
	l := &f.lanes[n]
	it := l.line[i]
	l.line, l.bytes, l.sending = slices.Delete(l.line, i, i+1), l.bytes-it.size, l.sending-1
	f.burying++
	return it
}

// buried notes that the dead letters have a record.
func (f *flow) buried(it *item) {
	f.burying--
	it.feed.places.finish(it.number)
}

// back ends the batch of lane n: what is left of it comes again. failed says that the other side failed, and not only one message.
func (f *flow) back(n int, failed bool) {
	l := &f.lanes[n]
	l.again, l.sending = l.sending > 0, 0
	l.gaveUp = l.gaveUp || failed && f.closing
}
