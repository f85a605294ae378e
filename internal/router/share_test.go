package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// consumer is a receiver that says how it is.
type consumer struct {
	receiver
	away, busy, gone atomic.Bool
	leaves           func() // called when it is offered a message
}

func (c *consumer) State() State {
	switch {
	case c.away.Load():
		return Away
	case c.busy.Load():
		return Busy
	}
	return Free
}

func (c *consumer) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	if c.gone.Load() {
		return ErrGone
	}
	return c.receiver.Deliver(m, q, p)
}

func (c *consumer) Offer(m *message.Message, q message.QoS, t Terms, p *Publication) error {
	if c.leaves != nil {
		c.leaves()
	}
	switch {
	case c.gone.Load():
		return ErrGone
	case t.OnLine && c.away.Load():
		return ErrAway
	}
	return c.receiver.Offer(m, q, t, p)
}

func (c *consumer) payloads() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(payloads(c.got), " ")
}

// group makes a share of a with n consumers that have room for so many messages each.
func group(r *Router, n, room int) []*consumer {
	members := make([]*consumer, n)
	for i := range members {
		members[i] = &consumer{receiver: receiver{room: room}}
		r.Subscribe("$share/g/a", members[i], 1)
	}
	return members
}

func (r *Router) sendAll(t *testing.T, n int, q message.QoS) {
	t.Helper()
	for i := range n {
		if _, err := r.send("a", fmt.Sprint(i), q, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShareBalances(t *testing.T) {
	r := newRouter()
	members := group(r, 3, 99)
	plain, other := &receiver{room: 99}, &receiver{room: 99}
	r.Subscribe("+", plain, 1)
	r.Subscribe("$share/other/+", other, 0)
	if got, err := r.Publish(&message.Message{Topic: "b", QoS: 1}, nil); got.Receivers != 2 || err != nil {
		t.Fatal(got, err)
	}
	r.sendAll(t, 30, 1)
	for i, c := range members {
		if len(c.got) != 10 {
			t.Errorf("member %d got %d", i, len(c.got))
		}
		if share := ShareOf(c.got[0]); share != "$share/g/a" {
			t.Errorf("it came by %q", share)
		}
	}
	if len(plain.got) != 31 || ShareOf(plain.got[0]) != "" || plain.got[0].ID != other.got[0].ID {
		t.Errorf("%d came to the other subscriber", len(plain.got))
	}
	if other.qos[0] != 0 || plain.qos[0] != 1 {
		t.Errorf("QoS %d and %d", other.qos[0], plain.qos[0])
	}
}

func TestShareKeepsEachMembersQoS(t *testing.T) {
	r := newRouter()
	low, high := &receiver{room: 99}, &receiver{room: 99}
	r.Subscribe("$share/g/a", high, 0)
	r.Subscribe("$share/g/a", low, 0)
	r.Subscribe("$share/g/a", high, 2) // changed
	r.sendAll(t, 2, 2)
	r.sendAll(t, 2, 1)
	if !slices.Equal(low.qos, []message.QoS{0, 0}) || !slices.Equal(high.qos, []message.QoS{2, 1}) {
		t.Errorf("QoS %v and %v", low.qos, high.qos)
	}
}

func TestShareChooses(t *testing.T) {
	for _, test := range []struct {
		name  string
		how   func(a, b, c *consumer)
		qos   message.QoS
		taken [3]int // of 3 messages
		waits bool   // a fourth
	}{
		{"passes over the busy", func(a, b, _ *consumer) { a.busy.Store(true); b.busy.Store(true) }, 1, [3]int{0, 0, 3}, false},
		{"passes over those away", func(a, b, _ *consumer) { a.away.Store(true); b.away.Store(true) }, 0, [3]int{0, 0, 3}, false},
		{"passes over the full", func(a, b, _ *consumer) { a.room, b.room = 0, 0 }, 1, [3]int{0, 0, 3}, false},
		{"the busy before those away", func(a, b, c *consumer) { a.away.Store(true); b.busy.Store(true); c.away.Store(true) }, 1, [3]int{0, 3, 0}, false},
		{"the busy before the full", func(a, b, c *consumer) { a.room = 0; b.busy.Store(true); c.room = 0 }, 1, [3]int{0, 3, 0}, false},
		{"asks those away when nobody is there", func(a, b, c *consumer) { a.away.Store(true); b.away.Store(true); c.away.Store(true) }, 1, [3]int{1, 1, 1}, false},
		{"waits though one is away", func(a, b, c *consumer) { a.away.Store(true); b.room, c.room = 1, 2 }, 1, [3]int{0, 1, 2}, true},
		{"passes over one that leaves meanwhile", func(a, b, _ *consumer) {
			a.leaves, b.leaves = func() { a.away.Store(true) }, func() { b.away.Store(true) }
		}, 1, [3]int{0, 0, 3}, false},
		{"passes over one that refuses", func(a, b, _ *consumer) { a.refuses, b.refuses = store.ErrTooLarge, store.ErrTooLarge }, 1, [3]int{0, 0, 3}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRouter()
			m := group(r, 3, 4)
			test.how(m[0], m[1], m[2])
			r.sendAll(t, 3, test.qos)
			if got := [3]int{len(m[0].got), len(m[1].got), len(m[2].got)}; got != test.taken {
				t.Errorf("taken %v, want %v", got, test.taken)
			}
			if later, err := r.send("a", "4", test.qos, nil); later != test.waits || err != nil {
				t.Errorf("later %t, want %t: %v", later, test.waits, err)
			}
		})
	}
}

func TestShareThatRefuses(t *testing.T) {
	r := newRouter()
	group(r, 1, 0)[0].refuses = store.ErrTooLarge
	if _, err := r.send("a", "x", 1, nil); !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
}

// When all on line are full the publisher waits at one of them, and goes on when that has
// room, in order.
func TestShareWaits(t *testing.T) {
	r := newRouter()
	var a answers
	members := group(r, 2, 1)
	for i := range 6 {
		name := fmt.Sprint(i)
		if later, err := r.send("a", name, 1, a.to(name)); (i < 2) == later || err != nil {
			t.Fatal(i, later, err)
		}
	}
	a.are(t)
	for _, c := range members {
		c.grow(2)
		var sequence []string
		for _, m := range c.got {
			sequence = append(sequence, string(m.Payload))
		}
		if len(sequence) != 3 || !slices.IsSorted(sequence) {
			t.Errorf("one member has %q", sequence)
		}
	}
	slices.Sort(a.log)
	a.are(t, "2 <nil>", "3 <nil>", "4 <nil>", "5 <nil>")
}

// A member that leaves before a message waits there is away: the message waits at another, which is on line.
func TestShareWaitsAtOneThatStays(t *testing.T) {
	r := newRouter()
	m := group(r, 2, 0)
	for _, c := range m {
		asked := 0
		c.leaves = func() {
			if asked++; asked == 2 && !m[0].away.Load() && !m[1].away.Load() {
				c.away.Store(true)
			}
		}
	}
	r.sendAll(t, 1, 1)
	for i, c := range m {
		if c.away.Load() == (c.waiting.Len() > 0) {
			t.Errorf("member %d: away %v, %d messages wait there", i, c.away.Load(), c.waiting.Len())
		}
	}
}

func TestShareRefusesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		var a answers
		group(r, 2, 0)
		_, _ = r.send("a", "0", 1, a.to("0"))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		a.are(t, "0 "+ErrTooLate.Error())
	})
}

