package service

import (
	"cmp"
	"container/list"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"
)

// Errors of Served and Backend.
var (
	ErrNoCall       = errors.New("the call is over, or another backend has it")
	ErrBackends     = errors.New("the service has as many backends as it may have")
	ErrServedClosed = errors.New("the service is closed")
)

// maxBackends bounds the backends of a service.
const maxBackends = 1000

// Served is a service that backends answer through the API. A call goes to the backend with the most room. If none has room, or nobody
// serves, it waits in a line until its time is over. All methods are safe from any goroutine.
type Served struct {
	config Config // static after construction

	// Guarded by mu.
	mu       sync.Mutex
	backends []*Backend
	line     list.List // of *asked; empty after each change while a backend has room
	sent     int       // calls that backends have, also those that their streams have not taken yet
	turn     uint      // where choose begins, so that equal backends take turns
	closed   bool
	repeated uint64 // calls that went to a second backend
}

// asked is a call whose device waits for the answer.
type asked struct {
	// Static after construction.
	call     *Call
	done     func(*Reply)
	deadline time.Time

	// Guarded by Served.mu.
	timer   *time.Timer
	backend *Backend      // nil while it is in the line
	place   *list.Element // in the line, or among the backend's unsent calls; nil when it is sent
	given   time.Time     // when the backend got it
	tries   int           // how often it was sent
	over    bool
}

func newServed(c Config) *Served { return &Served{config: c} }

// MaxAnswer returns how many bytes an answer may have.
func (s *Served) MaxAnswer() int { return s.config.MaxAnswer }

// begin implements backend.
func (s *Served) begin(c *Call, timeout time.Duration, done func(*Reply)) (cancel func()) {
	a := &asked{call: c, done: done, deadline: time.Now().Add(timeout)}
	s.mu.Lock()
	if refusal := s.place(a); refusal != nil {
		s.mu.Unlock()
		done(refusal)
		return func() {}
	}
	a.timer = time.AfterFunc(timeout, func() { s.expire(a) })
	s.mu.Unlock()
	return func() { s.cancel(a) }
}

// place gives a new call to a backend or to the line, or returns why not. mu is held.
func (s *Served) place(a *asked) (refusal *Reply) {
	if s.closed {
		return refuse(Unavailable, ErrServedClosed.Error())
	}
	s.fill() // nothing tells when a backend that was too slow may have more calls again
	if s.line.Len() == 0 {
		if b := s.choose(); b != nil {
			b.add(a)
			return nil
		}
	}
	if s.line.Len() >= s.config.Waiting {
		return s.unsent()
	}
	a.place = s.line.PushBack(a)
	return nil
}

// unsent returns the refusal of a call that no backend got. mu is held.
func (s *Served) unsent() *Reply {
	if len(s.backends) == 0 {
		return refuse(Unavailable, "nobody serves the service")
	}
	return refuse(Busy, "the backends of the service have too many calls")
}

// choose returns the backend for the next call, nil if none has room. mu is held.
func (s *Served) choose() (best *Backend) {
	if s.sent >= s.config.Concurrency {
		return nil
	}
	now, n := time.Now(), uint(len(s.backends))
	for i := range n {
		b := s.backends[(s.turn+i)%n]
		if b.hasRoom(now) && (best == nil || b.goesBefore(best, now)) {
			best = b
		}
	}
	s.turn++
	return best
}

// fill gives calls of the line to backends that have room. mu is held.
func (s *Served) fill() {
	for s.line.Len() > 0 {
		b := s.choose()
		if b == nil {
			return
		}
		b.add(s.line.Remove(s.line.Front()).(*asked))
	}
}

// expire ends a call whose time is over.
func (s *Served) expire(a *asked) {
	s.mu.Lock()
	if a.over {
		s.mu.Unlock()
		return
	}
	reply := s.unsent()
	if a.tries > 0 {
		reply = refuse(Timeout, ErrTimeout.Error())
	}
	if b, now := a.backend, time.Now(); b != nil && now.Sub(a.given) >= s.config.Timeout/2 { // else it had too little time
		b.missed(now)
	}
	s.end(a, Timeout)
	s.mu.Unlock()
	a.done(reply)
}

// cancel ends a call that nobody waits for.
func (s *Served) cancel(a *asked) {
	s.mu.Lock()
	if a.over {
		s.mu.Unlock()
		return
	}
	s.end(a, Canceled)
	s.mu.Unlock()
	a.done(refuse(Canceled, "nobody waits for the answer"))
}

// end takes a call from where it is. If a backend works on it, the backend is told why. The caller calls done, without the lock. mu is
// held.
func (s *Served) end(a *asked, why string) {
	a.over = true
	a.timer.Stop()
	switch b := a.backend; {
	case b == nil:
		s.line.Remove(a.place)
	case a.place != nil:
		b.remove(a)
	default:
		b.remove(a)
		if why != "" {
			b.ended = append(b.ended, Ended{a.call.ID, why})
			b.signal()
		}
	}
	s.fill()
}

// Join makes a backend of the service, which gets up to room calls at a time. The caller calls Leave.
func (s *Served) Join(name string, room int) (*Backend, error) {
	b := &Backend{
		served: s, name: name, key: rand.Text(), room: room, since: time.Now(),
		wake: make(chan struct{}, 1), open: make(map[uint64]*asked),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrServedClosed
	case len(s.backends) >= maxBackends:
		return nil, ErrBackends
	}
	s.backends = append(s.backends, b)
	s.fill()
	return b, nil
}

// Find returns the backend with a key, nil if there is none.
func (s *Served) Find(key string) *Backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.backends {
		if b.key == key {
			return b
		}
	}
	return nil
}

// leave removes a backend. Its calls that were not sent, or may be done twice, go to others; the devices of the rest are told.
func (s *Served) leave(b *Backend) {
	s.mu.Lock()
	at := slices.Index(s.backends, b)
	if at < 0 {
		s.mu.Unlock()
		return
	}
	s.backends = slices.Delete(s.backends, at, at+1)
	var again, lost []*asked
	for _, a := range b.open {
		if a.place != nil || s.config.idempotent(a.call.Method) && a.tries <= s.config.Retries {
			again = append(again, a)
		} else {
			lost = append(lost, a)
			a.over = true
			a.timer.Stop()
		}
		b.remove(a)
	}
	slices.SortFunc(again, func(x, y *asked) int { return cmp.Compare(y.call.ID, x.call.ID) })
	for _, a := range again {
		if a.tries > 0 {
			s.repeated++
		}
		a.place = s.line.PushFront(a) // it has waited longer than those in the line
	}
	s.fill()
	s.mu.Unlock()
	for _, a := range lost {
		a.done(refuse(Failed, "the backend went away before it answered"))
	}
}

// close implements backend. Calls in the line are refused, because no backend can come any more.
func (s *Served) close() {
	s.mu.Lock()
	s.closed = true
	var waiting []*asked
	for s.line.Len() > 0 {
		a := s.line.Remove(s.line.Front()).(*asked)
		a.over = true
		a.timer.Stop()
		waiting = append(waiting, a)
	}
	s.mu.Unlock()
	for _, a := range waiting {
		a.done(refuse(Unavailable, ErrServedClosed.Error()))
	}
}

// describe fills in what is known of the backends.
func (s *Served) describe(i *Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Waiting, i.Repeated = s.line.Len(), s.repeated
	now := time.Now()
	for _, b := range s.backends {
		i.Backends = append(i.Backends, b.info(now))
	}
}
