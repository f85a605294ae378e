package store

import (
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
)

// Memory is a Store that lasts as long as the process. A session costs it one map entry,
// and its queue another while that is open or has contents.
type Memory struct {
	options  Options // static
	retained retained

	// Guarded by mu.
	mu      sync.Mutex
	records map[string]*Record
	queues  map[string]*queue
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory(o Options) *Memory {
	o = o.WithDefaults()
	return &Memory{
		options:  o,
		retained: newRetained(o.Retained, o.Account),
		records:  map[string]*Record{},
		queues:   map[string]*queue{},
	}
}

func (s *Memory) Queue(device string) (Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[device]
	if q == nil {
		q = &queue{store: s, device: device}
		s.queues[device] = q
	}
	return q, nil
}

// release forgets q, which is empty.
func (s *Memory) release(q *queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[q.device] == q {
		delete(s.queues, q.device)
	}
}

func (s *Memory) Save(r *Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[r.Device] = r
	return nil
}

func (s *Memory) Records(yield func(*Record) bool) error {
	for _, r := range s.allRecords() {
		if !yield(r) {
			break
		}
	}
	return nil
}

func (s *Memory) allRecords() []*Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Record, 0, len(s.records))
	for _, r := range s.records {
		all = append(all, r)
	}
	return all
}

func (s *Memory) Drop(device string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, device)
	if q := s.queues[device]; q != nil {
		q.letGo()
	}
	delete(s.queues, device)
	return nil
}

func (s *Memory) Retain(m *message.Message, now time.Time) error { return s.retained.put(m, now) }

func (s *Memory) Unretain(m *message.Message) (bool, error) { return s.retained.drop(m), nil }

func (s *Memory) Retained(w *Walk, found []*message.Message, looks int, now time.Time) ([]*message.Message, int, error) {
	found, looked := s.retained.find(w, found, looks, now)
	return found, looked, nil
}

func (s *Memory) Close() error { return nil }
