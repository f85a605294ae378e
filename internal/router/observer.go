package router

import "github.com/longline/longline/internal/message"

// Observer watches messages. Its methods are called where it happens, on any goroutine and perhaps with a
// receiver locked: they do not block, and call nothing of the router or of sessions. A message is
// theirs until they return.
type Observer interface {
	// Published is told of a message and of how many receivers it has, before it is offered to them. It has an
	// ID if there are any.
	Published(m *message.Message, receivers int)
	// Dropped is told of n messages that were not delivered. m is the one, nil when only their number is known.
	// device is the receiver's, or the publisher's of what was refused; it is empty for a backend.
	Dropped(m *message.Message, device string, why Drop, n int)
}

// Drop counts n messages that are not delivered, and tells the observer as Observer.Dropped says.
func (r *Router) Drop(m *message.Message, device string, why Drop, n int) {
	r.Drops.Add(why, n)
	if o := r.config.Observer; o != nil && n > 0 {
		o.Dropped(m, device, why, n)
	}
}

func (r *Router) observePublished(m *message.Message, receivers int) {
	if o := r.config.Observer; o != nil {
		o.Published(m, receivers)
	}
}
