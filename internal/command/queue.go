package command

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/wire"
)

// queue has the open commands of a device.
type queue struct {
	open      []*entry // in the order of their IDs
	turn      uint32   // counts connections
	flying    int      // commands that were taken on the present connection
	exclusive bool     // the one that flies is exclusive
}

// next reports whether the last command may be sent at once, as far as the queue knows.
func (q *queue) next(window int) bool {
	last := len(q.open) - 1
	return last < window && (last == 0 || !slices.ContainsFunc(q.open, func(e *entry) bool { return e.now.Exclusive }))
}

// enqueue adds an open command to its device's queue. m is locked.
func (m *Manager) enqueue(e *entry) {
	q := m.queues[e.now.Device]
	if q == nil {
		q = new(queue)
		m.queues[e.now.Device] = q
	}
	q.open = append(q.open, e)
	m.open.Add(1)
}

// dequeue removes a command that has ended. m is locked.
func (m *Manager) dequeue(e *entry) {
	q := m.queues[e.now.Device]
	q.land(e)
	i := slices.Index(q.open, e)
	if q.open = slices.Delete(q.open, i, i+1); len(q.open) == 0 {
		delete(m.queues, e.now.Device)
		delete(m.starved, e.now.Device)
	}
	e.held, e.refused = "", false
	m.open.Add(-1)
}

// land notes that a command is not in flight any more.
func (q *queue) land(e *entry) {
	if e.flying {
		e.flying = false
		q.flying--
		q.exclusive = false
	}
}

// Sending is a command that a loop is about to write.
type Sending struct {
	*Command
	Again bool // the device may have got it before
	turn  uint32
}

// Take returns the next command for the device on its present connection, if there is one and its turn has come. The caller writes
// it and calls Handed or Refused.
//
// The session calls Take on the loop of the device's connection, with the session locked.
func (m *Manager) Take(device string) (s Sending, ok bool) {
	if m.open.Load() == 0 {
		return s, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[device]
	switch {
	case q == nil:
		return s, false
	case m.store.Err() != nil: // nothing could be promised, and no end kept
		m.starved[device] = true
		m.retryLater()
		return s, false
	}
	defer m.commit()
	for {
		e, promises := m.choose(q)
		if e != nil {
			c := *e.now
			s = Sending{&c, c.attempt >= inHand, q.turn}
			c.Status = c.after(take) // in the store this is the same as before
			e.now = &c
			e.flying, e.held = true, ""
			q.flying++
			q.exclusive = c.Exclusive
			return s, true
		}
		if !promises || m.durable {
			return s, false
		}
		m.commit() // at once, in memory
	}
}

// choose returns the command that may leave now. It promises those that may leave when their promise is safe, and reports
// whether it did. m is locked; commit follows.
func (m *Manager) choose(q *queue) (_ *entry, promises bool) {
	now := time.Now().UnixMilli()
	soon := q.flying // in flight, or will be when their promises are safe
	for _, e := range q.open {
		switch {
		case e.flying, e.refused, e.now.Expires <= now:
			continue
		case e.safe == nil, q.exclusive, soon >= m.config.InFlight, soon > 0 && e.now.Exclusive:
			return nil, promises
		}
		if e.now.attempt == unsent {
			m.apply(e, promise, nil)
			e.promise = e.now.version
			promises = true
		}
		if soon == q.flying && (e.now.attempt == possible || e.safe.version >= e.promise) {
			return e, promises
		}
		if soon++; e.now.Exclusive {
			return nil, promises
		}
	}
	return nil, promises
}

// Handed says that a command was written to a connection of the session, which began at since, in Unix milliseconds. On the
// loop, without locks.
func (m *Manager) Handed(s Sending, session string, since int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Sent++
	e := m.entries[s.ID]
	if e == nil || e.now.State.Ended() {
		return
	}
	m.apply(e, hand, func(c *Command) {
		c.Attempts++
		c.note(Event{State: Sent, Time: time.Now().UnixMilli(), Attempt: c.Attempts, Session: session, Since: since})
	})
	m.commit()
}

// Refused says that a connection did not take a command, and why: nothing was written. The command is not offered to
// this connection again before Reconsider. On the loop, without locks.
func (m *Manager) Refused(s Sending, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[s.ID]
	if e == nil || e.now.State.Ended() {
		return
	}
	m.apply(e, refuse, nil)
	if q := m.queues[s.Device]; q.turn == s.turn {
		q.land(e)
		e.refused, e.held = true, why
	}
	m.commit()
}

// Answer gives a command the device's answer, and reports whether it was waited for. The answer is borrowed, except its
// strings. On the loop, without locks.
func (m *Manager) Answer(device string, id uint64, payload []byte, contentType string, refused wire.Error) (awaited bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	if e == nil || e.now.Device != device {
		return false
	}
	a := &Answer{Err: refused, Time: time.Now().UnixMilli()}
	if !m.apply(e, a.happened(), func(c *Command) {
		m.keep(a, payload, contentType)
		if c.State == Unknown {
			c.Late = a
			m.stats.Late++
		} else {
			c.Answer = a
			awaited = true
		}
	}) {
		m.stats.Ignored++
	}
	m.commit()
	return awaited
}

// maxText bounds the texts of an answer.
const maxText = 1024

// keep fills in an answer, as far as Config.MaxPayload allows.
func (m *Manager) keep(a *Answer, payload []byte, contentType string) {
	a.ContentType = shorten(contentType)
	a.Err.Code, a.Err.Reason = shorten(a.Err.Code), shorten(a.Err.Reason)
	if len(payload) > m.config.MaxPayload {
		a.Omitted = len(payload)
		m.stats.Omitted++
		return
	}
	a.Payload = bytes.Clone(payload)
}

// shorten copies a text, of which it leaves out the end if it is long.
func shorten(s string) string {
	return strings.ToValidUTF8(strings.Clone(s[:min(len(s), maxText)]), "")
}

// Cut says that the connection of the device has ended. Commands that were not answered are sent again on the next one. The
// session is locked.
func (m *Manager) Cut(device string) {
	if m.open.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[device]
	if q == nil {
		return
	}
	q.turn++
	for _, e := range q.open {
		q.land(e)
		e.refused, e.held = false, ""
	}
	delete(m.starved, device)
}

// Reconsider says that the connection of the device may take what it refused. It reports whether there is something to
// take. The session is locked.
func (m *Manager) Reconsider(device string) bool {
	if m.open.Load() == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[device]
	if q == nil {
		return false
	}
	found := false
	for _, e := range q.open {
		found = found || e.refused
		e.refused = false
	}
	return found
}
