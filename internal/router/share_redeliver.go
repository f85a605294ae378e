package router

import (
	"errors"
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
)

// Held is a message that came by a share, and that the member who has it gives back.
type Held struct {
	Message *message.Message
	QoS     message.QoS // with which the member had it
	Ticket  *Ticket     // of the publisher that waits for room there; nil for one that was told already
}

// ShareOf names the share by which m came to its receiver; it is empty when none did.
func ShareOf(m *message.Message) string {
	if m.Delivery == nil {
		return ""
	}
	return m.Delivery.Share
}

// Elsewhere tells whether the share with the given filter has a member other than s on
// line. No lock may be held.
func (r *Router) Elsewhere(share string, s Subscriber) bool {
	g := r.shares.find(share)
	return g != nil && slices.ContainsFunc(g.list(), func(p member) bool {
		return p.Subscriber != s && p.state() != Away
	})
}

// Redeliver gives messages back to their shares, in order. home is the member that had them,
// which gets back what no member on line has room for; it is nil when it has ended: then
// MQTT 5 §4.8.2 has another member get them, at the latest when it is on line, unless none
// is left. A message that meets only full queues waits for Config.MaxWait and is then
// dropped and counted, so that what ended sessions leave behind has a bound. No lock may be
// held.
func (r *Router) Redeliver(held []Held, home Subscriber) {
	for _, h := range held {
		if h.Ticket == nil {
			h.Ticket = newTicket(func(error) {}, time.Now().Add(r.config.MaxWait))
		}
		if home == nil || !r.takeHome(h, home) {
			r.pass(h)
		}
	}
}

// takeHome gives h to a member that is on line or to home. It is false when home has ended.
func (r *Router) takeHome(h Held, home Subscriber) bool {
	if g := r.shares.find(ShareOf(h.Message)); g != nil {
		if _, err := g.offer(g.again(h.Message), h.Message.QoS, Busy, g.next()); err == nil {
			h.Ticket.Done(nil)
			return true
		}
	}
	err := home.Deliver(h.Message, h.QoS)
	switch {
	case errors.Is(err, ErrGone):
		return false
	case errors.Is(err, ErrFull): // it came back, and others were faster
		home.Wait(h.Message, h.QoS, h.Ticket)
	case err != nil:
		r.Drops.Add(Refused, 1)
		h.Ticket.Done(err)
	default:
		h.Ticket.Done(nil)
	}
	return true
}

// pass gives h to any member of its share.
func (r *Router) pass(h Held) {
	g := r.shares.find(ShareOf(h.Message))
	if g == nil {
		r.Drops.Add(SessionEnded, 1)
		h.Ticket.Done(nil) // as for a subscriber that had left before
		return
	}
	g.wait(g.again(h.Message), h.Message.QoS, h.Ticket, g.next())
}

// again returns m without what held for the member that had it.
func (g *share) again(m *message.Message) *message.Message {
	m = g.mark(m)
	m.Retain = false
	return m
}

// TakeShared takes out the messages that came by a share that give names.
func (w *Waiting) TakeShared(give func(share string) bool) (held []Held) {
	w.line = slices.DeleteFunc(w.line, func(x waiter) bool {
		if share := ShareOf(x.m); share == "" || !give(share) {
			return false
		}
		held = append(held, Held{x.m, x.q, x.t})
		if !x.t.Deadline.IsZero() {
			w.timed--
		}
		return true
	})
	w.rest()
	return held
}
