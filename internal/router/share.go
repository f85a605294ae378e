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

// Member is what a Subscriber may also do, so that a share can choose well. One that does
// not is taken for Free, and for one that is never full.
type Member interface {
	// State tells how fit the subscriber is for a message now. No lock is held.
	State() State
	// Offer is Subscriber.Deliver to one of several who may have m: the answer is ErrFull where Deliver would
	// let m wait for room.
	Offer(m *message.Message, q message.QoS, p *Publication) error
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

func (m *member) offer(msg *message.Message, q message.QoS, p *Publication) error {
	if m.about == nil {
		return m.Deliver(msg, min(q, m.qos), p)
	}
	return m.about.Offer(msg, min(q, m.qos), p)
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
func (g *share) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	err := g.deliver(g.mark(m), q, Away, p)
	if errors.Is(err, errNobody) {
		return nil // the last member left meanwhile
	}
	return err
}

// mark returns the copy of m that says by which share it came.
func (g *share) mark(m *message.Message) *message.Message { return m.With(g.delivery) }

// deliver gives m, which is marked, to one member whose state is worst at the most. When those are full it waits
// at the first of them.
func (g *share) deliver(m *message.Message, q message.QoS, worst State, p *Publication) error {
	turn := g.turn.Add(1)
	for {
		full, err := g.offer(m, q, worst, turn, p)
		if errors.Is(err, ErrFull) {
			err = full.Deliver(m, min(q, full.qos), p)
		}
		if !errors.Is(err, ErrGone) { // who is gone is not asked again
			return err
		}
	}
}

// offer gives m to one member that has room and whose state is worst at the most. With ErrFull it returns the
// first that has none. The one whose turn it is is asked first.
func (g *share) offer(m *message.Message, q message.QoS, worst State, turn uint32, p *Publication) (full member, err error) {
	members := g.list()
	n := uint32(len(members))
	err = errNobody
	for s := Free; s <= worst && (s < Away || !errors.Is(err, ErrFull)); s++ {
		for i := range n {
			to := &members[(turn%n+i)%n]
			if to.state() > s {
				continue
			}
			switch e := to.offer(m, q, p); {
			case e == nil:
				return member{}, nil
			case errors.Is(err, ErrFull): // the first that is full is the one to wait at
			default:
				full, err = *to, e
			}
		}
	}
	return full, err
}
