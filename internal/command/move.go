package command

import (
	"errors"

	"github.com/longline/longline/internal/message"
)

// In a cluster a device's commands are at the node that has the device. They are in the store as values of the device, so that a
// node that claims the device gets them with the claim (Restore), and the node that had it forgets them (Forget). For a moment both may have them;
// what the former node changes then, the store refuses.

// ErrMoved says that another node has the device now. What was asked may have been done there: with an idempotency key it can be asked again.
var ErrMoved = errors.New("the device has moved to another node meanwhile; the command may exist or have changed there")

// InCluster says that devices move between this node and others. It is called before Start. idle is called when the last command of a device is
// gone, or its first one was refused, with the manager locked: it must not block, nor call the manager.
func (m *Manager) InCluster(idle func(device string)) { m.idle = idle }

// tellIdle calls idle if there are no commands to the device. m is locked.
func (m *Manager) tellIdle(device string) {
	if m.idle != nil && !m.keeps(device) {
		m.idle(device)
	}
}

// Keeps reports whether there are commands to the device here, open or ended.
func (m *Manager) Keeps(device string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keeps(device)
}

func (m *Manager) keeps(device string) (found bool) {
	m.eachOf(device, func(*entry) bool {
		found = true
		return false
	})
	return found
}

// eachOf calls f for each command to a device, in the order of their IDs, until f returns false. m is locked.
func (m *Manager) eachOf(device string, f func(*entry) bool) {
	m.byDevice.Ascend(&entry{now: &Command{Request: &Request{Device: device}}}, func(e *entry) bool { return e.now.Device == device && f(e) })
}

// Restore takes the commands of a device that this node has claimed: values of the store by their keys, as the node before has left them. What
// was here of the device is stale, and forgotten. Whoever watches commands sees them as changed. The session is not there yet, or not
// connected.
func (m *Manager) Restore(device string, values map[string][]byte) {
	m.mu.Lock()
	defer m.unlock()
	m.forget(device)
	for _, c := range m.parseAll(device, values) {
		if c.Device != device || m.entries[c.ID] != nil {
			m.lose(device, keyOf(c.ID, lifeWord), errors.New("it is no command of the device"))
			continue
		}
		m.last = max(m.last+1, message.NextID()) // places are this node's own
		c.version, c.Place = m.last, m.last
		e := &entry{id: c.ID, now: c}
		m.add(e)
		m.show(e, c)
	}
	m.forgetOldest()
	m.arm()
	m.announce()
}

// Forget forgets the commands of a device that another node has claimed. Requests that wait get ErrMoved when the fence has passed. The caller closes the
// connection of the device before, if there is one.
func (m *Manager) Forget(device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(device)
}

// forget is Forget, locked.
func (m *Manager) forget(device string) {
	var all []*entry
	m.eachOf(device, func(e *entry) bool {
		all = append(all, e)
		return true
	})
	for _, e := range all {
		e.moved = true
		m.leave(e)
	}
}

// The bounds of the ended commands of one device in a cluster: a claim has to bring them all.
const (
	mostEndedOf      = 100
	mostEndedBytesOf = 1 << 20
)

// forgetOldestOf forgets the oldest ended commands of a device beyond their bounds, but never the last one. m is locked; commit follows.
func (m *Manager) forgetOldestOf(device string) {
	if m.idle == nil {
		return
	}
	var ended []*entry
	bytes := 0
	m.eachOf(device, func(e *entry) bool {
		if e.now.State.Ended() {
			ended = append(ended, e)
			bytes += e.size
		}
		return true
	})
	for len(ended) > 1 && (len(ended) > mostEndedOf || bytes > mostEndedBytesOf) {
		oldest := 0
		for i, e := range ended {
			if earlier(e, ended[oldest]) {
				oldest = i
			}
		}
		bytes -= ended[oldest].size
		m.remove(ended[oldest])
		m.stats.Forgotten++
		ended = append(ended[:oldest], ended[oldest+1:]...)
	}
}
