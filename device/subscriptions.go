package device

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/topic"
)

// subscriptions is the table of those that the device has, in the order of their making.
// Safe from any goroutine.
type subscriptions struct {
	mu   sync.Mutex
	list []*subscription
}

type subscription struct {
	Subscription
	confirmed bool // by the gateway, once
}

// put adds s or replaces that of its filter; undo has it as before.
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

// confirmed returns those that the gateway has had.
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

// match returns the handlers of a topic.
func (t *subscriptions) match(name string) []Handler {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Handler
	for _, s := range t.list {
		if topic.Match(s.Filter, name) {
			list = append(list, s.Handle)
		}
	}
	return list
}
