package store

import "github.com/longline/longline/internal/message"

// Load gives the store what a medium has of one device, while the store is in use: the device's record with Received, and what its queue has
// to know of each message, in the order of numbers. messages are those of them that were read, as many as owed, nil for the others; or
// none. The store has nothing of the device, and nobody uses its queue meanwhile. The store keeps r's list of subscriptions.
func (s *Memory) Load(r *Record, owed []Owed, messages []*message.Message) {
	q := s.load(r, owed)
	if q == nil {
		return
	}
	p := &Page{Device: r.Device, queue: q}
	for i, m := range messages {
		if m != nil {
			p.Numbers, p.Messages = append(p.Numbers, owed[i].Number), append(p.Messages, m)
		}
	}
	if len(p.Numbers) > 0 {
		q.Load(p)
	}
}

// load returns the device's queue, or nil if it is empty.
func (s *Memory) load(r *Record, owed []Owed) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := new(saved)
	x.set(r)
	for _, id := range r.Received {
		x.more().received.Add(id)
	}
	s.records[r.Device] = x
	if len(owed) == 0 {
		return nil
	}
	q := s.queue(r.Device)
	for i := range owed {
		q.restore(&owed[i])
	}
	return q
}
