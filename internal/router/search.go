package router

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Search finds the retained messages for subscriptions, one subscription after the other, in parts of bounded cost. If
// it begins after Subscribe it misses none: a message that is retained later is delivered to the subscriber, and
// Search does not find it. A shared subscription gets no retained messages, MQTT 5 §4.8.2, and finds none, because no
// topic begins with $share. Search is not safe for concurrent use.
type Search struct {
	// Static after construction.
	router *Router
	once   bool
	newest uint64 // number of the newest message that it may find
	missed uint64 // store.Walk.MissedAt

	subs []topic.Subscription // not changed
	at   int                  // index of the current subscription
	prev int                  // at before the last Next
	walk store.Walk           // of subs[at]
}

// Search begins a search, which keeps subs. With once, a message that several of them match is found for the first
// only.
func (r *Router) Search(subs []topic.Subscription, once bool) *Search {
	return &Search{router: r, once: once, newest: r.store.NewestRetained(), subs: subs}
}

// Missed begins a search for what other nodes have retained since newest was Store.NewestRetained, and did not send here, because they did not know of the
// subscriptions. It is for a cluster, when all nodes know of them: see WhenAnnounced. It keeps subs.
func (r *Router) Missed(subs []topic.Subscription, once bool, newest uint64) *Search {
	return &Search{router: r, once: once, newest: newest, missed: r.config.Far.Position(), subs: subs}
}

// Done reports whether the search is complete.
func (s *Search) Done() bool { return s.at == len(s.subs) }

// matchesPerLook is how many filters are matched with a message at the cost of one look.
const matchesPerLook = 8

// Next appends the next messages to found, up to its capacity, and returns the subscription that they match. It stops
// after about looks looks at messages, and returns how many looks it took, at least 1.
func (s *Search) Next(found []store.Kept, looks int, now time.Time) (_ []store.Kept, sub *topic.Subscription, looked int) {
	s.prev, sub = s.at, &s.subs[s.at]
	s.walk.Filter, s.walk.Newest, s.walk.MissedAt = sub.Filter, s.newest, s.missed
	perLook := 1
	if s.once {
		perLook += s.at / matchesPerLook
	}
	found, looked = s.router.store.Retained(&s.walk, found, max(1, looks/perLook), now)
	if s.once {
		found = slices.DeleteFunc(found, func(k store.Kept) bool { return anyMatches(s.subs[:s.at], k.Topic) })
	}
	if s.walk.Done {
		s.at, s.walk = s.at+1, store.Walk{}
	}
	return found, sub, max(1, looked*perLook)
}

func anyMatches(subs []topic.Subscription, name string) bool {
	return slices.ContainsFunc(subs, func(sub topic.Subscription) bool { return topic.Match(sub.Filter, name) })
}

// Back makes the next Next begin at k, which the last Next has found.
func (s *Search) Back(k store.Kept) {
	s.at = s.prev
	s.walk.Filter = s.subs[s.at].Filter
	s.walk.Back(k)
}

// Forget ends the search for filters.
func (s *Search) Forget(filters map[string]bool) {
	kept := make([]topic.Subscription, 0, len(s.subs))
	at := s.at
	for i := range s.subs {
		if !filters[s.subs[i].Filter] {
			kept = append(kept, s.subs[i])
			continue
		}
		if i < s.at {
			at--
		} else if i == s.at {
			s.walk = store.Walk{}
		}
	}
	s.subs, s.at = kept, at
}
