package session

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// What is retained may be more than a queue holds, and much more to look at than to send. So a
// subscription looks for it in parts: the first with its packet, before anything newer is
// delivered, each further one in a turn of the loop, when all that was found before is sent. What
// is retained meanwhile is delivered as news, and the search passes it over.

// lookAtOnce is how many retained messages a session looks at with a packet, or in a turn.
const lookAtOnce = 256

// queueAtOnce is how many of them it takes from the store at a time.
const queueAtOnce = 32

// searches are those of the sessions. Few have any, so they are kept apart from them. The lock is
// taken after a session's.
type searches struct {
	// Safe from any goroutine.
	sessions atomic.Int64 // that have any

	// Guarded by mu; the lists by their session's.
	mu        sync.Mutex
	bySession map[*Session][]*router.Search // oldest first, none done
}

// of returns the session's. It is locked.
func (a *searches) of(s *Session) []*router.Search {
	if a.sessions.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bySession[s]
}

// set puts list in the place of the session's. It is locked.
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

// end forgets what a session searches that ends. It is locked.
func (a *searches) end(s *Session) {
	if a.of(s) != nil {
		a.set(s, nil)
	}
}

// takeRetained takes what is retained for a packet's subscriptions, one after the other; with
// once, what several match for the first of them. The session is locked from the subscription
// on, so that nothing newer comes before what the first look finds.
func (s *Session) takeRetained(subs []topic.Subscription, once bool) {
	if len(subs) == 0 {
		return
	}
	subs = unique(subs)
	s.forgetRetained(filterSet(subs))
	search := s.manager.router.Search(subs, once)
	s.look(search, lookAtOnce)
	if !search.Done() {
		all := &s.manager.searches
		all.set(s, append(all.of(s), search))
	}
	s.wake()
}

// unique returns subs with the last alone of those that have the same filter.
func unique(subs []topic.Subscription) []topic.Subscription {
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

// forgetRetained ends what is searched for these filters.
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

// look goes on with a search until it is done, has looked at so many, or finds what the queue has
// no room for. It returns how many it took, and how many it passed over. Locked.
func (s *Session) look(search *router.Search, looks int) (taken, passed int, full bool) {
	found, now := make([]*message.Message, 0, queueAtOnce), time.Now()
	for !search.Done() && looks > 0 {
		batch, sub, looked := search.Next(found, looks, now)
		looks -= looked
		passed += looked
		for _, m := range batch {
			switch {
			case sub.NoLocal && m.Source == s.device: // [MQTT-3.8.3-3]
			case errors.Is(s.queueRetained(sub, m), router.ErrFull):
				search.Back(m)
				return taken, passed, true
			default:
				taken++
				passed--
			}
		}
	}
	return taken, passed, false
}

// goOn goes on with what the session searches for a turn of the loop, when all that it was owed
// is sent. It appends the claims of those it let in to admitted. Locked, on the loop.
func (s *Session) goOn(conn Conn, admitted []*router.Claim) (_ []*router.Claim, passed int) {
	list := s.manager.searches.of(s)
	before := len(list)
	for looks := lookAtOnce; len(list) > 0 && s.idle() && conn.Room(); {
		if looks <= 0 {
			s.wake()
			break
		}
		taken, n, full := s.look(list[0], queueAtOnce)
		passed += n
		looks -= queueAtOnce
		if list[0].Done() {
			list = list[1:]
		}
		admitted = s.flushAll(conn, admitted)
		if full && taken == 0 {
			break // of what is in flight: the next acknowledgement makes room
		}
	}
	if len(list) < before {
		s.manager.searches.set(s, list)
	}
	return admitted, passed
}

// idle reports whether all is sent that the session owes its device. Locked.
func (s *Session) idle() bool { return s.next == nil && s.waiting == nil && s.unsent() == 0 }

// wakeToSearch has the loop go on with a search, if there is one and it can. Locked.
func (s *Session) wakeToSearch() {
	if s.manager.searches.of(s) != nil && s.idle() {
		s.wake()
	}
}

// queueRetained queues a retained message, if there is room: nothing gives way to it. A message
// that can never be queued is counted.
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
		s.lose(m, router.Shed)
		return nil
	}
	s.openQueue()
	err := s.put(m, q, false)
	if errors.Is(err, store.ErrFull) {
		return router.ErrFull
	}
	if err != nil {
		s.lose(m, router.Refused)
	}
	return nil
}
