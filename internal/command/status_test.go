package command

import (
	"fmt"
	"testing"
)

// The model: one command, a node that keeps it, and a device that remembers its answers, joined by a connection that loses what is
// on its way when it is cut. TestModel walks every order of what may happen to them, and checks after each step that the
// node has told nothing that is not true.

// copyOf is what a node knows of the command; the zero value knows nothing.
type copyOf struct {
	there   bool
	promise bool // it has the promise that the node made last
	status  Status
}

// model is a state of the whole. It is comparable, so that the walk finds states that it has seen.
type model struct {
	node   copyOf    // in memory
	unsafe [3]copyOf // given to the store and not synced, oldest first
	disk   copyOf    // synced, and what backends were told last
	asked  bool      // it was created once

	connected bool
	taken     hold // a loop has the command in hand, to write it to the present connection
	old       hold // the loop of an older connection has it in hand
	deaf      bool // the device does not read that connection any more
	written   bool // it was written to the present connection, or refused by it

	down hold    // a call is on its way
	up   outcome // an answer is

	device     outcome // what the device remembers of it
	executions int     // since the device started
	got        bool    // the device has ever got the call
	did        outcome // what the device has ever answered
	gotTwice   bool    // it got a call without again although it had got it
}

// hold is a call in somebody's hand, which may say again.
type hold uint8

const (
	nothing hold = iota
	first
	again
)

// outcome is an answer of the device, or a set of them.
type outcome uint8

const (
	none outcome = 0
	good outcome = 1
	bad  outcome = 2
)

// happen is everything that may happen next, with the rules of the node as Manager has them.
func (m model) happen() map[string]model {
	next := make(map[string]model)
	add := func(name string, change func(*model)) {
		n := m
		change(&n)
		if n != m {
			next[name] = n
		}
	}
	if !m.asked {
		add("create", func(n *model) {
			n.asked, n.node = true, copyOf{there: true, status: Status{State: Queued}}
			n.save()
		})
		return next
	}
	add("sync", func(n *model) { n.sync() })
	if m.unsafe[2].there { // the walk goes on when something is synced
		return next
	}
	if !m.connected {
		add("connect", func(n *model) { n.connected, n.deaf = true, m.old != nothing })
	}
	open := m.disk.there && m.node.there && !m.node.status.State.Ended()
	if m.connected && open && m.taken == nothing && !m.written {
		switch {
		case m.node.status.attempt == unsent:
			add("promise", func(n *model) {
				n.disk.promise, n.node.promise = false, true
				for i := range n.unsafe {
					n.unsafe[i].promise = false
				}
				n.apply(promise)
			})
		case m.node.status.attempt == possible || m.disk.promise:
			add("take", func(n *model) {
				n.taken = first
				if m.node.status.attempt >= inHand {
					n.taken = again
				}
				n.node.status = n.node.status.after(take)
			})
		}
	}
	if m.taken != nothing {
		add("hand", func(n *model) { n.taken, n.written, n.down = nothing, true, m.taken; n.apply(hand) })
		add("refuse", func(n *model) { n.taken, n.written = nothing, true; n.apply(refuse) })
	}
	if m.old != nothing {
		add("hand to an older connection", func(n *model) { n.old = nothing; n.apply(hand) })
		add("hand to an older connection which the device still reads", func(n *model) {
			if !m.deaf {
				n.down, n.old = m.old, nothing
				n.apply(hand)
			}
		})
		add("refuse on an older connection", func(n *model) { n.old = nothing; n.apply(refuse) })
	}
	if m.down != nothing {
		for name, answer := range map[string]outcome{"execute": good, "execute and fail": bad} {
			add(name, func(n *model) {
				n.down, n.gotTwice, n.got = nothing, m.gotTwice || m.got && m.down == first, true
				if m.device == none {
					n.device, n.did = answer, m.did|answer
					n.executions++
				}
				if m.connected {
					n.up = n.device
				}
			})
		}
	}
	if m.up != none {
		add("answer", func(n *model) {
			n.up = none
			n.apply(map[outcome]event{good: succeed, bad: fail}[m.up])
		})
	}
	if m.connected {
		add("cut", func(n *model) { n.cut() })
	}
	add("restart the device", func(n *model) { n.cut(); n.down, n.device, n.executions = nothing, none, 0 })
	add("kill the node", func(n *model) { n.restart() })
	add("end the node and start it", func(n *model) { n.end() })
	add("expire", func(n *model) { n.apply(expire) })
	add("cancel", func(n *model) { n.apply(cancel) })
	return next
}

// apply makes an event happen at the node, which saves what has changed.
func (m *model) apply(e event) {
	if after := m.node.status.after(e); after != m.node.status {
		m.node.status = after
		m.save()
	}
}

func (m *model) save() {
	for i := range m.unsafe {
		if !m.unsafe[i].there {
			m.unsafe[i] = m.node
			return
		}
	}
}

