package router

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/longline/longline/internal/message"
)

// ErrGone is what a subscriber that has ended returns for a message that came by a share, which it has left. Another
// member gets the message.
var ErrGone = errors.New("the subscriber has ended")

// ErrAway is what a Member returns that had to be on line, and is not.
var ErrAway = errors.New("the subscriber is not on line")

// errNobody says that a share has no member that may get the message.
var errNobody = errors.New("nobody is there")

// Member is a Subscriber with methods by which a share chooses among its members. A Subscriber that is no Member
// counts as Free and as never full.
type Member interface {
	// State returns how suitable the subscriber is for a message now. The caller holds no lock.
	State() State
	// Offer is Subscriber.Deliver on terms.
	Offer(m *message.Message, q message.QoS, t Terms, p *Publication) error
}

// Terms are the terms on which a share offers a message to a member. State may be of the past when Offer is called.
type Terms struct {
	OnLine bool // if the member is not on line, it returns ErrAway
	Wait   bool // m may wait for room, or older messages may be dropped for it; otherwise the member returns ErrFull instead
}

// State is how suitable a member of a share is for a message: the lower the better.
type State uint8

const (
	Free      State = iota // on line, and no message waits there
	Elsewhere              // another node, which has members
	Busy                   // on line, but the message would wait behind others
	Away                   // not on line
)

// share is a shared subscription, MQTT 5 §4.8.2: in the index it is one subscriber, which gives each message to one of
// its members.
//
// It asks its members in turn: first those that are Free, then other nodes with members, then those that are Busy. If all members on line are full,
// the message waits at the first of them. Only if no member is on line, it asks those that are Away: a session keeps
// QoS 1 messages for its device.
//
// Messages of one publisher for one member stay in order, except redelivered ones, which come after those that the
// member had already.
type share struct {
	// Static after construction.
	delivery *message.Delivery // marks the messages that come by this share
	between  *between          // counts what no member takes

	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	members map[Subscriber]member

	// Safe from any goroutine.
	view atomic.Pointer[members] // nil after a change
	turn atomic.Uint32
}

// members are those of a share, in some order. It never changes.
type members struct {
	all  []member
	near []member // those on this node
}

// member is one subscriber of a share, with the QoS granted to it [MQTT-4.8.2-3].
type member struct {
	Subscriber
	qos      message.QoS
	asMember Member // the subscriber itself, nil if it is no Member
	far      bool   // it is another node
}

func (m *member) state() State {
	switch {
	case m.far:
		return Elsewhere
	case m.asMember == nil:
		return Free
	}
	return m.asMember.State()
}

func (m *member) offer(msg *message.Message, q message.QoS, t Terms, p *Publication) error {
	if m.asMember == nil {
		return m.Deliver(msg, min(q, m.qos), p)
	}
	return m.asMember.Offer(msg, min(q, m.qos), t, p)
}

// join adds s, or changes its QoS.
func (g *share) join(s Subscriber, q message.QoS) {
	g.mu.Lock()
	defer g.mu.Unlock()
	asMember, _ := s.(Member)
	_, far := s.(Remote)
	g.members[s] = member{s, q, asMember, far}
	g.view.Store(nil)
}

// leave removes s, and returns whether it was a member and how many members are left.
func (g *share) leave(s Subscriber) (was bool, left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, was = g.members[s]
	delete(g.members, s)
	g.view.Store(nil)
	return was, len(g.members)
}

// list returns the members.
func (g *share) list() *members {
	if v := g.view.Load(); v != nil {
		return v
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := &members{all: slices.AppendSeq(make([]member, 0, len(g.members)), maps.Values(g.members))}
	list.near = list.all
	if slices.ContainsFunc(list.all, func(m member) bool { return m.far }) {
		list.near = slices.DeleteFunc(slices.Clone(list.all), func(m member) bool { return m.far })
	}
	g.view.Store(list)
	return list
}

// hasNear reports whether the share has a member on this node.
func (g *share) hasNear() bool { return len(g.list().near) > 0 }

func allMembers(m *members) []member  { return m.all }
func nearMembers(m *members) []member { return m.near }

// Deliver implements Subscriber.
func (g *share) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	err := g.deliver(g.mark(m), q, Away, allMembers, p)
	switch {
	case err == nil:
	case errors.Is(err, errNobody):
		return nil // the last member left meanwhile
	default:
		g.between.refused(RefusedFor(err))
	}
	return err
}

// mark returns a copy of m that names the share by which it came.
func (g *share) mark(m *message.Message) *message.Message { return m.With(g.delivery) }

// deliver gives m, which is marked, to one of the members that of returns, whose state is worst or better. If all of those are full, m waits at
// the first of them.
func (g *share) deliver(m *message.Message, q message.QoS, worst State, of func(*members) []member, p *Publication) error {
	turn := g.turn.Add(1)
	for {
		full, t, err := g.offer(m, q, worst, turn, of(g.list()), p)
		if errors.Is(err, ErrFull) {
			t.Wait = true
			err = full.offer(m, q, t, p)
		}
		if !errors.Is(err, ErrGone) && !errors.Is(err, ErrAway) { // list no longer has a member that is gone
			return err
		}
	}
}

// offer gives m to one member that has room and whose state is worst or better; the first that it asks is the turn-th.
// If none has room, it returns ErrFull, and the first member without room with the terms on which that was asked.
func (g *share) offer(m *message.Message, q message.QoS, worst State, turn uint32, members []member, p *Publication) (full member, terms Terms, err error) {
	n := uint32(len(members))
	err = errNobody
	for s := Free; s <= worst && (s < Away || !errors.Is(err, ErrFull)); s++ {
		for i := range n {
			to := &members[(turn%n+i)%n]
			if to.state() > s {
				continue
			}
			t := Terms{OnLine: s < Away}
			switch e := to.offer(m, q, t, p); {
			case e == nil:
				return member{}, t, nil
			case errors.Is(err, ErrFull), errors.Is(e, ErrAway): // full is already the first one without room; to has just left
			default:
				full, terms, err = *to, t, e
			}
		}
	}
	return full, terms, err
}
