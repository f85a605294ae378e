package store

import (
	"math"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// never is later than any Unix time in milliseconds.
const never = math.MaxInt64

// expireAtOnce is how many expired messages one change of the retained messages removes at most.
const expireAtOnce = 64

// retained has the last retained message of each topic.
type retained struct {
	most    usage            // static
	account *message.Account // static
	log     log              // static

	// Guarded by mu, which is held for a bounded number of messages.
	mu       sync.RWMutex
	byTopic  *btree.BTreeG[kept]             // in the order of topic.Compare
	byExpiry *btree.BTreeG[*message.Message] // those that expire
	bytes    int
	newest   uint64 // number of the message that was retained last
	shares   shares
}

// kept is a retained message with its number, which rises with each that is retained. IDs do not rise from one life of a node to the
// next when its clock is set back, or it gets another number.
type kept struct {
	*message.Message
	number uint64
}

func newRetained(l RetainedLimits, account *message.Account, log log) retained {
	return retained{
		most:    usage{l.Count, l.Bytes},
		account: account,
		log:     log,
		shares:  newShares(l),
		newest:  1,
		byTopic: newOrder(func(a, b kept) bool {
			return topic.Compare(a.Topic, b.Topic) < 0
		}),
		byExpiry: newOrder(func(a, b *message.Message) bool {
			return a.Expiry < b.Expiry || a.Expiry == b.Expiry && a.Topic < b.Topic
		}),
	}
}

func newOrder[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

func (r *retained) put(m *message.Message, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	old := r.get(m)
	if len(m.Payload) == 0 || m.Expired(now) {
		r.remove(old)
		return nil
	}
	if err := r.room(m, old); err != nil {
		return err
	}
	r.set(m, old)
	r.log.add(&Op{Kind: OpRetain, Message: m})
	return nil
}

// get returns the message that is retained for m's topic, or nil.
func (r *retained) get(m *message.Message) *message.Message {
	x, _ := r.byTopic.Get(kept{Message: m})
	return x.Message
}

// set replaces old, which may be nil, by m.
func (r *retained) set(m, old *message.Message) {
	r.newest++
	r.byTopic.Set(kept{m, r.newest})
	r.uncount(old)
	if m.Expiry != 0 {
		r.byExpiry.Set(m)
	}
	r.bytes += m.Size()
	m.Hold(r.account)
	r.shares.count(m, 1)
}

// restore is put for an operation of the journal.
func (r *retained) restore(m *message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(m, r.get(m))
}

// forget is remove for an operation of the journal.
func (r *retained) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x, ok := r.byTopic.Delete(kept{Message: &message.Message{Topic: name}}); ok {
		r.uncount(x.Message)
	}
}

// room returns an error that names the bound that m would pass if it replaced old, which may be nil.
func (r *retained) room(m, old *message.Message) error {
	after := usage{r.byTopic.Len(), r.bytes}
	after.add(m, 1)
	if old != nil {
		after.add(old, -1)
	}
	if over := after.exceeds(r.most); over != "" {
		return &RetainedFull{OfNode, "the limit is " + over}
	}
	return r.shares.room(m, old)
}

// remove removes m, which may be nil.
func (r *retained) remove(m *message.Message) {
	if m != nil {
		r.byTopic.Delete(kept{Message: m})
		r.uncount(m)
		r.log.add(&Op{Kind: OpUnretain, Topic: m.Topic})
	}
}

// uncount removes from the counts a message that has left byTopic; m may be nil.
func (r *retained) uncount(m *message.Message) {
	if m == nil {
		return
	}
	r.bytes -= m.Size()
	m.Release(r.account)
	r.shares.count(m, -1)
	if m.Expiry != 0 {
		r.byExpiry.Delete(m)
	}
}

// drop implements Store.Unretain.
func (r *retained) drop(m *message.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.get(m) != m {
		return false
	}
	r.remove(m)
	return true
}

// expire removes messages that have expired.
func (r *retained) expire(now time.Time) {
	for range expireAtOnce {
		m, ok := r.byExpiry.Min()
		if !ok || !m.Expired(now) {
			return
		}
		r.remove(m)
	}
}

// find implements Store.Retained.
func (r *retained) find(w *Walk, found []*message.Message, looks int, now time.Time) (_ []*message.Message, looked int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	filter, at := w.Filter, &message.Message{Topic: w.from}
	if at.Topic == "" {
		at.Topic = topic.First(filter)
	}
	i := r.byTopic.Iter()
	there := i.Seek(kept{Message: at})
	for there && looked < looks && len(found) < cap(found) {
		looked++
		m := i.Item()
		match, next, more := topic.Seek(filter, m.Topic)
		if match && !m.Expired(now) && (w.Newest == 0 || m.number <= w.Newest) {
			found = append(found, m.Message)
		}
		if !more {
			there = false
			break
		}
		if at.Topic = next; next != "" {
			there = i.Seek(kept{Message: at})
			continue
		}
		at.Topic = m.Topic
		there = i.Next()
	}
	if w.Done = !there; !w.Done {
		w.from = strings.Clone(i.Item().Topic) // a clone, so that the message can be freed
	}
	return found, looked
}

// expiry returns when m expires by itself, in Unix milliseconds, or never.
func expiry(m *message.Message) int64 {
	if m.Expiry == 0 {
		return never
	}
	return m.Expiry
}
