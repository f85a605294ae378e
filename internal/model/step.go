package model

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/route"
)

// Step asks a model about the messages of one user, a sink or the model's own feed, one behind the other. It has the windows of their devices, so
// it is not for more than one goroutine at a time.
type Step struct {
	model *Model // static

	windows *windows // nil without
	ends    []int    // of the inputs' elements, reused
}

// NewStep returns a step without windows. The caller closes it.
func (m *Model) NewStep() *Step {
	s := &Step{model: m}
	if w := m.config.Window; w.Messages > 0 {
		s.windows = newWindows(w.Messages, m.inputs.rowSize()/w.Messages, w.Keys)
	}
	return s
}

const (
	mostAtOnce  = 16 << 20 // bytes of rows that one step has at a time
	rowOverhead = 256      // what a row takes besides its elements, about
)

// Close forgets the windows.
func (s *Step) Close() {
	if s.windows != nil {
		s.model.counters.windows.Add(-int64(len(s.windows.byKey)))
		s.windows = nil
	}
}

// Infer asks the model about messages, which are in order, and sets the answers into their payloads. A message without an answer stays as it is.
// Each gets ResultProperty and, without an answer, ReasonProperty. Infer takes at most about twice the model's timeout. It returns an error only if ctx ends or
// the model is closed: then nothing is known of the messages.
func (s *Step) Infer(ctx context.Context, views []*route.View) error {
	for len(views) > 0 {
		asked := s.begin(ctx, views)
		if err := s.model.wait(ctx, asked); err != nil {
			return err
		}
		for n := range asked.answers {
			s.set(views[n], asked.answer(n))
		}
		views = views[len(asked.answers):]
	}
	return nil
}

// asked is what a step has asked about messages.
type asked struct {
	group   group
	rows    []*row   // one for each message, nil if nothing is asked about it
	answers []answer // for those about which nothing is asked
}

// answer returns the answer about a message, once the group is done.
func (a *asked) answer(n int) answer {
	if a.rows[n] != nil {
		return a.rows[n].answer
	}
	return a.answers[n]
}

// begin asks the model about as many of the messages as may be under way at a time, at least one.
func (s *Step) begin(ctx context.Context, views []*route.View) *asked {
	a := &asked{group: group{done: make(chan struct{})}}
	until := time.Now().Add(s.model.config.Timeout)
	var rows []*row
	for size := 0; len(views) > 0 && size < mostAtOnce; views = views[1:] {
		r, why := s.row(views[0])
		a.rows, a.answers = append(a.rows, r), append(a.answers, why)
		if r != nil {
			r.until, r.group = until, &a.group
			rows = append(rows, r)
			size += r.size + rowOverhead
		}
	}
	if len(rows) == 0 {
		close(a.group.done)
		return a
	}
	a.group.open.Store(int64(len(rows)))
	s.model.submit(ctx, rows)
	return a
}

// wait returns when all answers are there, and counts them.
func (m *Model) wait(ctx context.Context, a *asked) error {
	select {
	case <-a.group.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.life.Err() != nil {
		return errClosed
	}
	for n := range a.answers {
		m.counters.messages[a.answer(n).result].Add(1)
	}
	return nil
}

// row returns what is asked about a message, or why nothing is.
func (s *Step) row(v *route.View) (*row, answer) {
	m := s.model
	elements, ends, err := m.inputs.read(v, nil, s.ends[:0])
	s.ends = ends
	if err != nil {
		return nil, s.unfit(v, err)
	}
	r := &row{inputs: make([][]byte, len(m.inputs)), size: len(elements)}
	if s.windows == nil {
		from := 0
		for n, to := range ends {
			r.inputs[n], from = elements[from:to], to
		}
		return r, answer{}
	}
	key, err := m.per.Render(v)
	if err != nil {
		return nil, s.unfit(v, err)
	}
	w := s.remember(key, elements)
	if !s.windows.full(w) {
		return nil, answer{result: Filling, reason: fmt.Errorf("%d of %d messages are there", w.have, s.windows.messages)}
	}
	from := 0
	r.size = 0
	for n, to := range ends {
		r.inputs[n] = s.windows.appendPart(make([]byte, 0, (to-from)*s.windows.messages), w, from, to)
		r.size += len(r.inputs[n])
		from = to
	}
	return r, answer{}
}

// remember adds the elements of a message to its window.
func (s *Step) remember(key string, elements []byte) *window {
	before := len(s.windows.byKey)
	w, forgot := s.windows.add(key, elements)
	s.model.counters.windows.Add(int64(len(s.windows.byKey) - before))
	if forgot {
		s.model.counters.forgotten.Add(1)
	}
	return w
}

func (s *Step) unfit(v *route.View, err error) answer {
	if errors.Is(err, format.ErrAway) { // the schema of its payload cannot be had
		return answer{result: Unavailable, reason: err}
	}
	s.model.health.unfit.note(s.model.log, "messages lack what the model wants, and go on without it", fmt.Errorf("%s: %w", v.Message().Topic, err))
	return answer{result: Unfit, reason: err}
}

// set sets an answer into a message, or says why there is none.
func (s *Step) set(v *route.View, a answer) {
	if a.result == OK {
		if err := v.Set(s.model.path, a.value()); err != nil {
			a = answer{result: Unfit, reason: err}
		}
	}
	for _, p := range a.properties() {
		v.AddProperty(p.Key, p.Value)
	}
}

// value returns an answer as one value: that of the only output, or all by their names.
func (a *answer) value() any {
	if len(a.values) == 1 {
		return a.values[0]
	}
	return a.byName()
}

func (a *answer) byName() map[string]any {
	all := make(map[string]any, len(a.names))
	for n, name := range a.names {
		all[name] = a.values[n]
	}
	return all
}

// parsePath parses the path of the field of the payload that gets the answer.
func parsePath(text string) ([]string, error) {
	path, err := route.ParseField(text)
	if err != nil {
		return nil, fmt.Errorf("output.set: %w", err)
	}
	return path, nil
}
