package device

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/topic"
)

// subscriptions is the table of the device's subscriptions, in the order in which they were made.
// Safe from any goroutine.
type subscriptions struct {
	mu   sync.Mutex
	list []*subscription
}

type subscription struct {
	Subscription
	confirmed bool // the gateway has acknowledged it before
}

// put adds s, or replaces the subscription to the same filter. undo restores the table.
func (t *subscriptions) put(s Subscription) (undo func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, have := range t.list {
		if have.Filter == s.Filter {
			former := have.Subscription
			have.Subscription = s
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				have.Subscription = former
			}
		}
	}
	t.list = append(t.list, &subscription{Subscription: s})
	return func() { t.drop(s.Filter) }
}

func (t *subscriptions) drop(filter string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, func(s *subscription) bool { return s.Filter == filter })
}

func (t *subscriptions) confirm(filter string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.list {
		s.confirmed = s.confirmed || s.Filter == filter
	}
}

// confirmed returns the subscriptions that the gateway has acknowledged.
func (t *subscriptions) confirmed() []Subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Subscription
	for _, s := range t.list {
		if s.confirmed {
			list = append(list, s.Subscription)
		}
	}
	return list
}

// match returns the handlers whose filters match a topic.
func (t *subscriptions) match(name string) []Handler {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Handler
	for _, s := range t.list {
		_, filter, _, _ := topic.Shared(s.Filter) // check has found no error
		if topic.Match(filter, name) {
			list = append(list, s.Handle)
		}
	}
	return list
}
