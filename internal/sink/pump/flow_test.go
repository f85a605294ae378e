package pump

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// model is a flow and what the world knows of it. Every order of steps is walked, from the beginning until no step leads to a state that is new.
type model struct {
	t    *testing.T
	plan []entryPlan
	flow flow
	feed *feed
	read int // how many entries of the plan were read

	fate    map[uint64]string // by place: absent while the entry is on its way
	burying []*item
	sending [][]*item // by lane
	gaveUp  []bool    // by lane: it has failed while the sink closes
	ops     []op
}

// entryPlan is an entry of the stream: its lane, or what it is instead of a record.
type entryPlan struct {
	lane   int
	pass   bool
	misfit bool
}

func newModel(t *testing.T, exact bool, lanes int, plan []entryPlan) *model {
	return &model{
		t: t, plan: plan, feed: newFeed(), fate: make(map[uint64]string), sending: make([][]*item, lanes), gaveUp: make([]bool, lanes),
		flow: flow{batch: Batch{Messages: 2, Bytes: 1 << 20}, ahead: Ahead{Messages: 3, Bytes: 1 << 20}, exact: exact, lanes: make([]lane, lanes)},
	}
}

// clone returns a copy of m that shares nothing with it that changes.
func (m *model) clone() *model {
	c, feed := *m, *m.feed
	feed.places.line = slices.Clone(feed.places.line)
	c.feed, c.fate, c.gaveUp, c.ops = &feed, maps.Clone(m.fate), slices.Clone(m.gaveUp), slices.Clip(m.ops)
	copies := make(map[*item]*item)
	all := func(items []*item) (cloned []*item) {
		for _, it := range items {
			if copies[it] == nil {
				one := *it
				one.feed, copies[it] = c.feed, &one
			}
			cloned = append(cloned, copies[it])
		}
		return cloned
	}
	c.flow.lanes = slices.Clone(m.flow.lanes)
	c.sending = make([][]*item, len(m.sending))
	for n := range c.sending {
		c.flow.lanes[n].line = all(m.flow.lanes[n].line)
		c.sending[n] = all(m.sending[n])
	}
	c.burying = all(m.burying)
	return &c
}

// op is one step that may happen.
type op struct {
	name string
	args []any
	do   func()
}

// options returns the steps that may happen now.
func (m *model) options() (all []op) {
	add := func(do func(), name string, args ...any) { all = append(all, op{name, args, do}) }
	if room, _ := m.flow.room(m.feed); room > 0 && m.read < len(m.plan) {
		add(m.readOne, "read")
	}
	for n := range m.sending {
		if m.sending[n] == nil {
			add(func() { m.begin(n) }, "send %d", n)
			continue
		}
		for done := range len(m.sending[n]) + 1 {
			if done == len(m.sending[n]) {
				add(func() { m.end(n, done, nil) }, "all %d", n)
				continue
			}
			add(func() { m.end(n, done, errors.New("later")) }, "later %d %d", n, done)
			add(func() { m.end(n, done, Refused(errors.New("no"))) }, "refused %d %d", n, done)
			if m.flow.exact {
				add(func() { m.end(n, 0, RefusedAt(done, errors.New("no"))) }, "none, refused %d %d", n, done)
			}
			add(func() { m.end(n, done, Misconfigured(errors.New("wrong"))) }, "misconfigured %d %d", n, done)
		}
	}
	if len(m.burying) > 0 {
		add(func() { m.buried(0) }, "buried first")
		add(func() { m.buried(len(m.burying) - 1) }, "buried last")
	}
	if !m.flow.paused {
		add(func() { m.flow.paused = true }, "pause")
	}
	if m.flow.held() {
		add(func() { m.flow.paused, m.flow.stopped = false, nil }, "resume")
	}
	if !m.flow.closing {
		add(func() { m.flow.closing = true }, "close")
	}
	return all
}

func (m *model) readOne() {
	e, place := m.plan[m.read], uint64(m.read+1)
	m.read++
	it := &item{Record: Record{Place: place}, feed: m.feed, size: 1}
	switch {
	case e.pass:
		m.flow.pass(m.feed, place, 1)
		m.fate[place] = "passed"
	case e.misfit:
		m.flow.misfit(it, place)
		m.burying = append(m.burying, it)
	default:
		m.flow.push(e.lane, it, place)
	}
}

