package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// With a store on disk, messages that a device does not need soon are there alone (store.Pages). A session whose device is away has
// none in memory: a timer unloads them. A connected one has what it may send soon, and before that runs out, a worker reads the next page, with
// which the connection's loop goes on.

const (
	unloadEvery  = 100 * time.Millisecond
	keptMessages = 64 // unsent messages that a connected session has in memory; it may have twice as many before they are unloaded
	readAheadAt  = 8  // so many before those in memory run out, the next page is read
)

// unload unloads the messages of the listed sessions that are on the medium by now.
func (m *Manager) unload() {
	for _, s := range m.unloads.list() {
		for m.unloadOne(s) {
		}
	}
	m.unloads.again()
}

// unloadOne unloads some messages of a session, and reports whether there are more that can be. It locks the manager, so that it does not
// come between the reading of a page for a connection and its attaching.
func (m *Manager) unloadOne(s *Session) (more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		m.unloads.remove(s)
		return false
	}
	keep := keptMessages
	if s.link == nil {
		keep = 0
	}
	before := s.queue.InMemory()
	if !s.queue.Unload(keep) {
		m.unloads.remove(s)
		return false
	}
	return before-s.queue.InMemory() >= store.UnloadAtOnce
}

// unloadLater makes the session's messages leave memory, if it need not have all of them. The session is locked.
func (s *Session) unloadLater() {
	if !s.durable() || s.queue == nil {
		return
	}
	most := 0
	if s.link != nil {
		most = 2 * keptMessages
	}
	if s.queue.InMemory()-s.queue.InFlight() > most {
		s.manager.unloads.add(s)
	}
}

// load puts a page back into the queue. The session is locked.
func (s *Session) load(p *store.Page) {
	if s.queue != nil && p != nil {
		s.drop(router.Lost, s.queue.Load(p))
	}
}

// missing loads a page into the session of a device that connects, and returns what has to be read first: before it is sent something, or
// before its session ends. The manager is locked.
func (m *Manager) missing(device string, o *Options, read *store.Page) *store.Page {
	if !m.durable {
		return nil
	}
	s := m.find(device)
	if s == nil {
		return nil
	}
	ends := o.Clean || s.ephemeral()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load(read)
	switch {
	case s.queue == nil:
		return nil
	case ends:
		return s.queue.SharedPage()
	}
	return s.queue.NextPage(0)
}

// sharedPage returns the messages of shares that have to be read before the session is left or ends. The session is locked.
func (s *Session) sharedPage() *store.Page {
	if s.queue == nil {
		return nil
	}
	return s.queue.SharedPage()
}

// readAtOnceBytes bounds the bytes of retained messages that are read for all connections at once, and that were read and are not yet in queues or
// sockets. One page is read in any case.
const readAtOnceBytes = 8 << 20

// reads are the connections for which a page is read. They are few, so they are apart from the connections.
//
// While pages of retained messages have many bytes, or the account is full, connections wait in a line, without an order. Whenever a page is
// done, one of them tries again, and some of them from time to time.
type reads struct {
	account *message.Account // static
	n       atomic.Int64     // how many there are, and in the line; safe from any goroutine

	// Guarded by mu, which is taken after a session's lock, never before.
	mu      sync.Mutex
	links   map[*Link]int // with the bytes of a page of retained messages; 0 for a page of the queue
	bytes   int           // sum of these
	line    map[*Link]struct{}
	timer   *time.Timer // nil while the line is empty
	stopped bool
}

// has reports whether a page is read for l.
func (r *reads) has(l *Link) bool {
	if r.n.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, there := r.links[l]
	return there
}

// begin notes that a page of the queue is read for l.
func (r *reads) begin(l *Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(l, 0)
}

// beginRetained notes that retained messages of so many bytes are read for l, or puts it into the line, and returns false.
func (r *reads) beginRetained(l *Link, bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes > 0 && r.bytes+bytes > readAtOnceBytes || r.account.Full(message.Debtor{}) != message.NoPart {
		r.enter(l)
		return false
	}
	r.add(l, bytes)
	return true
}

func (r *reads) add(l *Link, bytes int) {
	if r.links == nil {
		r.links = make(map[*Link]int)
	}
	r.links[l] = bytes
	r.bytes += bytes
	r.count()
}

// end notes that nothing is read for l any more, and that it does not wait for that.
func (r *reads) end(l *Link) {
	if r.n.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	bytes := r.links[l]
	r.bytes -= bytes
	delete(r.links, l)
	delete(r.line, l)
	if bytes > 0 {
		r.call(1)
	}
	r.count()
}

func (r *reads) count() { r.n.Store(int64(len(r.links) + len(r.line))) }

// wait puts l into the line.
func (r *reads) wait(l *Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enter(l)
}

func (r *reads) enter(l *Link) {
	if r.stopped {
		return
	}
	if r.line == nil {
		r.line = make(map[*Link]struct{})
	}
	r.line[l] = struct{}{}
	r.count()
	if r.timer == nil {
		r.timer = time.AfterFunc(unloadEvery, r.callSome)
	}
}

// call makes n connections of the line try again.
func (r *reads) call(n int) {
	for l := range r.line {
		if n == 0 {
			return
		}
		n--
		delete(r.line, l)
		l.conn.Wake()
	}
}

// callAtOnce is how many connections the timer makes try again.
const callAtOnce = 256

// callSome is what the timer does.
func (r *reads) callSome() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	if r.stopped {
		return
	}
	if r.call(callAtOnce); len(r.line) == 0 {
		r.line = nil // a map does not shrink
	} else {
		r.timer = time.AfterFunc(unloadEvery, r.callSome)
	}
	r.count()
}

func (r *reads) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	if r.timer != nil {
		r.timer.Stop()
	}
}
