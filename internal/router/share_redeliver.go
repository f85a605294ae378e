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
// which gets back what no member on line has room for, but for what waited there for room:
// that waits at another. home is nil when it has ended: then MQTT 5 §4.8.2 has another member
// get them, unless none is left. What ended sessions leave behind has a bound: a message that
// meets only full queues waits as long as Config.MaxWait, if the line has room, and is then
// dropped and counted. No lock may be held.
func (r *Router) Redeliver(held []Held, home Subscriber) {
	for _, h := range held {
		waits := h.Ticket != nil
		if !waits {
			h.Ticket = newTicket(func(error) {}, time.Now().Add(r.config.MaxWait))
		}
		if home == nil || !r.passOn(h, waits) && !r.takeHome(h, home) {
			r.pass(h)
		}
	}
}

// passOn gives h to a member that is on line, or has it wait there, and tells whether it did.
func (r *Router) passOn(h Held, waits bool) bool {
	g := r.shares.find(ShareOf(h.Message))
	if g == nil {
		return false
	}
	m, q := g.again(h.Message), h.Message.QoS
	full, err := g.offer(m, q, Busy, g.next())
	switch {
	case err == nil:
		h.Ticket.Done(nil)
	case errors.Is(err, ErrFull) && waits:
		full.Wait(m, min(q, full.qos), h.Ticket)
	default:
		return false
	}
	return true
}

// takeHome gives h back to home. It is false when that has ended.
func (r *Router) takeHome(h Held, home Subscriber) bool {
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
		w.discount(x)
		return true
	})
	w.rest()
	return held
}
