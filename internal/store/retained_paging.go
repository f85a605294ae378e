package store

import (
	"slices"

	"github.com/longline/longline/internal/message"
)

// A retained message that is larger than RetainedLimits.InMemory leaves memory once the medium has it, but for its head. Like the messages of
// queues (paging.go) it is read back by pages. What was read is not kept: it belongs to whoever asked for it.

// unsaved is a large retained message of which the medium may not know yet.
type unsaved struct {
	number uint64
	mark   uint64 // the medium has it when it has so many operations
	kept   *Kept
}

const defaultInMemory = 1 << 10

// OnMedium reports whether a message leaves memory.
func (l *RetainedLimits) OnMedium(m *message.Message) bool {
	return large(m, orDefault(l.InMemory, defaultInMemory))
}

// large reports whether a message has more than most bytes without its topic.
func large(m *message.Message, most int) bool {
	n := m.Size()
	return n-len(m.Topic) > most && n <= mostStored
}

// mostStored is the size of the largest message that leaves memory. The operation of a larger one may be more than the medium takes.
const mostStored = 8 << 20

// unloadLater notes that k, which was retained last, leaves memory when the medium has it. r is locked.
func (r *retained) unloadLater(k *Kept) {
	if r.medium != nil && large(k.Message, r.inMemory) {
		appended, _ := r.medium.Progress()
		r.unsaved.Set(unsaved{k.number, appended, k})
	}
}

// unloadAtOnce bounds the time for which UnloadRetained has the lock.
const unloadAtOnce = 64

// UnloadRetained lets go of the large retained messages that the medium has. The medium calls it each time when it has applied operations,
// without locks.
func (s *Memory) UnloadRetained() {
	if s.medium == nil {
		return
	}
	_, applied := s.medium.Progress()
	for s.retained.unload(applied) {
	}
}

// unload lets go of some messages, and reports whether there may be more.
func (r *retained) unload(applied uint64) (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range unloadAtOnce {
		x, ok := r.unsaved.Min()
		if !ok || x.mark > applied {
			return false
		}
		r.unsaved.Delete(x)
		x.kept.unload(r.account)
	}
	return true
}

// unload replaces the message by its head.
func (k *Kept) unload(account *message.Account) {
	whole := k.Message
	k.Message = whole.Head()
	k.stored = uint32(whole.Size() - k.Message.Size())
	k.Hold(account)
	whole.Release(account)
}

// restore is put for an operation of the journal: m is retained. If size is not 0, m is the head of a message of that size. A large message
// is not kept, because the medium has what is applied.
func (r *retained) restore(m *message.Message, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &Kept{Message: m}
	if size == 0 && r.medium != nil && large(m, r.inMemory) {
		size, k.Message = m.Size(), m.Head()
	}
	if size > 0 {
		k.stored = uint32(size - k.Message.Size())
	}
	r.set(k, r.get(m.Topic))
}

// RetainedPage names the first messages of found that are on the medium alone, as many as a page has room for. There is at least one.
func RetainedPage(found []Kept) *Page {
	p, bytes := new(Page), 0
	for _, k := range found {
		if !k.Stored() {
			continue
		}
		bytes += k.Size()
		if n := len(p.Retained); n == pageMessages || n > 0 && bytes > pageBytes {
			break
		}
		p.Retained = append(p.Retained, k)
	}
	return p
}

// Bytes returns how many bytes the retained messages of a page have.
func (p *Page) Bytes() (n int) {
	for _, k := range p.Retained {
		n += k.Size()
	}
	return n
}

// Whole returns k with all that belongs to it. If it has to be read and is not in p, which may be nil, ok is false. If it could not be read,
// or is not retained any more, m is nil.
func (p *Page) Whole(k Kept) (m *message.Message, ok bool) {
	if !k.Stored() {
		return k.Message, true
	}
	if p == nil {
		return nil, false
	}
	if i := p.find(k); i >= 0 {
		return p.Messages[i], true
	}
	return nil, false
}

// find returns the place of k in a page of retained messages, or -1.
func (p *Page) find(k Kept) int {
	return slices.IndexFunc(p.Retained, func(x Kept) bool { return x.number == k.number })
}

// Unreadable reports whether k is in the page and could not be read.
func (p *Page) Unreadable(k Kept) bool {
	i := p.find(k)
	return i >= 0 && p.Failed(i) != nil
}

// FailAll notes that no message of a page of retained ones can be read.
func (p *Page) FailAll(why error) {
	p.Messages = make([]*message.Message, len(p.Retained))
	for i := range p.Retained {
		p.Fail(i, why)
	}
}

// LoadRetained implements Store.
func (s *Memory) LoadRetained(p *Page) (lost int) { return s.retained.load(p) }

func (r *retained) load(p *Page) (lost int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, k := range p.Retained {
		now, m := r.current(k), p.Messages[i]
		switch {
		case now == nil:
			p.Messages[i] = nil
		case p.Failed(i) != nil:
		case m == nil || m.ID != k.ID:
			p.Messages[i] = nil
			if r.shared == nil { // otherwise another node has replaced it
				r.remove(now)
				lost++
			}
		}
	}
	return lost
}
