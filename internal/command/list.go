package command

import "context"

// looksAtOnce bounds the commands that one hold of the lock looks at.
const looksAtOnce = 256

// Page selects commands: at most Limit, in the order of devices and IDs.
type Page struct {
	Device string // empty for all
	State  State
	After  Position
	Limit  int
}

// Position is that of a command in a listing; the zero value is before the first.
type Position struct {
	Device string
	ID     uint64
}

// List returns a page of commands, and the position to go on after; zero at the end.
func (m *Manager) List(ctx context.Context, p Page) (list []*Command, next Position, err error) {
	at, end := p.After, false
	if p.Device != "" && at.Device != p.Device {
		at = Position{Device: p.Device}
	}
	for !end {
		if list, at, end = m.list(&p, at, list); len(list) >= p.Limit && !end {
			return list, at, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, Position{}, err
		}
	}
	return list, Position{}, nil
}

// list looks at some commands behind at.
func (m *Manager) list(p *Page, at Position, list []*Command) (_ []*Command, last Position, end bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	looks, more := 0, false
	m.byDevice.Ascend(&entry{id: at.ID + 1, now: &Command{Request: &Request{Device: at.Device}}}, func(e *entry) bool {
		switch {
		case p.Device != "" && e.now.Device != p.Device:
			return false
		case looks == looksAtOnce || len(list) == p.Limit:
			more = true
			return false
		}
		looks++
		at = Position{e.now.Device, e.id}
		if e.safe != nil && (p.State == AnyState || e.safe.State == p.State) {
			list = append(list, e.view())
		}
		return true
	})
	return list, at, !more
}

// Changed returns commands that have changed since a place, in the order of their last changes, and the place to go on
// after. more reports whether there are further ones. It looks at a bounded number of commands, and returns those of the device
// and in the state; an empty device and AnyState stand for all. Place 0 is before all changes.
func (m *Manager) Changed(device string, state State, after uint64, limit int) (list []*Command, place uint64, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	looks := 0
	m.byPlace.Ascend(&entry{safe: &Command{Place: after + 1}}, func(e *entry) bool {
		if looks == looksAtOnce || len(list) == limit {
			more = true
			return false
		}
		looks++
		after = e.safe.Place
		if (device == "" || e.safe.Device == device) && (state == AnyState || e.safe.State == state) {
			list = append(list, e.view())
		}
		return true
	})
	return list, after, more
}

// Wait returns when something has changed since a place, or ctx ends. It blocks.
func (m *Manager) Wait(ctx context.Context, after uint64) error {
	for {
		last, shown := m.news()
		if last > after {
			return nil
		}
		select {
		case <-shown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// news returns the place of the last change, and a channel that is closed at the next one.
func (m *Manager) news() (last uint64, shown <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byPlace.Max(); ok {
		last = e.safe.Place
	}
	return last, m.shown
}
