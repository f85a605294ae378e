package router

import "github.com/longline/longline/internal/message"

// Observer watches messages. The router and the receivers call its methods on any goroutine and perhaps with a
// receiver locked: they must not block, and must not call the router or sessions. They may use a message until they
// return.
type Observer interface {
	// Published is called with a message and the number of its receivers, before it is delivered to them. It has an ID
	// if there are any.
	Published(m *message.Message, receivers int)
	// Dropped is called when n messages are not delivered. m is the message, nil if only the number is known. device
	// is the receiver, or the publisher of a refused message; it is empty for a backend.
	Dropped(m *message.Message, device string, why Drop, n int)
}

// Drop counts n messages that are not delivered, and tells the observer. The arguments are those of Observer.Dropped.
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
