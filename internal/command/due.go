package command

import "time"

const (
	dueAtOnce = 256                   // commands that one call of expire handles
	dueApart  = 10 * time.Millisecond // shortest time between two calls
)

// arm sets the timer for what is due first. m is locked.
func (m *Manager) arm() {
	first, ok := m.byDue.Min()
	if !ok || m.closed || m.devices == nil || m.timerDue != 0 && m.timerDue <= first.due {
		return
	}
	m.timerDue = first.due
	wait := max(time.Until(time.UnixMilli(first.due)), dueApart)
	if m.timer == nil {
		m.timer = time.AfterFunc(wait, m.expire)
	} else {
		m.timer.Reset(wait)
	}
}

// expire ends commands whose time is over, and forgets those that were kept long enough. It handles a bounded number; the
// next call goes on.
func (m *Manager) expire() {
	m.mu.Lock()
	m.timerDue = 0
	now := time.Now().UnixMilli()
	var wake []string
	for range dueAtOnce {
		e, ok := m.byDue.Min()
		if !ok || e.due > now {
			break
		}
		if e.now.State.Ended() {
			m.remove(e)
			continue
		}
		m.apply(e, expire, nil)
		wake = append(wake, e.now.Device) // the next one may leave now
	}
	m.arm()
	m.commit()
	m.mu.Unlock()
	for _, device := range wake {
		m.devices.SendCommands(device)
	}
}