func TestShareLeavesNothing(t *testing.T) {
	r := newRouter()
	members := group(r, 3, 9)
	r.Subscribe("$share/g/a", members[0], 0) // again
	if s := r.Stats(); s.Filters != 1 || s.Subscriptions != 1 {
		t.Errorf("%+v", s)
	}
	for i, c := range members {
		if !r.Unsubscribe("$share/g/a", c) || r.Unsubscribe("$share/g/a", c) {
			t.Errorf("member %d", i)
		}
	}
	if r.Unsubscribe("$share/none/a", members[0]) {
		t.Error("there was no such share")
	}
	if s := r.Stats(); s.Filters != 0 || s.Subscriptions != 0 || len(r.shares.byFilter) != 0 {
		t.Errorf("%+v and %d shares are left", s, len(r.shares.byFilter))
	}
	if got, err := r.Publish(&message.Message{Topic: "a", QoS: 1}, nil); got.Receivers != 0 || err != nil {
		t.Error(got, err)
	}
}

// A message that is on its way to a share when the last member leaves is as one that came
// after.
func TestShareWithoutMembers(t *testing.T) {
	r := newRouter()
	c := group(r, 1, 0)[0]
	g := r.shares.find("$share/g/a")
	r.Unsubscribe("$share/g/a", c)
	m := (&message.Message{Topic: "a", QoS: 1}).Clone()
	p := waits(0)
	if err := g.Deliver(m, 1, p); err != nil || p.claim != nil {
		t.Error(err)
	}
}

