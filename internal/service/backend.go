package service

import (
	"container/list"
	"context"
	"time"
)

// Backend is one stream by which a backend answers the calls of a service. One goroutine calls Take; the other methods are safe from
// any.
type Backend struct {
	// Static after construction.
	served *Served
	name   string
	key    string // nobody can guess it
	room   int    // calls at a time
	since  time.Time
	wake   chan struct{} // has an element when there may be something to take

	health instance // failures are calls that were not answered in time; safe from any goroutine

	// Guarded by Served.mu.
	open     map[uint64]*asked // calls that are not over
	unsent   list.List         // those of them that Take has not returned yet
	ended    []Ended           // calls that Take has returned and that are over; at most room
	answered uint64
	late     uint64 // calls that were not answered in time, although there was enough
}

// Work is a call that a backend is to answer.
type Work struct {
	Call  *Call
	Left  time.Duration // how long the device still waits
	Again bool          // another backend got the call before
}

// Ended is a call that is over without an answer of the backend that has it.
type Ended struct {
	ID     uint64
	Reason string // Timeout or Canceled
}

// Key names the backend; nobody can guess it.
func (b *Backend) Key() string { return b.key }

// Leave ends the backend. Its answers are not taken any more.
func (b *Backend) Leave() { b.served.leave(b) }

// hasRoom reports whether b may get another call. One that has not answered in time too often gets one at a time until it answers:
// the others wait for a better one.
func (b *Backend) hasRoom(now time.Time) bool {
	return len(b.open) == 0 || len(b.open) < b.room && b.health.usable(now)
}

// goesBefore reports whether a call goes to b rather than to o: to one that answers in time, and then to the one that is less busy.
func (b *Backend) goesBefore(o *Backend, now time.Time) bool {
	if mine, other := b.health.usable(now), o.health.usable(now); mine != other {
		return mine
	}
	return len(b.open)*o.room < len(o.open)*b.room
}

// add gives the backend a call. Served.mu is held, as for the methods below.
func (b *Backend) add(a *asked) {
	b.served.sent++
	a.backend, a.given = b, time.Now()
	a.place = b.unsent.PushBack(a)
	b.open[a.call.ID] = a
	b.signal()
}

// remove takes a call from the backend.
func (b *Backend) remove(a *asked) {
	b.served.sent--
	delete(b.open, a.call.ID)
	if a.place != nil {
		b.unsent.Remove(a.place)
	}
	a.backend, a.place = nil, nil
}

// missed notes that a call was not answered although there was enough time.
func (b *Backend) missed(now time.Time) {
	b.late++
	c := &b.served.config
	if b.health.fail(c.EjectAfter) {
		b.health.eject(c.EjectFor, c.EjectForMost, now)
	}
}

func (b *Backend) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Take waits for calls and for the ends of earlier ones. It returns at most count calls with payloads of size bytes, but at least one if
// there are any. Calls that it has returned are sent: if the backend leaves, they may have been done.
func (b *Backend) Take(ctx context.Context, count, size int) (calls []Work, ended []Ended, err error) {
	for {
		if calls, ended = b.taken(count, size); len(calls)+len(ended) > 0 {
			return calls, ended, nil
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (b *Backend) taken(count, size int) (calls []Work, ended []Ended) {
	b.served.mu.Lock()
	defer b.served.mu.Unlock()
	now := time.Now()
	for len(calls) < count && b.unsent.Len() > 0 {
		a := b.unsent.Front().Value.(*asked)
		if size -= len(a.call.Payload); size < 0 && len(calls) > 0 {
			break
		}
		b.unsent.Remove(a.place)
		a.place = nil
		a.tries++
		calls = append(calls, Work{a.call, max(0, a.deadline.Sub(now)), a.tries > 1})
	}
	ended, b.ended = b.ended, nil
	return calls, ended
}

// Answer answers a call. The reply is the call's from then on. The error is ErrNoCall if the backend does not have the call (any more). If
// it is another one, the device was told that the answer is not valid; it wraps ErrTooLarge if that is why.
func (b *Backend) Answer(id uint64, r *Reply) error {
	wrong := b.check(r)
	s := b.served
	s.mu.Lock()
	a := b.open[id]
	if a == nil || a.place != nil { // it cannot know a call that was not sent
		s.mu.Unlock()
		return ErrNoCall
	}
	b.answered++
	b.health.succeed()
	b.health.readmit()
	s.end(a, "")
	s.mu.Unlock()
	a.done(r)
	return wrong
}

// check replaces a reply that is not valid, and returns why.
func (b *Backend) check(r *Reply) error {
	c := &b.served.config
	switch {
	case r.Err.Code != "":
		r.Payload, r.ContentType = nil, ""
		if !ValidCode(r.Err.Code) {
			r.Err.Code = Failed
		}
		r.Err.Reason = CutReason(r.Err.Reason)
	case len(r.Payload) > c.MaxAnswer:
		*r = *refuse(TooLarge, ErrTooLarge.Error())
		return ErrTooLarge
	default:
		if err := c.accepts(r.ContentType, r.Payload); err != nil {
			*r = *refuse(InvalidAnswer, err.Error())
			return err
		}
	}
	return nil
}

// BackendInfo is what is known of a backend at one moment.
type BackendInfo struct {
	Name     string
	Since    time.Time
	Room     int    // calls that it has at a time
	UnderWay int    // calls that it has
	Answered uint64 // calls
	Late     uint64 // calls that it has not answered in time
	Last     bool   // it gets one call at a time, and only if no other has room, because it has not answered in time too often
}

func (b *Backend) info(now time.Time) BackendInfo {
	return BackendInfo{b.name, b.since, b.room, len(b.open), b.answered, b.late, !b.health.usable(now)}
}
