package session

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// There may be more retained messages for a subscription than its queue holds, and many more to look at than to send. So the
// session searches them in parts: the first part with the packet, before any newer message is delivered, and each further part
// in a turn of the loop, once all messages of the parts before are sent. A message that is retained meanwhile is delivered as a
// new one, and the search skips it.
//
// A part ends before a message that has to be read. A worker reads it with some of those behind it, as it reads a page of the queue, and
// then the search finds them again, unless they were replaced or removed meanwhile.

// looksPerTurn is how many retained messages a session looks at per packet, or per turn of the loop.
const looksPerTurn = 256

// searchBatch is how many of them it takes from the store at a time.
const searchBatch = 32

// searches holds the searches of all sessions. Few sessions have any, so they are apart from the sessions.
type searches struct {
	// Safe from any goroutine.
	sessions atomic.Int64 // how many have searches

	// Guarded by mu, which is taken after a session's lock; a list is guarded by the lock of its session.
	mu        sync.Mutex
	bySession map[*Session][]*router.Search // oldest first, none done
}

// of returns the searches of s that are not done. s is locked.
func (a *searches) of(s *Session) []*router.Search {
	if a.sessions.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bySession[s]
}

// set replaces the searches of s. s is locked.
func (a *searches) set(s *Session, list []*router.Search) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(list) == 0:
		delete(a.bySession, s)
	case a.bySession == nil:
		a.bySession = map[*Session][]*router.Search{s: list}
	default:
		a.bySession[s] = list
	}
	a.sessions.Store(int64(len(a.bySession)))
}

// end removes the searches of s, because s ends. s is locked.
func (a *searches) end(s *Session) {
	if a.of(s) != nil {
		a.set(s, nil)
	}
}

// takeRetained begins a search for the subscriptions of a packet, one after the other. With once, a message that
// several of them match is found for the first only. The session is locked since the subscription, so that no newer
// message comes before what the first part finds.
func (s *Session) takeRetained(subs []topic.Subscription, once bool) {
	if len(subs) == 0 {
		return
	}
	subs = unique(subs)
	if s.manager.searches.of(s) != nil {
		s.forgetRetained(filterSet(subs))
	}
	if s.manager.config.Owners != nil {
		s.link.seek(sought{subs, once, s.manager.store.NewestRetained()})
	}
	s.search(s.manager.router.Search(subs, once))
}

// search does the first part of a search. The session is locked.
func (s *Session) search(search *router.Search) {
	s.searchSome(search, looksPerTurn, nil)
	if !search.Done() {
		all := &s.manager.searches
		all.set(s, append(all.of(s), search))
	}
	s.wake()
}

// sought says what was retained when the search for some subscriptions began. What other nodes have retained later they sent here if they knew of the
// subscriptions.
type sought struct {
	subs   []topic.Subscription
	once   bool
	newest uint64 // store.Store.NewestRetained
}

// seek notes that a search for the subscriptions of a packet begins.
func (l *Link) seek(x sought) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.sought = append(l.answers.sought, x)
}

// takeMissed begins to search what other nodes have retained before they knew of the subscriptions of a packet. Now all nodes know of them.
func (l *Link) takeMissed(of []sought) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	for _, x := range of {
		if x.newest == s.manager.store.NewestRetained() {
			continue
		}
		still := filterSet(s.subscriptions)
		subs := slices.DeleteFunc(slices.Clone(x.subs), func(sub topic.Subscription) bool { return !still[sub.Filter] })
		if len(subs) > 0 {
			s.search(s.manager.router.Missed(subs, x.once, x.newest))
		}
	}
}

// unique returns subs without those that have the filter of a later one.
func unique(subs []topic.Subscription) []topic.Subscription {
	if len(subs) == 1 {
		return subs
	}
	at := make(map[string]int, len(subs))
	var all []topic.Subscription
	for _, sub := range subs {
		if i, ok := at[sub.Filter]; ok {
			all[i] = sub
			continue
		}
		at[sub.Filter] = len(all)
		all = append(all, sub)
	}
	return all
}

func filterSet(subs []topic.Subscription) map[string]bool {
	set := make(map[string]bool, len(subs))
	for i := range subs {
		set[subs[i].Filter] = true
	}
	return set
}

// forgetRetained ends the searches for these filters. The session is locked.
func (s *Session) forgetRetained(filters map[string]bool) {
	all := s.manager.searches.of(s)
	if all == nil {
		return
	}
	var left []*router.Search
	for _, search := range all {
		search.Forget(filters)
		if !search.Done() {
			left = append(left, search)
		}
	}
	s.manager.searches.set(s, left)
}

// batches are buffers for the messages of one part of a search.
var batches = sync.Pool{New: func() any { return new([searchBatch]store.Kept) }}