// sync makes the oldest change that is not safe safe.
func (m *model) sync() {
	if m.unsafe[0].there {
		m.disk = m.unsafe[0]
		copy(m.unsafe[:], m.unsafe[1:])
		m.unsafe[2] = copyOf{}
	}
}

// cut ends the connection. A loop that has the command in hand finds out later.
func (m *model) cut() {
	if m.taken != nothing {
		m.old, m.taken, m.deaf = m.taken, nothing, false
	}
	m.connected, m.written, m.down, m.up = false, false, nothing, none
}

// end ends the node in order: devices leave, and all is synced.
func (m *model) end() {
	m.cut()
	m.old = nothing
	m.apply(refuse)
	m.apply(withdraw)
	if m.node.there {
		m.disk = m.node
	}
	m.restart()
}

// restart is a node that starts on what is synced.
func (m *model) restart() {
	m.connected, m.written, m.taken, m.old, m.down, m.up = false, false, nothing, nothing, nothing, none
	m.node, m.unsafe = m.disk, [3]copyOf{}
	m.node.status = m.node.status.restored()
}

// check returns what is wrong with a step from before to m.
func (m model) check(before model) string {
	was, is := before.disk.status, m.disk.status
	switch {
	case before.disk.there && !m.disk.there, is.State < was.State, was.State.Ended() && is.State != was.State, was.late && !is.late:
		return "what was told moved back"
	case before.disk.there && !m.node.there:
		return "the node has forgotten what it told"
	case m.node.there && m.node.status.State < is.State:
		return "the node knows less than it told"
	case is.State == Succeeded && m.did&good == 0, is.State == Failed && m.did&bad == 0:
		return "the device did not answer that"
	case (is.State == Expired || is.State == Cancelled) && m.got:
		return "the device got what was told not to be sent"
	case is.late && m.did == none:
		return "a late answer that the device did not give"
	case m.executions > 1:
		return "the device did it twice"
	case m.gotTwice:
		return "a repeated call does not say again"
	case m.got && !m.disk.there:
		return "it was sent before it was safe"
	}
	return ""
}

func TestModel(t *testing.T) {
	type step struct {
		from model
		name string
	}
	var start model
	seen := map[model]step{start: {}}
	reached := make(map[State]bool)
	for queue := []model{start}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		reached[at.disk.status.State] = true
		for name, next := range at.happen() {
			_, known := seen[next]
			if !known {
				seen[next] = step{at, name}
				queue = append(queue, next)
			}
			if why := next.check(at); why != "" {
				path := name
				for m := at; m != start; m = seen[m].from {
					path = seen[m].name + "\n" + path
				}
				t.Fatalf("%s:\n%s\n%+v", why, path, next)
			}
		}
	}
	for s := Queued; s < numStates; s++ {
		if !reached[s] {
			t.Errorf("no order of events leads to %v", s)
		}
	}
	t.Log(len(seen), "states")
}

// An open command can always still end with the truth: whatever happened, when the node syncs, the device connects and nothing
// fails any more, the command is answered.
func TestModelAnswers(t *testing.T) {
	for s := range all() {
		if !s.disk.there || s.disk.status.State.Ended() || s.node.status.State.Ended() {
			continue
		}
		m := s
		for _, name := range []string{"sync", "sync", "sync", "cut", "refuse on an older connection", "sync", "connect",
			"promise", "sync", "take", "hand", "sync", "execute", "answer", "sync"} {
			if next, ok := m.happen()[name]; ok {
				m = next
			}
		}
		if state := m.disk.status.State; state != Succeeded && state != Failed {
			t.Fatalf("%v from %+v to %+v", state, s, m)
		}
	}
}

// all are the states that the model can reach.
func all() map[model]bool {
	seen := map[model]bool{{}: true}
	for queue := []model{{}}; len(queue) > 0; queue = queue[1:] {
		for _, next := range queue[0].happen() {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return seen
}

// The rules, one by one.
func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		events []event
		want   Status
	}{
		{nil, Status{Queued, unsent, false}},
		{[]event{expire}, Status{Expired, unsent, false}},
		{[]event{cancel, succeed}, Status{Cancelled, unsent, false}},
		{[]event{succeed}, Status{Queued, unsent, false}}, // nobody asked
		{[]event{promise, cancel}, Status{Cancelled, promised, false}},
		{[]event{promise, take, refuse, expire}, Status{Expired, promised, false}},
		{[]event{promise, take, refuse, withdraw, expire}, Status{Expired, unsent, false}},
		{[]event{promise, take, cancel, hand}, Status{Unknown, inHand, false}},
		{[]event{promise, take, hand, expire, fail, succeed}, Status{Unknown, possible, true}},
		{[]event{promise, take, hand, succeed, fail, cancel}, Status{Succeeded, possible, false}},
		{[]event{promise, take, hand, hand, fail}, Status{Failed, possible, false}},
	} {
		s := Status{State: Queued}
		for _, e := range tt.events {
			s = s.after(e)
		}
		if s != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.events, s, tt.want)
		}
	}
	if fmt.Sprint(Unknown) != "unknown" {
		t.Error(Unknown)
	}
}
