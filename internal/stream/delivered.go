package stream

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/router"
)

// mostUndelivered bounds the publications of a stream that wait for its sinks.
const mostUndelivered = 200_000

// errUndelivered refuses a publication because so many wait.
var errUndelivered = errors.New("too many publications wait for sinks")

// undelivered are the publications of a stream with ack: delivered that have no answer yet, in the order of their entries. Each is answered when its
// entry is on disk and all sinks of the stream are done with it. What is left at the end of the node gets no answer: its publisher sends it again.
type undelivered struct {
	mu sync.Mutex // taken after Stream.mu, and before the journal's
	// Guarded by mu.
	line  []*waiter
	sinks map[string]uint64 // the place of each sink of the stream: all entries before it are done
	low   uint64            // the lowest of them; 0 while nobody knows the sinks
}

// waiter is a publication without an answer.
type waiter struct {
	claim *router.Claim
	place journal.Place
	safe  bool // its entry is on disk
	ended bool // it was refused: its entry could not be made safe
}

// append gives the entry of a publication to the journal of s. Stream.mu is held.
func (u *undelivered) append(s *Stream, entry []byte, claim *router.Claim) error {
	u.mu.Lock() // so that settle comes after the line has w
	defer u.mu.Unlock()
	if len(u.line) >= mostUndelivered {
		return errUndelivered
	}
	w := &waiter{claim: claim}
	place, err := s.journal.Append(entry, func(err error) { u.settle(w, s.settle(err)) })
	if err == nil {
		w.place = place
		u.line = append(u.line, w)
	}
	return err
}

// settle notes that the entry of w is on disk, or that it is refused. No lock is held.
func (u *undelivered) settle(w *waiter, refused error) {
	u.mu.Lock()
	w.safe, w.ended = refused == nil, refused != nil
	for n := len(u.line); n > 0 && u.line[n-1].ended; n = len(u.line) { // so that those do not add up while a sink is away
		u.line[n-1] = nil
		u.line = u.line[:n-1]
	}
	u.mu.Unlock()
	if refused != nil {
		w.claim.Done(refused)
	}
	u.answer()
}

// setSinks notes the sinks of the stream. Those that are new have to tell their place.
func (u *undelivered) setSinks(names []string) {
	u.mu.Lock()
	sinks := make(map[string]uint64, len(names))
	for _, name := range names {
		sinks[name] = u.sinks[name]
	}
	u.sinks = sinks
	u.reckon()
	u.mu.Unlock()
	u.answer()
}

// done notes that a sink is done with all entries before place.
func (u *undelivered) done(sink string, place uint64) {
	u.mu.Lock()
	old, known := u.sinks[sink]
	news := known && place > old
	if news {
		u.sinks[sink] = place
		u.reckon()
	}
	u.mu.Unlock()
	if news {
		u.answer()
	}
}

// reckon computes low. mu is held.
func (u *undelivered) reckon() {
	u.low = 0
	for _, place := range u.sinks {
		if u.low == 0 || place < u.low {
			if u.low = place; place == 0 {
				return
			}
		}
	}
}

// answerAtOnce is how many publications are answered after one look at the line.
const answerAtOnce = 128

// answer answers the publications that are delivered. No lock is held.
func (u *undelivered) answer() {
	for {
		claims := u.ready()
		router.Tell(claims, nil)
		if len(claims) < answerAtOnce {
			return
		}
	}
}

// ready takes publications that can be answered off the line.
func (u *undelivered) ready() (claims []*router.Claim) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for ; n < len(u.line) && len(claims) < answerAtOnce; n++ {
		w := u.line[n]
		if !w.ended && (!w.safe || uint64(w.place) >= u.low) {
			break
		}
		if !w.ended {
			claims = append(claims, w.claim)
		}
		u.line[n] = nil
	}
	if u.line = u.line[n:]; len(u.line) == 0 {
		u.line = nil
	}
	return claims
}

// first returns the place of the oldest entry whose publisher waits. It and those behind it stay in the stream: a sink that never had them would pass
// over their places, and their publishers would be told that they are delivered.
func (u *undelivered) first() journal.Place {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, w := range u.line {
		if !w.ended {
			return w.place
		}
	}
	return math.MaxUint64
}

// lose refuses the publications of entries that cannot be read: a sink passes over them. No lock is held.
func (u *undelivered) lose(g journal.Gap, why error) {
	var claims []*router.Claim
	u.mu.Lock()
	for _, w := range u.line {
		if w.safe && !w.ended && w.place >= g.From && w.place < g.To {
			w.ended = true
			claims = append(claims, w.claim)
		}
	}
	u.mu.Unlock()
	router.Tell(claims, why)
}

// count returns how many publications wait.
func (u *undelivered) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.line)
}

// AwaitsDelivery reports whether the publications of s wait for its sinks: ack is delivered.
func (s *Stream) AwaitsDelivery() bool { return s.config.Ack == Delivered }

// SetSinks says which sinks have to be done with an entry before its publisher is answered. It does not block.
func (s *Stream) SetSinks(names []string) { s.undelivered.setSinks(names) }

// Delivered says that a sink is done with all entries before place. It does not block; no lock is held that an answer takes.
func (s *Stream) Delivered(sink string, place uint64) { s.undelivered.done(sink, place) }

// refusedUndelivered is the answer to a publication for which there is no room among those that wait.
func (s *Stream) refusedUndelivered() *router.Refusal {
	return &router.Refusal{Why: router.StreamFull, Text: fmt.Sprintf("too many publications wait for the sinks of the stream %s", s.name), Like: router.ErrTooLate}
}