func (m *model) begin(n int) {
	m.sending[n], _ = m.flow.next(n, time.Now())
	batch := m.sending[n]
	if len(batch) == 0 {
		m.sending[n] = nil
		m.check(m.flow.held() || m.flow.lanes[n].gaveUp || len(m.flow.lanes[n].line) == 0 || m.flow.exact && m.flow.burying > 0,
			"lane %d sends nothing, although it may", n)
		return
	}
	m.check(!m.flow.held(), "lane %d sends while the sink is held", n)
	m.check(!m.gaveUp[n], "lane %d sends while the sink closes, although it has failed", n)
	for i, it := range batch {
		m.check(m.fate[it.Place] == "", "place %d is sent, and it is %s", it.Place, m.fate[it.Place])
		for place := range it.Place {
			before := place > 0 && m.plan[place-1].lane == m.plan[it.Place-1].lane && !m.plan[place-1].misfit && !m.plan[place-1].pass
			same := slices.ContainsFunc(batch[:i], func(o *item) bool { return o.Place == place })
			m.check(!before || same || m.fate[place] != "" || m.isBurying(place), "place %d is sent before place %d, which is of the same lane", it.Place, place)
		}
	}
	if m.flow.exact {
		want := uint64(1)
		for m.fate[want] != "" || slices.ContainsFunc(batch, func(o *item) bool { return o.Place == want }) {
			want++
		}
		m.check(m.flow.upTo() == want, "the other side notes place %d, want %d", m.flow.upTo(), want)
	}
}

func (m *model) isBurying(place uint64) bool {
	return slices.ContainsFunc(m.burying, func(it *item) bool { return it.Place == place })
}

// end ends the batch of lane n as Pump.settle does.
func (m *model) end(n, done int, err error) {
	batch := slices.Clone(m.sending[n]) // confirm clears it
	m.sending[n] = nil
	m.flow.confirm(n, done)
	for _, it := range batch[:done] {
		m.fate[it.Place] = "confirmed"
	}
	switch {
	case IsRefused(err):
		at := refusedAt(err, len(batch)-done)
		it := m.flow.bury(n, at)
		m.check(it == batch[done+at], "another record is buried")
		m.burying = append(m.burying, it)
	case IsMisconfigured(err):
		m.flow.stopped = err
	}
	m.flow.back(n, err != nil && !IsRefused(err))
	m.gaveUp[n] = m.gaveUp[n] || m.flow.closing && err != nil && !IsRefused(err)
}

func (m *model) buried(i int) {
	it := m.burying[i]
	m.burying = slices.Delete(m.burying, i, i+1)
	m.flow.buried(it)
	m.fate[it.Place] = "buried"
}

func (m *model) check(ok bool, format string, args ...any) {
	m.t.Helper()
	if !ok {
		var steps []string
		for _, o := range m.ops {
			steps = append(steps, fmt.Sprintf(o.name, o.args...))
		}
		m.t.Fatalf("%s\nafter %s", fmt.Sprintf(format, args...), strings.Join(steps, ", "))
	}
}

// invariants checks what always holds.
func (m *model) invariants() {
	low := uint64(1)
	for low <= uint64(m.read) && m.fate[low] != "" {
		low++
	}
	if m.read > 0 {
		m.check(m.feed.places.low == low, "the place is %d, want %d", m.feed.places.low, low)
	}
	m.check(m.feed.places.messages <= m.flow.ahead.Messages, "%d messages are in memory", m.feed.places.messages)
	m.check(m.flow.burying == len(m.burying), "%d records are on their way to the dead letters, want %d", m.flow.burying, len(m.burying))
	if !m.flow.closing {
		return
	}
	over := true
	for n := range m.sending {
		over = over && m.flow.over(n)
		m.check(!m.flow.over(n) || m.sending[n] == nil, "lane %d is over while it sends", n)
	}
	if failed := slices.ContainsFunc(m.flow.lanes, func(l lane) bool { return l.gaveUp }); over && !failed && !m.flow.held() {
		m.check(m.feed.places.messages == 0, "all lanes are over, and %d messages are on their way", m.feed.places.messages)
	}
}

