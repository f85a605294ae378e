package router

import (
	"errors"
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// Far is the other nodes of a cluster, as the router needs them. Its methods are safe from any goroutine and do not block.
type Far interface {
	// Position returns up to where the log of who wants what is in the router. It never falls.
	Position() uint64

	// Changed says that this node may want a filter now that it did not want before, or the other way round: Router.Wants has the truth. Called with locks
	// held.
	Changed(filter string)

	// WhenAnnounced calls f once, from any goroutine, without locks, when all nodes know what Changed has said until now. It may call f before it returns.
	// An error says that they do not know it, and why.
	WhenAnnounced(f func(error))

	// Space adds to the receivers of a message in the own space of a device what leads to the node that has the device. If hits has that
	// node already, it takes its place. The device is a view of a topic.
	Space(device string, hits []Hit) []Hit
}

// Remote is a Subscriber that is another node. A node does not announce what other nodes want.
type Remote interface {
	Subscriber
	Remote()
}

// Personal is a Subscriber that is the session of a device. What it subscribes to in the device's own space is not announced: who publishes there asks who
// has the device.
type Personal interface {
	Subscriber
	Device() string
}

// OwnNode is a Subscriber that gets what is published on this node alone, and that is not announced: a stream, of which each node has a part.
type OwnNode interface {
	Subscriber
	OwnNode()
}

// isOwner reports whether s is the session of a device.
func isOwner(s Subscriber, device string) bool {
	p, ok := s.(Personal)
	return ok && p.Device() == device
}

// changed tells the cluster that s has joined or left a filter that has so many subscribers with it, if that may be news. In a device's own
// space the device is no news, and at most one of two.
func (r *Router) changed(filter string, s Subscriber, with int) {
	if r.far == nil || with > 2 {
		return
	}
	device := topic.SpaceOf(filter)
	if device == "" && with > 1 || device != "" && isOwner(s, device) {
		return
	}
	r.config.Far.Changed(filter)
}

// Wants reports whether this node has a subscriber of the filter of which other nodes must know.
func (r *Router) Wants(filter string) bool {
	if topic.IsShared(filter) {
		g := r.shares.find(filter)
		return g != nil && g.hasNear()
	}
	device := topic.SpaceOf(filter)
	return r.index.HasOther(filter, func(s Subscriber) bool { return device != "" && isOwner(s, device) })
}

// SubscribeFar gives another node the messages that are published on this node and match filter. If the filter is shared, the node is a member
// of the share: it gets what no member on this node is free for.
func (r *Router) SubscribeFar(filter string, s Remote) {
	if topic.IsShared(filter) {
		r.shares.join(filter, s, highest)
		return
	}
	r.far.Subscribe(filter, s, highest)
}

// UnsubscribeFar undoes SubscribeFar.
func (r *Router) UnsubscribeFar(filter string, s Remote) {
	if topic.IsShared(filter) {
		r.shares.leave(filter, s)
		return
	}
	r.far.Unsubscribe(filter, s)
}

// WhenAnnounced calls f once, perhaps before it returns, when a publication on any node of the cluster finds the subscriptions that were made until now. f is
// called from any goroutine, without locks.
func (r *Router) WhenAnnounced(f func(error)) {
	if r.far == nil {
		f(nil)
		return
	}
	r.config.Far.WhenAnnounced(f)
}

// find appends the receivers of a message that is published on this node, and returns its Message.At.
func (r *Router) find(name string, hits []Hit) ([]Hit, uint64) {
	if r.far == nil {
		return r.index.Match(name, hits), 0
	}
	at := r.config.Far.Position() // before the match: what is announced behind it is not sure to be found
	hits = r.far.Match(name, r.index.Match(name, hits))
	if device := topic.SpaceOf(name); device != "" {
		hits = r.config.Far.Space(device, hits)
	}
	return hits, at
}

// Came says for whom a message is that came from another node.
type Came struct {
	Share string // the share of which a member on this node is to get it; empty if it is for all that want it
	Of    string // it was for a node that has died, this owner: it is for what has come from there
}

// heir is a Subscriber that may have come from another node. DeliverOf is Deliver for a message that was for an owner that died.
type heir interface {
	DeliverOf(owner string, m *message.Message, q message.QoS, p *Publication) error
}

// inherited is an heir of an owner as a Subscriber.
type inherited struct {
	heir
	owner string
}

// Deliver implements Subscriber.
func (i inherited) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	return i.DeliverOf(i.owner, m, q, p)
}