func TestSharedFiltersFindNothingRetained(t *testing.T) {
	r := newRouter()
	if _, err := r.Publish(&message.Message{Topic: "a", Payload: []byte("x"), Retain: true}, nil); err != nil {
		t.Fatal(err)
	}
	b := open(t, r, InboxConfig{}, 1, true, "$share/g/#", "$share/g/a")
	_, _ = r.send("a", "y", 1, nil) // by both, and never both by one
	b.takes(t, 0, "y", "y")
}

// Whoever had it passes a message on: who has ended, and who came meanwhile, are found.
func TestShareFindsWhoCameMeanwhile(t *testing.T) {
	r := newRouter()
	members := group(r, 2, 9)
	late := &consumer{receiver: receiver{room: 9}}
	g := r.shares.find("$share/g/a")
	stale := g.list()
	r.Subscribe("$share/g/a", late, 1)
	for _, c := range members { // ended as a session ends: it leaves, and then says so
		r.Unsubscribe("$share/g/a", c)
		c.gone.Store(true)
	}
	g.view.Store(stale)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for g.view.Load() == stale { // until somebody found out
			g.view.CompareAndSwap(stale, nil)
		}
	}()
	r.sendAll(t, 1, 1)
	<-gone
	if late.payloads() != "0" {
		t.Errorf("got %q", late.payloads())
	}
}

func TestElsewhere(t *testing.T) {
	r := newRouter()
	if r.OtherMemberOnline("$share/g/a", nil) {
		t.Error("there is no share")
	}
	m := group(r, 2, 9)
	m[0].away.Store(true)
	if r.OtherMemberOnline("$share/g/a", m[1]) || !r.OtherMemberOnline("$share/g/a", m[0]) {
		t.Error("only the second is on line")
	}
	r.Subscribe("$share/g/a", &receiver{}, 1)
	if !r.OtherMemberOnline("$share/g/a", m[1]) {
		t.Error("one that does not say is on line")
	}
}

// held takes all that a consumer got, as if it gave it back.
func (c *consumer) held() (list []Held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.got {
		list = append(list, Held{Message: m, QoS: c.qos[i]})
	}
	c.got, c.qos = nil, nil
	return append(list, c.waiting.Take(c.waiting.Len())...)
}

func TestRedeliver(t *testing.T) {
	for _, test := range []struct {
		name        string
		home        bool
		other       func(*consumer)
		here, there string // what the member that gives and the other have then
		answer      []string
	}{
		{"of one that ended", false, func(*consumer) {}, "", "0 1 2", []string{"2 <nil>"}},
		{"of one that ended, to one away", false, func(c *consumer) { c.away.Store(true) }, "", "0 1 2", []string{"2 <nil>"}},
		{"of one that ended, to a full one", false, func(c *consumer) { c.room = 1 }, "", "0", nil},
		{"of one that left", true, func(*consumer) {}, "", "0 1 2", []string{"2 <nil>"}},
		{"of one that left, to one away", true, func(c *consumer) { c.away.Store(true) }, "0 1", "", nil},
		{"of one that left, to a full one", true, func(c *consumer) { c.room = 1 }, "1", "0", nil},
		{"of one that left, when nobody can have it", true, func(c *consumer) { c.refuses = store.ErrTooLarge }, "0 1", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRouter()
			var a answers
			from := group(r, 1, 2)[0]
			for i := range 3 {
				_, _ = r.send("a", fmt.Sprint(i), 1, a.to(fmt.Sprint(i)))
			}
			other := &consumer{receiver: receiver{room: 9}}
			test.other(other)
			r.Subscribe("$share/g/a", other, 1)
			held := from.held()
			from.away.Store(true)
			var home Member
			if test.home {
				home = from
			} else {
				r.Unsubscribe("$share/g/a", from)
				from.gone.Store(true)
			}
			r.Redeliver(held, home)
			if from.payloads() != test.here || other.payloads() != test.there {
				t.Errorf("they have %q and %q, want %q and %q", from.payloads(), other.payloads(), test.here, test.there)
			}
			a.are(t, test.answer...)
		})
	}
}

