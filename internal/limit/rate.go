package limit

import (
	"container/list"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Class orders the connections that wait: resumed sessions before new ones. New ones may wait for as long as
// resumed ones arrive, until their caller gives up.
type Class uint8

const (
	Resumed Class = iota // the device has a session on this node: it lost its connection
	New
	classes
)

// Rate paces how fast a node accepts connections: a token bucket with a bounded line in front of
// it. A connection that must wait holds a Place and no goroutine; one timer, armed while any waits,
// calls those whose turn has come. All methods are safe from any goroutine.
type Rate struct {
	// Static after construction.
	pace     pace
	room     [classes]int // the length of the line at which a class is refused
	maxRetry time.Duration
	start    time.Time

	// Guarded by mu.
	mu       sync.Mutex
	bucket   full
	lines    [classes]list.List // of *Place
	timer    *time.Timer
	promised time.Duration // since start: the time up to which turns were promised to refused connections
	stats    RateStats
}

// RateStats counts what a Rate did.
type RateStats struct {
	Waiting  [classes]int // now, by Class
	AtOnce   uint64       // accepted without waiting
	Late     uint64       // accepted after waiting
	Left     uint64       // ended while waiting
	SentAway uint64       // refused
}

// Busy refuses a connection: the line is full.
type Busy struct {
	// RetryAfter is when the device should retry: after at least one second, at most MaxRetry.
	RetryAfter time.Duration
}

func (b *Busy) Error() string {
	return fmt.Sprintf("too many devices connect at once; retry after %v", b.RetryAfter.Round(time.Second))
}

// NewRate returns a Rate with the limits of c, whose defaults are set.
func NewRate(c RateConfig) *Rate {
	r := &Rate{
		pace:     newPace(c.PerSecond, c.Burst),
		maxRetry: c.MaxRetry,
		start:    time.Now(),
	}
	// New devices take at most half of the line, so that resumed ones find places.
	r.room = [classes]int{Resumed: c.Line, New: (c.Line + 1) / 2}
	r.timer = time.AfterFunc(forever, r.call)
	r.timer.Stop()
	return r
}

// Place is a connection's place in the line.
type Place struct {
	rate  *Rate
	class Class
	turn  func()
	at    *list.Element // nil when the place has left the line; guarded by rate.mu
}

// EnterNow takes a turn if one is available, and reports whether it did.
func (r *Rate) EnterNow() bool {
	if r.pace.unlimited() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enterNow(time.Since(r.start))
}

func (r *Rate) enterNow(now time.Duration) bool {
	if r.waiting() > 0 || r.bucket.wait(r.pace, now, 1) > 0 {
		return false
	}
	r.bucket.take(r.pace, now, 1)
	r.stats.AtOnce++
	return true
}

// Enter asks for a turn. If both results are nil, the connection may go on. Otherwise either
// it has a place, and a goroutine of the Rate calls turn once, perhaps before
// Enter returns, unless Leave came first; or it is refused with a *Busy. turn must not
// block.
func (r *Rate) Enter(class Class, turn func()) (*Place, error) {
	if r.pace.unlimited() {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now, waiting := time.Since(r.start), r.waiting()
	if r.enterNow(now) {
		return nil, nil
	}
	if waiting >= r.room[class] {
		return nil, r.sendAway(now)
	}
	p := &Place{rate: r, class: class, turn: turn}
	p.at = r.lines[class].PushBack(p)
	if waiting == 0 {
		r.timer.Reset(r.bucket.wait(r.pace, now, 1))
	}
	return p, nil
}

func (r *Rate) waiting() int { return r.lines[Resumed].Len() + r.lines[New].Len() }

// sendAway promises the turn after those of the line and of all connections that were refused
// before, so that the refused ones do not return as one wave. A quarter of the time is jitter.
func (r *Rate) sendAway(now time.Duration) *Busy {
	r.stats.SentAway++
	line := now + r.bucket.wait(r.pace, now, r.waiting())
	r.promised = min(max(r.promised, line)+r.pace.time(1), now+r.maxRetry)
	d := max(r.promised-now, time.Second)
	return &Busy{RetryAfter: max(d-rand.N(d/4), time.Second)}
}

// call calls the places whose turn has come, without holding the lock.
func (r *Rate) call() {
	for _, p := range r.due() {
		p.turn()
	}
}

// due takes the places whose turn has come from the line.
func (r *Rate) due() (list []*Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Since(r.start)
	for p := r.first(); p != nil; p = r.first() {
		if wait := r.bucket.wait(r.pace, now, 1); wait > 0 {
			r.timer.Reset(wait)
			break
		}
		r.bucket.take(r.pace, now, 1)
		r.remove(p)
		r.stats.Late++
		list = append(list, p)
	}
	return list
}

// first returns the next place, nil if nobody waits.
func (r *Rate) first() *Place {
	for class := range r.lines {
		if e := r.lines[class].Front(); e != nil {
			return e.Value.(*Place)
		}
	}
	return nil
}

func (r *Rate) remove(p *Place) {
	r.lines[p.class].Remove(p.at)
	p.at = nil
}

// Leave gives up the place of a connection that has ended. After the turn it does
// nothing.
func (p *Place) Leave() {
	p.rate.mu.Lock()
	defer p.rate.mu.Unlock()
	if p.at != nil {
		p.rate.remove(p)
		p.rate.stats.Left++
	}
}

// Stats returns what r counted.
func (r *Rate) Stats() RateStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	for class := range r.lines {
		s.Waiting[class] = r.lines[class].Len()
	}
	return s
}
