package command

import (
	"fmt"
	"time"
)

// What was given to the store is shown to backends when a fence has passed. One fence is under way at a time: it is for all
// changes that came before it, and those that come meanwhile are for the next one.

// retryWait is how long after a failure the store is tried again.
const retryWait = time.Second

// commit shows the changes that are not safe when they are. m is locked.
func (m *Manager) commit() {
	switch {
	case len(m.unsafe) == 0 || m.fencing:
		return
	case !m.durable:
		m.pass(m.take())
		return
	}
	m.fencing = true
	changes := m.take()
	m.store.Commit(func(err error) { m.fenced(changes, err) })
}

func (m *Manager) take() []change {
	changes := m.unsafe
	m.unsafe = nil
	return changes
}

// fenced is called when a fence for changes has passed, or failed.
func (m *Manager) fenced(changes []change, err error) {
	m.mu.Lock()
	m.fencing = false
	var ready map[string]bool
	if err == nil {
		ready = m.pass(changes)
		m.commit()
	} else {
		m.fail(changes, err)
	}
	m.unlock()
	for device := range ready {
		m.devices.SendCommands(device)
	}
}

// pass shows changes that are safe. It returns the devices for which a promise has become safe. m is locked.
func (m *Manager) pass(changes []change) (ready map[string]bool) {
	for _, c := range changes {
		e := c.entry
		if c.done != nil {
			m.waiting--
		}
		switch {
		case e.moved && c.done != nil:
			m.answer(c.done, ErrMoved)
		case e.gone && c.done != nil && e.safe == nil:
			m.answer(c.done, ErrStore)
		case e.gone && c.done != nil:
			m.answer(c.done, ErrUnknown)
		case !e.gone:
			m.show(e, c.to)
			if e.promise != 0 && e.promise == c.to.version {
				if ready == nil {
					ready = make(map[string]bool)
				}
				ready[c.to.Device] = true
			}
			if c.done != nil {
				m.answer(c.done, nil)
			}
		}
	}
	m.announce()
	return ready
}

// announce wakes those who wait for changes. m is locked.
func (m *Manager) announce() {
	close(m.shown)
	m.shown = make(chan struct{})
}

// answer makes unlock call done with err: m must not be locked then, because whoever asked may go on to sessions. m is locked.
func (m *Manager) answer(done func(error), err error) {
	m.answers = append(m.answers, func() { done(err) })
}

// unlock unlocks m and gives the answers. Whatever may answer a request ends with it.
func (m *Manager) unlock() {
	answers := m.answers
	m.answers = nil
	m.mu.Unlock()
	for _, give := range answers {
		give()
	}
}

// show makes c what backends see of a command.
func (m *Manager) show(e *entry, c *Command) {
	if e.safe != nil {
		if e.safe.version >= c.version {
			return
		}
		m.byPlace.Delete(e)
	}
	e.safe = c
	m.byPlace.Set(e)
}

// fail handles changes that are not safe because the store fails. Commands that nobody was told of are removed; for the other
// changes, which the store keeps, the fence is tried again. m is locked.
func (m *Manager) fail(changes []change, err error) {
	err = fmt.Errorf("%w: %w", ErrStore, err)
	var again []change
	kept := make(map[*entry]bool) // a command is in the list once, or the list would grow while the store fails
	for _, c := range changes {
		e := c.entry
		if e.safe == nil && !e.gone {
			m.remove(e)
			m.stats.Refused++
		}
		if c.done != nil {
			m.waiting--
			if e.moved {
				err = ErrMoved
			}
			m.answer(c.done, err)
		}
		if !e.gone && !kept[e] && c.to.version == e.now.version { // what is older comes to nothing
			kept[e] = true
			again = append(again, change{entry: e, to: c.to})
		}
	}
	m.unsafe = append(again, m.unsafe...)
	m.retryLater()
}

// retryLater arms the timer that tries the store again. m is locked.
func (m *Manager) retryLater() {
	if m.retrying == nil && !m.closed {
		m.retrying = time.AfterFunc(retryWait, m.retry)
	}
}

// wokenAtOnce bounds the devices that one retry wakes.
const wokenAtOnce = 1000

// retry commits again, and wakes devices that got no commands while the store failed.
func (m *Manager) retry() {
	m.mu.Lock()
	m.retrying = nil
	m.commit()
	var wake []string
	if m.store.Err() == nil {
		for device := range m.starved {
			if len(wake) == wokenAtOnce {
				break
			}
			delete(m.starved, device)
			wake = append(wake, device)
		}
	}
	if len(m.starved) > 0 {
		m.retryLater()
	}
	m.mu.Unlock()
	for _, device := range wake {
		m.devices.SendCommands(device)
	}
}