// A member that has left, and whose room others have taken meanwhile, does not lose messages to take back another: that waits at
// a member on line.
func TestRedeliverWaitsWhereItIsOnLine(t *testing.T) {
	r := newRouter()
	home := group(r, 1, 2)[0]
	r.sendAll(t, 2, 1)
	other := group(r, 1, 0)[0]
	held := home.held()
	home.away.Store(true)
	home.room = 0
	r.Redeliver(held, home)
	if home.waiting.Len() != 0 || other.waiting.Len() != 2 {
		t.Errorf("%d wait at the one that left, %d at the other", home.waiting.Len(), other.waiting.Len())
	}
	other.away.Store(true)
	r.Redeliver(held[:1], home)
	if home.waiting.Len() != 1 {
		t.Error("nobody else is on line: it should be at the one that left")
	}
}

// What nobody has room for in time is dropped, and counted, and what has no share any more.
func TestRedeliverToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		b := open(t, r, InboxConfig{Messages: 1}, 1, false, "$share/g/a")
		c := group(r, 1, 3)[0]
		_, _ = r.send("a", "0", 1, nil)
		r.sendAll(t, 3, 1)
		r.Unsubscribe("$share/g/a", c)
		r.Redeliver(c.held(), nil)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := r.dropped(); got["queue_full"] == 0 || len(got) != 1 {
			t.Errorf("drops %v", got)
		}
		b.Close(nil)
		if got := r.dropped(); got["queue_full"]+got["session_ended"] != 4 {
			t.Errorf("drops %v", got)
		}
		if !maps.Equal(r.dropped(), map[string]uint64{"queue_full": 3, "session_ended": 1}) {
			t.Errorf("drops %v", r.dropped())
		}
	})
}

// What a backend has not read when it leaves comes to the others, and what it took and came
// to nobody.
func TestInboxGivesBack(t *testing.T) {
	r := newRouter()
	var a answers
	leaves := open(t, r, InboxConfig{Messages: 2}, 1, false, "$share/g/a", "b")
	for i := range 2 {
		_, _ = r.send("a", fmt.Sprint(i), 1, nil)
	}
	batch, _, err := leaves.Take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.send("b", "its own", 1, nil)
	_, _ = r.send("a", "2", 1, nil)
	_, _ = r.send("a", "3", 1, a.to("3"))
	stays := open(t, r, InboxConfig{}, 1, false, "$share/g/a")
	leaves.Close(batch[1:])
	if got := r.dropped(); !maps.Equal(got, map[string]uint64{"session_ended": 1}) {
		t.Errorf("drops %v, want its own", got)
	}
	stays.takes(t, 0, "1", "2", "3")
	a.are(t, "3 <nil>")

	m := (&message.Message{Topic: "a", QoS: 1}).Clone().With(&message.Delivery{Share: "$share/g/a"})
	if err := leaves.Deliver(m, 1, nil); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

// A copy that is given back has nothing of the member that had it.
func TestRedeliverForgetsTheMember(t *testing.T) {
	r := newRouter()
	c := group(r, 1, 9)[0]
	m := (&message.Message{Topic: "a", QoS: 1}).Clone().With(&message.Delivery{Share: "$share/g/a", Subscriptions: []uint32{7}})
	m.Retain = true
	r.Redeliver([]Held{{Message: m, QoS: 1}}, nil)
	got := c.got[0]
	if got.ID != m.ID || len(got.Delivery.Subscriptions) > 0 || got.Retain || ShareOf(got) != "$share/g/a" {
		t.Errorf("%+v, %+v", got, got.Delivery)
	}
}