// part is what became of a part of a search.
type part struct {
	taken, passed int         // messages that were queued, and that were looked at and not queued
	full          bool        // the queue has no room for the next
	missing       *store.Page // has to be read before the search goes on
}

// searchSome continues a search until it is done, has looked at so many messages, or finds one that has to be read and is not in read, or for
// which the queue has no room. The session is locked.
func (s *Session) searchSome(search *router.Search, looks int, read *store.Page) (p part) {
	room, now := batches.Get().(*[searchBatch]store.Kept), time.Now()
	defer func() {
		clear(room[:])
		batches.Put(room)
	}()
	for !search.Done() && looks > 0 {
		batch, sub, looked := search.Next(room[:0], looks, now)
		looks -= looked
		p.passed += looked
		if sub.NoLocal { // [MQTT-3.8.3-3]
			batch = slices.DeleteFunc(batch, func(k store.Kept) bool { return k.Source == s.device })
		}
		for i, k := range batch {
			m, ok := read.Whole(k)
			switch {
			case !ok:
				search.Back(k)
				// It is not read before there is room for it: it would be read again and again.
				if p.full = s.queueIsFullFor(min(sub.QoS, k.QoS), k.Size(), now); !p.full {
					p.missing = store.RetainedPage(batch[i:])
				}
				return p
			case m == nil:
				s.down().Taken++
				s.dropMessage(k.Message, router.Unreadable)
			case errors.Is(s.queueRetained(sub, m), router.ErrFull):
				search.Back(k)
				p.full = true
				return p
			default:
				s.down().Taken++
				p.taken++
				p.passed--
			}
		}
	}
	return p
}

// continueSearch continues the searches of the session for one turn of the loop, if all queued messages are sent. It
// appends the claims of the messages that it admits to admitted. On the loop, the session is locked.
func (s *Session) continueSearch(conn Conn, admitted []*router.Claim) (_ []*router.Claim, passed int) {
	list := s.manager.searches.of(s)
	before := len(list)
	for looks := looksPerTurn; len(list) > 0 && s.idle() && conn.Room() && !s.manager.reads.has(s.link); {
		if looks <= 0 {
			s.wake()
			break
		}
		p := s.searchSome(list[0], searchBatch, nil)
		passed += p.passed
		looks -= searchBatch
		if list[0].Done() {
			list = list[1:]
		}
		admitted = s.flushAll(conn, admitted)
		if p.missing != nil && s.idle() && conn.Room() {
			s.readRetained(p.missing)
			break
		}
		if p.full && p.taken == 0 {
			break // messages in flight fill the queue: the next acknowledgement makes room
		}
	}
	if len(list) < before {
		s.manager.searches.set(s, list)
	}
	return admitted, passed
}

// takeRead continues the first search with a page that was read for it. If the session has searched on meanwhile, it is read in vain. On the
// loop, the session is locked.
func (s *Session) takeRead(p *store.Page) {
	list := s.manager.searches.of(s)
	if len(list) == 0 {
		return
	}
	lost := s.manager.store.LoadRetained(p)
	s.down().Taken += uint64(lost)
	s.drop(router.Lost, lost)
	if s.searchSome(list[0], searchBatch, p); list[0].Done() {
		s.manager.searches.set(s, list[1:])
	}
}

// idle reports whether all messages for the device are sent. The session is locked.
func (s *Session) idle() bool { return s.next == nil && s.waiting == nil && s.unsent() == 0 }

// wakeToSearch asks the loop to continue a search, if there is one and all messages are sent. The session is locked.
func (s *Session) wakeToSearch() {
	if s.manager.searches.of(s) != nil && s.idle() {
		s.wake()
	}
}

// queueIsFullFor reports whether messages in flight leave no room in the queue for a message of a size. One of QoS 0 may need no room.
func (s *Session) queueIsFullFor(q message.QoS, size int, now time.Time) bool {
	return q > message.AtMostOnce && s.queue != nil && errors.Is(s.queue.Check(size, now), store.ErrFull)
}

// queueRetained queues a retained message if there is room; it drops no other message for it. A message that can never
// be queued is dropped and counted.
func (s *Session) queueRetained(sub *topic.Subscription, m *message.Message) error {
	q := min(sub.QoS, m.QoS)
	if sub.ID != 0 {
		m = m.With(&message.Delivery{Subscriptions: []uint32{sub.ID}})
	}
	switch {
	case s.waiting != nil:
		return router.ErrFull
	case q > message.AtMostOnce:
	case s.unsent() == 0 && s.next == nil:
		s.next = m
		return nil
	case s.manager.shedding.Load():
		s.dropMessage(m, router.Shed)
		return nil
	}
	s.openQueue()
	err := s.put(m, q, false)
	if errors.Is(err, store.ErrFull) {
		return router.ErrFull
	}
	if err != nil {
		s.dropMessage(m, router.Refused)
	}
	return nil
}