// signature names the state.
func (m *model) signature() string {
	var b strings.Builder
	f := &m.flow
	fmt.Fprint(&b, m.read, f.paused, f.stopped != nil, f.closing, m.fate)
	for n, l := range f.lanes {
		fmt.Fprint(&b, ";", l.sending, l.again, l.gaveUp, m.sending[n] != nil)
		for _, it := range l.line {
			fmt.Fprint(&b, " ", it.Place)
		}
	}
	for _, it := range m.burying {
		fmt.Fprint(&b, " b", it.Place)
	}
	return b.String()
}

// Every order of reading, sending, confirming, failing, refusing, pausing and closing.
func TestModel(t *testing.T) {
	a, b := entryPlan{lane: 0}, entryPlan{lane: 1}
	pass, misfit := entryPlan{pass: true}, entryPlan{misfit: true}
	for _, c := range []struct {
		exact bool
		lanes int
		plan  []entryPlan
	}{
		{false, 2, []entryPlan{a, b, a}},
		{false, 2, []entryPlan{a, pass, b, misfit, pass, a}},
		{true, 1, []entryPlan{a, pass, a, misfit, a}},
		{true, 1, []entryPlan{pass, a, a, pass, a}},
	} {
		states := walk(newModel(t, c.exact, c.lanes, c.plan))
		t.Logf("%+v: %d states", c, states)
	}
}

// walk makes all steps from all states, each state once, and returns how many states there are.
func walk(begin *model) int {
	seen := make(map[string]bool)
	for todo := []*model{begin}; len(todo) > 0; {
		m := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for next := range m.options() {
			c := m.clone()
			c.do(c.options()[next])
			c.invariants()
			if s := c.signature(); !seen[s] {
				seen[s] = true
				todo = append(todo, c)
			}
		}
	}
	return len(seen)
}

func (m *model) do(o op) {
	m.ops = append(m.ops, o)
	o.do()
}

// A batch waits for others, until it is full, it has waited, it is sent again, or the sink closes.
func TestBatches(t *testing.T) {
	now := time.Now()
	push := func(f *flow, fd *feed, n, size int) {
		for range n {
			place := fd.places.next() + 1
			f.push(0, &item{Record: Record{Place: place}, feed: fd, size: size, since: now}, place)
		}
	}
	for name, c := range map[string]struct {
		messages, size int
		later          time.Duration
		change         func(f *flow)
		want           int
		wait           time.Duration
	}{
		"nothing":        {0, 0, 0, nil, 0, 0},
		"waits":          {2, 1, 4 * time.Millisecond, nil, 0, time.Millisecond},
		"has waited":     {2, 1, 5 * time.Millisecond, nil, 2, 0},
		"full":           {3, 1, 0, nil, 3, 0},
		"more than full": {5, 1, 0, nil, 3, 0},
		"bytes":          {2, 60, 0, nil, 1, 0},
		"one is larger":  {1, 1000, 0, nil, 1, 0},
		"again":          {2, 1, 0, func(f *flow) { f.lanes[0].sending = 2; f.confirm(0, 1); f.back(0, true) }, 1, 0},
		"closing":        {1, 1, 0, func(f *flow) { f.closing = true }, 1, 0},
		"paused":         {3, 1, 0, func(f *flow) { f.paused = true }, 0, 0},
		"under way":      {3, 1, 0, func(f *flow) { f.lanes[0].sending = 1 }, 0, 0},
	} {
		f := &flow{batch: Batch{Messages: 3, Bytes: 100, Wait: 5 * time.Millisecond}, lanes: make([]lane, 1)}
		push(f, newFeed(), c.messages, c.size)
		if c.change != nil {
			c.change(f)
		}
		batch, wait := f.next(0, now.Add(c.later))
		if len(batch) != c.want || wait != c.wait {
			t.Errorf("%s: %d records, wait %v; want %d, %v", name, len(batch), wait, c.want, c.wait)
		}
	}
}

// Pauses are random, up to a bound that doubles.
func TestPauses(t *testing.T) {
	r := Retry{First: 100 * time.Millisecond, Most: time.Second}
	for failures, want := range []time.Duration{1: 100, 200, 400, 800, 1000, 1000, 30: 1000} {
		if want == 0 {
			continue
		}
		if got := r.pause(failures, 1); got != want*time.Millisecond {
			t.Errorf("%d failures: %v", failures, got)
		}
		if got := r.pause(failures, 0.5); got != want*time.Millisecond/2 {
			t.Errorf("%d failures: %v", failures, got)
		}
	}
}
