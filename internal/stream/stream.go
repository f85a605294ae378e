// Package stream keeps the messages that match filters in durable, ordered, bounded logs, from which backends read at
// their own speed: streams.
//
// A stream is a subscriber of the router that writes what it gets into a journal of its own, in DIR/streams/NAME. A QoS 1
// or 2 publication is answered when the journal has it on disk. An entry has a number without gaps, its place. A consumer
// is a name with a place: all entries before it are done. The places are values of the node's store.
package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// Stream is one stream. Its methods are safe from any goroutine.
//
// audience and undelivered may be locked while mu is held, never the other way round.
type Stream struct {
	// Static after construction.
	name    string
	config  Config
	options *Options
	log     *slog.Logger
	journal *journal.Journal
	settled func(error) // settle

	// Guarded by mu: what takes messages.
	mu      sync.Mutex
	waiting *router.Waiting
	entry   []byte // scratch
	last    int64  // the time of the newest entry; times do not descend
	taken   uint64 // messages that came
	closed  bool

	audience    audience
	undelivered undelivered

	// Owned by the set's keeper.
	err    error     // the last that it has seen
	agedAt time.Time // when it looked for old entries last

	// Safe from any goroutine.
	aged  atomic.Uint64 // entries before this place are older than max_age
	safe  atomic.Uint64 // messages that the journal has on disk
	drops router.Drops  // messages that it does not have
	lost  atomic.Uint64 // entries that cannot be read
	lines chan line     // for the keeper to log
	quiet sync.Map      // of *atomic.Int64: until when a line of the log is not written again, by its text
}

// Name returns the name of s.
func (s *Stream) Name() string { return s.name }

// End returns the place behind the newest entry that is safe.
func (s *Stream) End() uint64 { return uint64(s.journal.End()) }

// first returns the place of the oldest entry, which is the journal's end if there is none.
func (s *Stream) first() uint64 { return max(uint64(s.journal.First()), s.aged.Load()) }

// OwnNode implements router.OwnNode.
func (s *Stream) OwnNode() {}

// Deliver implements router.Subscriber.
func (s *Stream) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	err := s.offer(m, p)
	switch {
	case err == nil:
		return nil
	case q == message.AtMostOnce:
		s.options.Router.Drop(m, "", s.refusal(err).Why, 1)
		return nil
	case errors.Is(err, router.ErrFull) && s.waiting.Add(m, q, p):
		return nil
	}
	return s.refusal(err)
}

// offer appends m, unless others wait already. The journal answers its claim. mu is held.
func (s *Stream) offer(m *message.Message, p *router.Publication) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.waiting.Len() > 0:
		return router.ErrFull
	case p == nil:
		return s.append(m, nil)
	}
	claim := p.Claim()
	err := s.append(m, claim)
	if err != nil {
		claim.Done(nil) // gives the right back; it is not the last, because the router has one until all receivers were asked
	}
	return err
}

// append gives m to the journal, with a claim that the journal answers; it may be nil. The error is router.ErrFull if m
// may wait. mu is held.
func (s *Stream) append(m *message.Message, claim *router.Claim) error {
	s.last = max(s.last, time.Now().UnixMilli())
	s.entry = appendEntry(s.entry[:0], s.last, m)
	var err error
	switch {
	case claim == nil:
		_, err = s.journal.Append(s.entry, s.settled)
	case s.AwaitsDelivery():
		err = s.undelivered.append(s, s.entry, claim)
	default:
		_, err = s.journal.Append(s.entry, func(err error) { s.answer(claim, err) })
	}
	if cap(s.entry) > keptEntry {
		s.entry = nil
	}
	if errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrBound) && s.trimDone() {
		return router.ErrFull
	}
	return err
}

// keptEntry is the largest buffer for an entry that is kept.
const keptEntry = 64 << 10