// heirs leaves those subscribers that may have come from an owner.
func heirs(hits []Hit, owner string) []Hit {
	left := hits[:0]
	for _, h := range hits {
		if s, ok := h.Subscriber.(heir); ok {
			left = append(left, Hit{Subscriber: inherited{s, owner}, QoS: h.QoS})
		}
	}
	clear(hits[len(left):])
	return left
}

// PublishNear delivers m, which is owned and was published on another node, to receivers on this node, except the device in whose own space it is: that gets it by a
// way of its own. done gets the answer as with PublishThen.
func (r *Router) PublishNear(m *message.Message, c Came, done func(error)) {
	p := r.begin(m, Publisher{Done: done, NoDeadline: true}) // its publisher was answered when the bus had it
	defer r.pool.Put(p)
	var err error
	if c.Share != "" {
		err = r.deliverShare(m, c.Share, p)
	} else {
		hits := r.index.Match(m.Topic, p.hits[:0])
		if device := topic.SpaceOf(m.Topic); device != "" {
			hits = without(hits, device)
		}
		if c.Of != "" {
			hits = heirs(hits, c.Of)
		}
		err = r.deliver(m, hits, p)
		clear(hits)
		p.hits = hits[:0]
	}
	later, err := p.end(err)
	if !later {
		p.counts.answer(err)
		done(err)
	}
}

// PublishShared gives m, which is owned, to a member of a share on any node. done gets the answer as with PublishThen.
func (r *Router) PublishShared(m *message.Message, filter string, done func(error)) {
	p := r.begin(m, Publisher{Done: done, NoDeadline: true})
	defer r.pool.Put(p)
	err := ErrGone
	if g := r.shares.find(filter); g != nil {
		err = g.Deliver(m, m.QoS, p)
	}
	if errors.Is(err, ErrGone) {
		r.Drop(m, "", SessionEnded, 1)
		err = nil // as if the last member had left before
	}
	later, err := p.end(err)
	if !later {
		p.counts.answer(err)
		done(err)
	}
}

// DeliverNear delivers m, which came from another node, to one receiver. done gets the answer as with PublishThen.
func (r *Router) DeliverNear(to Hit, m *message.Message, done func(error)) {
	p := r.begin(m, Publisher{Done: done, NoDeadline: true})
	defer r.pool.Put(p)
	p.hits = append(p.hits[:0], to)
	err := r.deliver(m, p.hits, p)
	clear(p.hits)
	later, err := p.end(err)
	if !later {
		p.counts.answer(err)
		done(err)
	}
}

// without removes the sessions of a device, also those that another node has taken: the device gets the message by the node that has it.
func without(hits []Hit, device string) []Hit {
	return slices.DeleteFunc(hits, func(h Hit) bool { return isOwner(h.Subscriber, device) })
}

// deliverShare gives m to a member of a share on this node. If none is left, the error is ErrGone.
func (r *Router) deliverShare(m *message.Message, filter string, p *Publication) error {
	g := r.shares.find(filter)
	if g == nil || !g.hasNear() {
		return ErrGone
	}
	r.observePublished(m, 1)
	r.published.Add(1)
	r.offered.Add(1)
	err := g.deliver(g.mark(m), m.QoS, Away, nearMembers, p)
	if err != nil {
		g.between.refused(RefusedFor(err))
		r.countRefusal(m, err)
	}
	return err
}
