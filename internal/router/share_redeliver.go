package router

import (
	"errors"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// ShareOf returns the filter of the share by which m came to its receiver; it is empty if m came by none.
func ShareOf(m *message.Message) string {
	if m.Delivery == nil {
		return ""
	}
	return m.Delivery.Share
}

// OtherMemberOnline reports whether the share has a member other than s on line. The caller holds no lock.
func (r *Router) OtherMemberOnline(share string, s Subscriber) bool {
	g := r.shares.find(share)
	return g != nil && slices.ContainsFunc(g.list().all, func(p member) bool {
		return p.Subscriber != s && p.state() != Away
	})
}

// Redeliver gives messages back to their shares, in order.
//
// home is the member that had them. It gets back what no member on line has room for; a message that waited for room
// at home, or that home has no room for any more, waits at another member instead. Only if none is on line, home drops older messages for it.
//
// If home is nil, that member has ended. Another member gets the messages, as MQTT 5 §4.8.2 says, unless none is left.
// A message that finds only full queues waits for at most Config.MaxWait, if a line has room, and is then dropped and
// counted. For messages that came by no share, publishers get a success, as if the subscriber had left before they
// published.
//
// A message that the store keeps as an orphan (Delivery.Orphan) is kept there until a receiver has it, or it is dropped.
//
// The messages were counted by GivesBack. The caller holds no lock; on a loop it bounds the messages.
func (r *Router) Redeliver(held []Held, home Member) {
	for _, h := range held {
		p := &Publication{store: r.store, wait: r.config.MaxWait, redelivered: true}
		p.claim = h.Claim // its right is released below; the next receiver where it waits gets another one
		if key := orphanOf(h.Message); key != "" && p.claim == nil {
			p.done = func(error) { r.store.PutFor(store.OrphanHome(key), store.SpaceOrphan, key, nil) }
		}
		err := r.redeliver(h, home, p)
		switch {
		case err == nil:
			r.between.moved()
		case errors.Is(err, errNobody):
			r.between.dropped(SessionEnded)
			r.Drop(h.Message, "", SessionEnded, 1)
			err = nil // as if the subscriber had left before
		default:
			r.between.dropped(RefusedFor(err))
			r.countRefusal(h.Message, err)
		}
		switch {
		case p.claim == nil && p.done != nil && !p.saved: // if it was saved, the orphan was removed with it
			p.done(err)
		case p.claim == nil:
		case p.saved && err == nil:
			r.store.Commit(p.claim.Done)
		default:
			p.claim.Done(err)
		}
	}
}

// orphanOf returns the key under which the store keeps m, or "".
func orphanOf(m *message.Message) string {
	if m.Delivery == nil {
		return ""
	}
	return m.Delivery.Orphan
}

// redeliver returns nil if a member has taken h, errNobody if none is left, or why none of them takes it.
func (r *Router) redeliver(h Held, home Member, p *Publication) error {
	g := r.shares.find(ShareOf(h.Message))
	if home != nil {
		if g != nil && g.passOn(h, p) {
			return nil
		}
		err := home.Offer(h.Message, h.QoS, Terms{}, p)
		if errors.Is(err, ErrFull) {
			if g != nil && g.deliver(g.forAnother(h.Message), h.QoS, Busy, allMembers, p) == nil {
				return nil
			}
			err = home.Offer(h.Message, h.QoS, Terms{Wait: true}, p)
		}
		if !errors.Is(err, ErrGone) {
			return err
		}
	}
	err := errNobody
	if g != nil {
		err = g.deliver(g.forAnother(h.Message), h.Message.QoS, Away, allMembers, p)
	}
	return err
}

// passOn gives h to a member that is on line, and reports whether it did. If h has waited for room before, it may wait
// there, too.
func (g *share) passOn(h Held, p *Publication) bool {
	m, q := g.forAnother(h.Message), h.Message.QoS
	if h.Claim != nil {
		return g.deliver(m, q, Busy, allMembers, p) == nil
	}
	_, _, err := g.offer(m, q, Busy, g.turn.Add(1), g.list().all, p)
	return err == nil
}

// forAnother returns m without what was meant for the member that had it.
func (g *share) forAnother(m *message.Message) *message.Message {
	if key := orphanOf(m); key != "" {
		m = m.With(&message.Delivery{Share: g.delivery.Share, Orphan: key})
	} else {
		m = g.mark(m)
	}
	m.Retain = false
	return m
}