// settle counts a message that the journal has on disk, or has not because of err, and returns the answer to its publisher.
func (s *Stream) settle(err error) error {
	if err == nil {
		s.safe.Add(1)
		return nil
	}
	r := s.refusal(err)
	s.options.Router.Drop(nil, "", r.Why, 1)
	return r
}

// answer settles a message that has a claim. No lock is held.
func (s *Stream) answer(claim *router.Claim, err error) { claim.Done(s.settle(err)) }

// refusal counts a message that the journal does not take, and returns the answer to its publisher.
func (s *Stream) refusal(err error) *router.Refusal {
	r := &router.Refusal{Why: router.StreamFailing, Text: "the stream " + s.name + " cannot make messages safe", Like: router.ErrStore}
	switch {
	case errors.Is(err, errUndelivered):
		r = s.refusedUndelivered()
	case errors.Is(err, journal.ErrTooLarge):
		r = &router.Refusal{Why: router.Refused, Text: "the message is too large for the stream " + s.name, Like: store.ErrTooLarge}
	case errors.Is(err, router.ErrFull):
		r = &router.Refusal{Why: router.StreamFull, Text: "too many messages wait for the stream " + s.name, Like: router.ErrTooLate}
	case errors.Is(err, journal.ErrBound):
		r = &router.Refusal{Why: router.StreamFull, Text: "the stream " + s.name + " is full", Like: router.ErrTooLate}
		s.tell(slog.LevelWarn, "the stream is full, and refuses messages until all consumers have acknowledged the oldest ones")
	case !errors.Is(err, ErrClosed):
		s.tell(slog.LevelError, "the stream cannot make messages safe, and refuses them", "error", err)
	}
	s.drops.Add(r.Why, 1)
	return r
}

// Ledger implements ledger.Account. A message is acknowledged when the journal has it on disk.
func (s *Stream) Ledger() ledger.Receiver {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := ledger.Receiver{Taken: s.taken, Acknowledged: s.safe.Load()}
	s.drops.Each(func(label string, n uint64) { r.Dropped.Add(label, int(n)) })
	r.Waiting = r.Taken - r.Acknowledged - r.Dropped.Sum()
	return r
}

// pump appends the messages that wait, as many as there is room for. It runs on a goroutine of the journal.
func (s *Stream) pump() {
	for s.admit() {
	}
}

// admitAtOnce is how many messages that waited are appended under one lock.
const admitAtOnce = 128

// admit appends some of the messages that wait, and reports whether there may be room for more. After the end it refuses
// them.
func (s *Stream) admit() bool {
	var refused []*router.Claim
	var why error
	s.mu.Lock()
	n := 0
	for ; n < admitAtOnce; n++ {
		x, ok := s.waiting.First()
		if !ok {
			break
		}
		err := ErrClosed
		if !s.closed {
			err = s.append(x.Message, x.Claim)
		}
		if errors.Is(err, router.ErrFull) {
			break
		}
		if err != nil {
			refused, why = append(refused, x.Claim), err
		}
		s.waiting.Take(1)
	}
	s.mu.Unlock()
	for _, claim := range refused {
		s.answer(claim, why)
	}
	return n == admitAtOnce
}

// refuseLate refuses the messages that waited too long. The line calls it.
func (s *Stream) refuseLate() {
	s.mu.Lock()
	late := s.waiting.Overdue(time.Now())
	s.mu.Unlock()
	for _, claim := range late {
		s.answer(claim, router.ErrFull)
	}
}

// Err returns why s cannot make messages safe at present, nil if it can. That it is full is not such a reason.
func (s *Stream) Err() error {
	if err := s.journal.Err(); err != nil && !errors.Is(err, journal.ErrBound) {
		return fmt.Errorf("stream %s: %w", s.name, err)
	}
	return nil
}

// trimDone makes room where a full stream refuses messages: what all consumers have acknowledged goes. It reports whether
// that was anything.
func (s *Stream) trimDone() bool { return s.config.WhenFull == Refuse && s.journal.Trim(s.mayGo()) }

