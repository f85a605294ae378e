package router

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/longline/longline/internal/message"
)

// ErrGone is the answer of a subscriber that has ended, and is in no share any more, to a
// message that came by a share: another member is to have it.
var ErrGone = errors.New("the subscriber has ended")

// errNobody says that a share has no member that may have the message.
var errNobody = errors.New("nobody is there")

// Member is what a Subscriber may also say, so that a share can choose well. One that does
// not is taken for Free.
type Member interface {
	// State tells how fit the subscriber is for a message now. No lock is held.
	State() State
}

// State is how fit a member of a share is for a message: the lower the better.
type State uint8

const (
	Free State = iota // on line, and nothing waits there
	Busy              // on line, but the message would have to wait behind others
	Away              // nobody is there to take it
)

// share is a shared subscription, MQTT 5 §4.8.2: the subscriber that stands in the index for
// a group of them, and gives each message to one.
//
// It asks its members in turn: first those that are free, then those that are busy. When all
// on line are full, a publisher waits at the first of them. Only when nobody is on line,
// those that are away are asked: a session keeps QoS 1 messages for its device.
//
// What one publisher sends and one member gets stays in order, but for what is redelivered:
// that comes after what the member had already.
type share struct {
	// Static after construction.
	delivery *message.Delivery // what marks the messages that came by this share
	drops    *Drops

	// Guarded by mu, under which nothing else is locked.
	mu      sync.Mutex
	members map[Subscriber]member

	// Safe from any goroutine.
	view atomic.Pointer[[]member] // the members in some order; nil when they have changed
	turn atomic.Uint32
}

// member is one subscriber of a share. [MQTT-4.8.2-3]: the QoS granted to it is kept.
type member struct {
	Subscriber
	qos   message.QoS
	about Member // the subscriber itself, nil when it does not say
}

func (m *member) state() State {
	if m.about == nil {
		return Free
	}
	return m.about.State()
}

// join adds s, or changes its QoS.
func (g *share) join(s Subscriber, q message.QoS) {
	g.mu.Lock()
	defer g.mu.Unlock()
	about, _ := s.(Member)
	g.members[s] = member{s, q, about}
	g.view.Store(nil)
}

// leave takes s out and tells whether it was there, and how many there still are.
func (g *share) leave(s Subscriber) (was bool, left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, was = g.members[s]
	delete(g.members, s)
	g.view.Store(nil)
	return was, len(g.members)
}

// list returns the members. Nobody changes the slice.
func (g *share) list() []member {
	if v := g.view.Load(); v != nil {
		return *v
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.AppendSeq(make([]member, 0, len(g.members)), maps.Values(g.members))
	g.view.Store(&list)
	return list
}

// Deliver implements Subscriber.
func (g *share) Deliver(m *message.Message, q message.QoS) error {
	_, err := g.offer(g.mark(m), q, Away, g.next())
	if errors.Is(err, errNobody) {
		return nil // the last member left meanwhile
	}
	return err
}

// Wait implements Subscriber.
func (g *share) Wait(m *message.Message, q message.QoS, t *Ticket) {
	g.wait(g.mark(m), q, t, g.turn.Load())
}

// mark returns the copy of m that says by which share it came.
func (g *share) mark(m *message.Message) *message.Message { return m.With(g.delivery) }

// next is whose turn it is to be asked first.
func (g *share) next() uint32 { return g.turn.Add(1) }

// wait has m, which is marked, taken as soon as there is room.
func (g *share) wait(m *message.Message, q message.QoS, t *Ticket, turn uint32) {
	full, err := g.offer(m, q, Away, turn) // again: there may be room by now
	switch {
	case errors.Is(err, ErrFull):
		full.Wait(m, min(q, full.qos), t)
	case errors.Is(err, errNobody): // as in Deliver
		g.drops.Add(SessionEnded, 1)
		t.Done(nil)
	case err != nil:
		g.drops.Add(Refused, 1)
		t.Done(err)
	default:
		t.Done(nil)
	}
}

// offer gives m to one member whose state is worst at the most. With ErrFull it returns the
// member to wait at.
func (g *share) offer(m *message.Message, q message.QoS, worst State, turn uint32) (full member, err error) {
	for {
		full, err = g.try(m, q, worst, turn)
		if !errors.Is(err, ErrGone) { // who is gone is not asked again
			return full, err
		}
	}
}

// try is offer to the members of this moment.
func (g *share) try(m *message.Message, q message.QoS, worst State, turn uint32) (full member, err error) {
	members := g.list()
	n := uint32(len(members))
	err = errNobody
	for s := Free; s <= worst && (s < Away || !errors.Is(err, ErrFull)); s++ {
		for i := range n {
			p := &members[(turn%n+i)%n]
			if p.state() > s {
				continue
			}
			switch e := p.Deliver(m, min(q, p.qos)); {
			case e == nil:
				return member{}, nil
			case errors.Is(err, ErrFull): // the first that is full is the one to wait at
			default:
				full, err = *p, e
			}
		}
	}
	return full, err
}
