package router

import (
	"errors"
	"slices"

	"github.com/longline/longline/internal/message"
)

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
// get them, unless none is left; and of what did not come by a share publishers are told that all is
// well, as for a subscriber that had left before. What ended sessions leave behind has a bound: a message that
// meets only full queues waits as long as Config.MaxWait, if the line has room, and is then
// dropped and counted. No lock may be held. Whoever calls it on a loop bounds the messages.
func (r *Router) Redeliver(held []Held, home Subscriber) {
	p := &Publication{wait: r.config.MaxWait}
	for _, h := range held {
		p.claim = h.Claim // its right is given up below, and another one lent to whoever has it wait
		err := r.redeliver(h, home, p)
		if err != nil {
			r.countRefusal(h.Message, err)
		}
		if p.claim != nil {
			r.answerOnceSafe(p, err)
		}
	}
}

// answerOnceSafe gives up the right that came with a message that was given back.
func (r *Router) answerOnceSafe(p *Publication, err error) {
	if p.saved && err == nil {
		r.store.Commit(p.claim.Done)
	} else {
		p.claim.Done(err)
	}
	p.saved = false
}

func (r *Router) redeliver(h Held, home Subscriber, p *Publication) error {
	g := r.shares.find(ShareOf(h.Message))
	if home != nil {
		if g != nil && g.passOn(h, p) {
			return nil
		}
		if err := home.Deliver(h.Message, h.QoS, p); !errors.Is(err, ErrGone) {
			return err
		}
	}
	err := errNobody
	if g != nil {
		err = g.deliver(g.again(h.Message), h.Message.QoS, Away, p)
	}
	if errors.Is(err, errNobody) {
		r.Drop(h.Message, "", SessionEnded, 1)
		return nil // as for a subscriber that had left before
	}
	return err
}

// passOn gives h to a member that is on line, or lets it wait there if it has waited before, and reports whether it did.
func (g *share) passOn(h Held, p *Publication) bool {
	m, q := g.again(h.Message), h.Message.QoS
	if h.Claim != nil {
		return g.deliver(m, q, Busy, p) == nil
	}
	_, err := g.offer(m, q, Busy, g.turn.Add(1), p)
	return err == nil
}

// again returns m without what held for the member that had it.
func (g *share) again(m *message.Message) *message.Message {
	m = g.mark(m)
	m.Retain = false
	return m
}