// mayGo returns the place before which entries may be dropped when the stream is at max_bytes. The journal may call it before
// it is open.
func (s *Stream) mayGo() journal.Place {
	place := journal.Place(math.MaxUint64)
	if s.config.WhenFull == Refuse {
		place = journal.Place(max(s.audience.lowest(), s.aged.Load()))
	}
	return min(place, s.undelivered.first())
}

// expire drops entries that are older than max_age: whole segments from the disk, others are passed over. Only the
// set's keeper calls it, and open.
func (s *Stream) expire(now time.Time) {
	age := s.config.MaxAge
	if age == 0 || now.Sub(s.agedAt) < min(max(age/1000, time.Second), time.Minute) {
		return
	}
	s.agedAt = now
	place := min(s.since(now.Add(-age)), s.undelivered.first())
	place = max(place, journal.Place(s.aged.Load())) // also when the clock is set back
	s.aged.Store(uint64(place))
	s.journal.Trim(place)
}

// since returns the place of the first entry that came at t or later. It reads from the disk.
func (s *Stream) since(t time.Time) journal.Place {
	return s.journal.Search(func(record []byte) bool {
		milliseconds, _, err := splitEntry(record)
		return err == nil && milliseconds >= t.UnixMilli()
	})
}

// watch logs when s begins and ceases to fail. Only the set's keeper calls it.
func (s *Stream) watch() {
	err := s.Err()
	switch {
	case err == nil && s.err != nil:
		s.log.Info("the stream takes messages again")
	case err != nil && s.err == nil:
		s.log.Error("the stream takes no messages, because it cannot make them safe", "error", err)
	}
	s.err = err
}

// noteLost counts and logs entries that cannot be read, once, and refuses those whose publishers wait. No lock is held.
func (s *Stream) noteLost(g journal.Gap) {
	s.undelivered.lose(g, &router.Refusal{Why: router.StreamFailing, Text: "the stream " + s.name + " has lost the message", Like: router.ErrStore})
	if n := s.audience.addLost(g); n > 0 {
		s.lost.Add(n)
		s.tell(slog.LevelError, "entries of the stream are lost: they cannot be read", "entries", n, "from", g.From, "to", g.To-1)
	}
}

// tellMissed logs that consumers missed entries.
func (s *Stream) tellMissed() {
	if name, missed := s.audience.newlyMissed(); missed > 0 {
		s.tell(slog.LevelWarn, "a consumer of the stream missed entries: they were dropped before it had acknowledged them",
			"consumer", name, "entries", missed)
	}
}

// line is a line of the log.
type line struct {
	level slog.Level
	text  string
	args  []any
}

// tell gives the keeper a line to log, each text at most every ten seconds. The texts are few. It does not block.
func (s *Stream) tell(level slog.Level, text string, args ...any) {
	v, _ := s.quiet.LoadOrStore(text, new(atomic.Int64))
	until, now := v.(*atomic.Int64), time.Now()
	if u := until.Load(); now.UnixMilli() < u || !until.CompareAndSwap(u, now.Add(10*time.Second).UnixMilli()) {
		return
	}
	select {
	case s.lines <- line{level, text, args}:
	default:
	}
}

// writeLog logs what tell was given.
func (s *Stream) writeLog() {
	for {
		select {
		case l := <-s.lines:
			s.log.Log(context.Background(), l.level, l.text, l.args...)
		default:
			return
		}
	}
}

// end ends the subscription and the readers, and closes the journal.
func (s *Stream) end() error {
	for _, f := range s.config.Filters {
		s.options.Router.Unsubscribe(f, s)
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for s.admit() { // refuses what waits
	}
	s.audience.end()
	err := s.journal.Close()
	s.options.Router.Accounts().Close(s)
	s.writeLog()
	return err
}
