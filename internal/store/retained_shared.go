package store

import (
	"fmt"

	"github.com/longline/longline/internal/message"
)

// In a cluster the retained messages are those of a log, to which all nodes append. A node changes its memory at once and appends the change;
// it applies what is in the log in the log's order, which decides between nodes. A change of another node is put off while one of this
// node for the same topic is not in the log yet, because that comes behind it.

// RetainedLog is the log of a cluster's retained messages.
type RetainedLog interface {
	// Append appends a change of this node. It is called in the order of the numbers, with a lock held, and must not block.
	Append(c Change)
}

// Change is what becomes of the retained message of a topic.
type Change struct {
	Topic   string
	Message *message.Message // is retained from now on, see Size; nil if nothing is
	Size    int              // if it is not 0, Message is the head of a message of that size

	// Place is the change's place in the log. In a removal that is appended it is the place of the message that is to be removed; 0 says
	// that whatever is there is removed.
	Place uint64

	// At is Message.At of the publication that was retained, or less: subscriptions that the other nodes know of since have missed it. Of a change of this node it is 0.
	At uint64

	// Number rises with the changes of this node. It is 0 if another node made the change.
	Number uint64
}

// unseen is the last change that this node made for a topic, until ApplyChange has it.
type unseen struct {
	number uint64
	place  uint64  // in the log; 0 until Settle
	missed *Change // the newest change of the topic that was put off
}

// append notes a change of this node, and appends it to the log. r is locked.
func (r *retained) append(c Change) {
	r.changes++
	c.Number = r.changes
	u := &unseen{number: c.Number}
	if before := r.unseen[c.Topic]; before != nil {
		u.missed = before.missed
	}
	r.unseen[c.Topic] = u
	r.shared.Append(c)
}

// clear removes what is retained for a topic: old, which may be nil, because another node may have one that is not here yet. r is locked.
func (r *retained) clear(name string, old *Kept) error {
	if old == nil && len(r.unseen) >= r.most.count {
		return &RetainedFull{OfNode, fmt.Sprintf("%d changes wait for the cluster's log", len(r.unseen))}
	}
	r.take(old)
	r.append(Change{Topic: name})
	return nil
}

// ApplyChange applies a change of the log. The caller applies all in the log's order. It may apply them again, from any place to the end, and may
// have applied a snapshot of a later place before.
func (s *Memory) ApplyChange(c Change) {
	r := &s.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.unseen[c.Topic]
	if u == nil {
		r.change(&c)
		return
	}
	if c.Number < u.number {
		if u.missed == nil || u.missed.Place <= c.Place {
			u.missed = &c
		}
		return
	}
	r.see(c.Topic, u, c.Place)
}

// Settle says that a change of this node has a place in the log, or that the log has a later change of the topic and will never have this one:
// then it is superseded.
func (s *Memory) Settle(c Change, superseded bool) {
	r := &s.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	switch u := r.unseen[c.Topic]; {
	case u == nil || u.number != c.Number:
	case superseded:
		r.see(c.Topic, u, 0)
	default:
		u.place = c.Place
	}
}

// SettleAll says that ApplyChange has had, or will not have, the changes up to a place.
func (s *Memory) SettleAll(through uint64) {
	r := &s.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, u := range r.unseen {
		if u.place > 0 && u.place <= through {
			r.see(name, u, u.place)
		}
	}
}

// see ends u, whose change has this place, and applies what was put off. r is locked.
func (r *retained) see(name string, u *unseen, place uint64) {
	delete(r.unseen, name)
	if k := r.get(name); k != nil {
		k.place = place
		if place > 0 && large(k.Message, r.inMemory) {
			k.unload(r.account)
		}
	}
	if u.missed != nil && u.missed.Place > place {
		r.change(u.missed)
	}
}

// change applies a change of the log, unless memory has a later one. r is locked.
func (r *retained) change(c *Change) {
	old := r.get(c.Topic)
	switch {
	case old != nil && old.place >= c.Place:
	case c.Message == nil:
		r.take(old)
	default:
		k := &Kept{Message: c.Message, place: c.Place, at: c.At, far: c.Number == 0}
		if c.Size > 0 {
			k.stored = uint32(c.Size - c.Message.Size())
		}
		r.set(k, old)
	}
}

// take removes k, which may be nil, from memory alone. r is locked.
func (r *retained) take(k *Kept) {
	if k != nil {
		r.byTopic.Delete(k)
		r.uncount(k)
	}
}

// RetainedTopics appends to names the topics behind one, in their order, that have a retained message of the log up to a place. It looks at
// no more messages than names has room for, and returns the topic of the last of them, which is empty at the end. It is for the removal of those that
// the log does not have any more.
func (s *Memory) RetainedTopics(names []string, behind string, through uint64) (_ []string, last string) {
	r := &s.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	looks := cap(names)
	r.byTopic.Ascend(&Kept{Message: &message.Message{Topic: behind}}, func(k *Kept) bool {
		if k.Topic == behind {
			return true
		}
		if looks == 0 {
			return false
		}
		looks--
		last = k.Topic
		if k.place > 0 && k.place <= through && r.unseen[k.Topic] == nil {
			names = append(names, k.Topic)
		}
		return true
	})
	return names, last
}
