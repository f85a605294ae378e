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

// retained has the last retained message of each topic. With a medium, the large ones are there alone, once it has them: in memory is what
// is needed to find them (retained_paging.go).
type retained struct {
	most     usage            // static
	inMemory int              // static; bytes of the largest message that stays in memory
	account  *message.Account // static
	log      log              // static
	medium   Medium           // static; nil if all messages stay in memory
	shared   RetainedLog      // static; nil if they are this node's alone

	// Guarded by mu, which is held for a bounded number of messages.
	mu       sync.RWMutex
	byTopic  *btree.BTreeG[*Kept]   // in the order of topic.Compare
	byExpiry *btree.BTreeG[*Kept]   // those that expire
	unsaved  *btree.BTreeG[unsaved] // large ones that are in memory until the medium has them, by number
	bytes    int                    // also of what is on the medium alone
	newest   uint64                 // number of the message that was retained last
	shares   shares
	changes  uint64             // number of the last change for shared
	unseen   map[string]*unseen // by topic
}

// Kept is a retained message as it is in memory: all of it, or its message.Message.Head if the rest is on the medium alone. IDs do not rise
// from one life of a node to the next when its clock is set back, or it gets another number; so each has a number of its own.
//
// The trees have pointers, so that a message can be freed that has left memory or was removed: in a node of a tree there may be copies of
// items that were moved to another node.
type Kept struct {
	*message.Message
	number uint64 // rises with each that is retained
	place  uint64 // in the log of a cluster; 0 if it is not there yet, or there is none
	at     uint64 // Change.At
	stored uint32 // bytes of it that are on the medium alone
	far    bool   // another node has retained it
}

// Stored reports whether the rest of the message has to be read, see RetainedPage.
func (k Kept) Stored() bool { return k.stored > 0 }

// Size is message.Message.Size of the whole message.
func (k Kept) Size() int {
	return k.Message.Size() + int(k.stored)
}

func newRetained(o Options, log log, medium Medium) retained {
	l := o.Retained
	return retained{
		most:     usage{l.Count, l.Bytes},
		inMemory: l.InMemory,
		account:  o.Account,
		log:      log,
		medium:   medium,
		shared:   o.RetainedLog,
		unseen:   map[string]*unseen{},
		shares:   newShares(l),
		newest:   1,
		byTopic: newOrder(func(a, b *Kept) bool {
			return topic.Compare(a.Topic, b.Topic) < 0
		}),
		byExpiry: newOrder(func(a, b *Kept) bool {
			return a.Expiry < b.Expiry || a.Expiry == b.Expiry && a.Topic < b.Topic
		}),
		unsaved: newOrder(func(a, b unsaved) bool { return a.number < b.number }),
	}
}

func newOrder[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

func (r *retained) put(m *message.Message, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	old := r.get(m.Topic)
	if len(m.Payload) == 0 || m.Expired(now) {
		if r.shared == nil {
			r.remove(old)
			return nil
		}
		return r.clear(m.Topic, old)
	}
	if err := r.room(m, old); err != nil {
		return err
	}
	k := &Kept{Message: m}
	r.set(k, old)
	if r.shared != nil {
		r.append(Change{Topic: m.Topic, Message: m})
		return nil
	}
	r.log.add(&Op{Kind: OpRetain, Message: m})
	r.unloadLater(k)
	return nil
}

// get returns what is retained for a topic, or nil.
func (r *retained) get(name string) *Kept {
	k, _ := r.byTopic.Get(&Kept{Message: &message.Message{Topic: name}})
	return k
}

// set replaces old, which may be nil, by k, which gets a number.
func (r *retained) set(k, old *Kept) {
	r.newest++
	k.number = r.newest
	r.byTopic.Set(k)
	r.uncount(old)
	if k.Expiry != 0 {
		r.byExpiry.Set(k)
	}
	r.bytes += k.Size()
	k.Hold(r.account)
	r.shares.count(k, 1)
}

// forget is remove for an operation of the journal.
func (r *retained) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(r.get(name))
}

// room returns an error that names the bound that m would pass if it replaced old, which may be nil.
func (r *retained) room(m *message.Message, old *Kept) error {
	after := usage{r.byTopic.Len(), r.bytes}
	after.add(m.Size(), 1)
	if old != nil {
		after.add(old.Size(), -1)
	}
	if over := after.exceeds(r.most); over != "" {
		return &RetainedFull{OfNode, "the limit is " + over}
	}
	return r.shares.room(m, old)
}

// remove removes k, which may be nil.
func (r *retained) remove(k *Kept) {
	switch {
	case k == nil:
	case r.shared != nil:
		c := Change{Topic: k.Topic, Place: k.place}
		r.take(k)
		r.append(c)
	default:
		r.log.add(&Op{Kind: OpUnretain, Topic: k.Topic})
		r.take(k)
	}
}

// uncount removes from the counts what has left byTopic. k may be nil.
func (r *retained) uncount(k *Kept) {
	if k == nil {
		return
	}
	r.bytes -= k.Size()
	k.Release(r.account)
	r.shares.count(k, -1)
	if k.Expiry != 0 {
		r.byExpiry.Delete(k)
	}
	r.unsaved.Delete(unsaved{number: k.number})
	k.Message = nil
}

// drop implements Store.Unretain.
func (r *retained) drop(k Kept) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.current(k)
	r.remove(now)
	return now != nil
}

// current returns what is retained for k's topic, or nil if that is nothing or not k.
func (r *retained) current(k Kept) *Kept {
	if now := r.get(k.Topic); now != nil && now.number == k.number {
		return now
	}
	return nil
}

// expire removes messages that have expired. A cluster's log removes them by itself.
func (r *retained) expire(now time.Time) {
	for range expireAtOnce {
		k, ok := r.byExpiry.Min()
		if !ok || !k.Expired(now) {
			return
		}
		if r.shared != nil {
			r.take(k)
		} else {
			r.remove(k)
		}
	}
}

// wants reports whether w finds k, which matches.
func (w *Walk) wants(k *Kept) bool {
	if w.MissedAt > 0 {
		return k.far && k.number > w.Newest && k.at < w.MissedAt
	}
	return w.Newest == 0 || k.number <= w.Newest
}

// find implements Store.Retained.
func (r *retained) find(w *Walk, found []Kept, looks int, now time.Time) (_ []Kept, looked int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	filter, at := w.Filter, &Kept{Message: &message.Message{Topic: w.from}}
	if at.Topic == "" {
		at.Topic = topic.First(filter)
	}
	i := r.byTopic.Iter()
	there := i.Seek(at)
	for there && looked < looks && len(found) < cap(found) {
		looked++
		k := i.Item()
		match, next, more := topic.Seek(filter, k.Topic)
		if match && !k.Expired(now) && w.wants(k) {
			found = append(found, *k)
		}
		if !more {
			there = false
			break
		}
		if at.Topic = next; next != "" {
			there = i.Seek(at)
			continue
		}
		at.Topic = k.Topic
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
