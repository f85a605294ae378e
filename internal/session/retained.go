package session

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// What is retained may be more than a queue holds. So a subscription queues what there is room
// for and notes the others, which are sent one after the other when nothing else is to be sent.
// What was replaced or removed meanwhile is passed over: the subscription has brought what came
// in its place.

// found is what a subscription has found, as it has to be sent.
type found struct {
	sub  topic.Subscription
	list []note // never empty
}

// size is the bytes that f counts for.
func (f *found) size() (n int) {
	for i := range f.list {
		n += f.list[i].size()
	}
	return n
}

// note is a retained message by its name and number: the message itself may go meanwhile.
type note struct {
	topic string
	id    uint64
}

func (n *note) size() int { return int(unsafe.Sizeof(*n)) + len(n.topic) }

// maxFound bounds what all sessions have found, in bytes.
const maxFound = 64 << 20

// findings are what sessions have to send of what is retained. Few have anything, so it is kept
// apart from them. Its lock is taken after a session's.
type findings struct {
	// Safe from any goroutine.
	bytes atomic.Int64 // of all notes

	// Guarded by mu; the lists by their session's.
	mu        sync.Mutex
	bySession map[*Session][]found
}

// of returns the session's. It is locked.
func (f *findings) of(s *Session) []found {
	if f.bytes.Load() == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bySession[s]
}

// set puts all in the place of the session's, whose bytes it changes by change.
func (f *findings) set(s *Session, all []found, change int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes.Add(int64(change))
	switch {
	case len(all) == 0:
		delete(f.bySession, s)
	case f.bySession == nil:
		f.bySession = map[*Session][]found{s: all}
	default:
		f.bySession[s] = all
	}
}

// takeRetainedOnce takes the retained messages that match, each once.
func (s *Session) takeRetainedOnce(subs []topic.Subscription) {
	for i := range subs {
		s.takeRetained(&subs[i], func(name string) (taken bool) {
			return slices.ContainsFunc(subs[:i], func(sub topic.Subscription) bool { return topic.Match(sub.Filter, name) })
		})
	}
}

// takeRetained takes the retained messages that match, except those that skip, unless it is
// nil, says were taken before. The session is locked from the subscription on, so that
// nothing newer comes before those for which there is room.
func (s *Session) takeRetained(sub *topic.Subscription, skip func(name string) bool) {
	s.forgetRetained([]string{sub.Filter})
	all := &s.manager.findings
	var list []note
	bytes, room := 0, maxFound-int(all.bytes.Load())
	s.manager.note(s.manager.router.Retained(sub.Filter, func(m *message.Message) bool {
		switch {
		case skip != nil && skip(m.Topic), sub.NoLocal && m.Source == s.device: // [MQTT-3.8.3-3]
		case list == nil && !errors.Is(s.queueRetained(sub, m), router.ErrFull):
		case bytes >= room:
			s.drop(router.QueueFull, 1)
		default:
			list = append(list, note{strings.Clone(m.Topic), m.ID})
			bytes += list[len(list)-1].size()
		}
		return true
	}))
	if list != nil {
		all.set(s, append(all.of(s), found{*sub, list}), bytes)
	}
	s.wake()
}

// forgetRetained forgets what subscriptions to these filters have found.
func (s *Session) forgetRetained(filters []string) {
	all, bytes := s.manager.findings.of(s), 0
	if all == nil {
		return
	}
	all = slices.DeleteFunc(all, func(f found) bool {
		gone := slices.Contains(filters, f.sub.Filter)
		if gone {
			bytes += f.size()
		}
		return gone
	})
	s.manager.findings.set(s, all, -bytes)
}

// endRetained is forgetRetained for a session that ends: what it was not sent is counted.
func (s *Session) endRetained() {
	n, bytes := 0, 0
	for _, f := range s.manager.findings.of(s) {
		n += len(f.list)
		bytes += f.size()
	}
	if n > 0 {
		s.manager.findings.set(s, nil, -bytes)
		s.drop(router.SessionEnded, n)
	}
}

// sendRetained has flush send one more retained message, if nothing else is there to be sent and
// there is one. Locked.
func (s *Session) sendRetained() bool {
	if s.next != nil || s.waiting != nil || s.unsent() > 0 {
		return false
	}
	all := s.manager.findings.of(s)
	if all == nil {
		return false
	}
	f := &all[0]
	if m := s.retained(f.list[0]); m != nil && errors.Is(s.queueRetained(&f.sub, m), router.ErrFull) {
		return false // of what is in flight: the next acknowledgement makes room
	}
	bytes := f.list[0].size()
	if f.list = f.list[1:]; len(f.list) == 0 {
		all = all[1:]
	}
	s.manager.findings.set(s, all, -bytes)
	return true
}

// queueRetained queues a retained message, if there is room: nothing gives way to it. A message
// that can never be queued is counted.
func (s *Session) queueRetained(sub *topic.Subscription, m *message.Message) error {
	q := min(sub.QoS, m.QoS)
	if sub.ID != 0 {
		m = m.With(&message.Delivery{Subscriptions: []uint32{sub.ID}})
	}
	switch {
	case s.waiting != nil:
		return router.ErrFull
	case q > message.AtMostOnce:
	case s.unsent() == 0 && s.next == nil:
		s.next = m
		return nil
	case s.manager.shedding.Load():
		s.drop(router.Shed, 1)
		return nil
	}
	err := s.openQueue()
	if err == nil {
		err = s.put(m, q, false)
	}
	if errors.Is(err, store.ErrFull) {
		return router.ErrFull
	}
	if err != nil {
		s.drop(router.Refused, 1)
	}
	return nil
}

// retained is the message of a note, nil when it is not retained any more.
func (s *Session) retained(n note) (m *message.Message) {
	s.manager.note(s.manager.router.Retained(n.topic, func(now *message.Message) bool {
		if now.ID == n.id {
			m = now
		}
		return false
	}))
	return m
}
