package router

import (
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Search finds the retained messages for subscriptions, one after the other, in parts of a bounded
// cost. Begun after Subscribe it misses none: what is retained from then on was offered to the
// subscriber, and is not found. A shared subscription finds nothing, MQTT 5 §4.8.2: no name that
// is retained begins with $share. It is not safe for concurrent use.
type Search struct {
	// Static after construction.
	router *Router
	once   bool
	last   uint64 // the ID of the newest message that may be found

	subs []topic.Subscription // not changed
	at   int                  // those before it are done
	prev int                  // what at was before the last Next
	walk store.Walk           // of subs[at]
}

// Search begins a search. The subscriptions are kept. With once, a message that several match is
// found for the first of them alone.
func (r *Router) Search(subs []topic.Subscription, once bool) *Search {
	return &Search{router: r, once: once, last: message.LastID(), subs: subs}
}

// Done reports whether all was found.
func (s *Search) Done() bool { return s.at == len(s.subs) }

// matchesPerLook is how many filters are matched with a message at the cost of a look.
const matchesPerLook = 8

// Next appends the messages that are found next to found, up to its capacity, and returns the
// subscription that they are for. It stops after about as many looks at messages as looks says,
// and returns how many they were, at least 1.
func (s *Search) Next(found []*message.Message, looks int, now time.Time) (_ []*message.Message, sub *topic.Subscription, looked int) {
	s.prev, sub = s.at, &s.subs[s.at]
	s.walk.Filter = sub.Filter
	perLook := 1
	if s.once {
		perLook += s.at / matchesPerLook
	}
	found, looked = s.router.store.Retained(&s.walk, found, max(1, looks/perLook), now)
	found = slices.DeleteFunc(found, func(m *message.Message) bool {
		return m.ID > s.last || s.once && anyMatches(s.subs[:s.at], m.Topic)
	})
	if s.walk.Done {
		s.at, s.walk = s.at+1, store.Walk{}
	}
	return found, sub, max(1, looked*perLook)
}

func anyMatches(subs []topic.Subscription, name string) bool {
	return slices.ContainsFunc(subs, func(sub topic.Subscription) bool { return topic.Match(sub.Filter, name) })
}

// Back moves the search back to a message that the last Next has found.
func (s *Search) Back(m *message.Message) {
	s.at = s.prev
	s.walk.Filter = s.subs[s.at].Filter
	s.walk.Back(m)
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
