package store

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// never is later than any Unix time in milliseconds.
const never = math.MaxInt64

// retained holds the last message of each topic that has one.
type retained struct {
	limits RetainedLimits // static

	// Guarded by mu.
	mu      sync.RWMutex
	byTopic *topic.Map[*message.Message]
	bytes   int
	soonest int64 // Unix milliseconds before which none expires
}

func newRetained(l RetainedLimits) retained {
	return retained{limits: l, byTopic: topic.NewMap[*message.Message](), soonest: never}
}

func (r *retained) put(m *message.Message, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.Payload) == 0 || m.Expired(now) {
		r.remove(m.Topic)
		return nil
	}
	err := r.room(m)
	if err != nil && now.UnixMilli() >= r.soonest {
		r.expire(now)
		err = r.room(m)
	}
	if err != nil {
		return err
	}
	if old, ok := r.byTopic.Get(m.Topic); ok {
		r.bytes -= old.Size()
	}
	r.byTopic.Set(m.Topic, m)
	r.bytes += m.Size()
	r.soonest = min(r.soonest, expiry(m))
	return nil
}

// room tells which limit m would pass.
func (r *retained) room(m *message.Message) error {
	count, bytes := r.byTopic.Len()+1, r.bytes+m.Size()
	if old, ok := r.byTopic.Get(m.Topic); ok {
		count, bytes = count-1, bytes-old.Size()
	}
	if count > r.limits.Count {
		return fmt.Errorf("%w: the limit is %d retained messages", ErrFull, r.limits.Count)
	}
	if bytes > r.limits.Bytes {
		return fmt.Errorf("%w: the limit is %d bytes of retained messages", ErrFull, r.limits.Bytes)
	}
	return nil
}

func (r *retained) remove(name string) {
	if old, ok := r.byTopic.Get(name); ok {
		r.bytes -= old.Size()
		r.byTopic.Delete(name)
	}
}

// expire removes all messages whose time is over.
func (r *retained) expire(now time.Time) {
	var over []string
	r.soonest = never
	r.byTopic.All(func(m *message.Message) bool {
		if m.Expired(now) {
			over = append(over, m.Topic)
		} else {
			r.soonest = min(r.soonest, expiry(m))
		}
		return true
	})
	for _, name := range over {
		r.remove(name)
	}
}

// match lists what a filter finds, and removes what it finds too late.
func (r *retained) match(filter string, now time.Time) []*message.Message {
	found, over := r.find(filter, now)
	if len(over) == 0 {
		return found
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range over {
		if at, _ := r.byTopic.Get(m.Topic); at == m {
			r.remove(m.Topic)
		}
	}
	return found
}

func (r *retained) find(filter string, now time.Time) (found, over []*message.Message) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.byTopic.Walk(filter, func(m *message.Message) bool {
		if m.Expired(now) {
			over = append(over, m)
		} else {
			found = append(found, m)
		}
		return true
	})
	return found, over
}

// expiry is the Unix milliseconds at which m expires by itself, or never.
func expiry(m *message.Message) int64 {
	if m.Expiry == 0 {
		return never
	}
	return m.Expiry
}
