package topic

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/message"
)

// Index finds the subscribers of a topic. It is safe for concurrent use; NewIndex makes one.
type Index[S comparable] struct {
	seen sync.Pool // of map[S]int, empty

	// Guarded by mu.
	mu    sync.RWMutex
	tree  tree[subscribers[S]] // by filter
	stats Stats
}

// Stats is the size of an index.
type Stats struct {
	Filters       int // distinct filters
	Subscriptions int // pairs of filter and subscriber
}

// NewIndex returns an empty index.
func NewIndex[S comparable]() *Index[S] {
	return &Index[S]{
		tree: newTree[subscribers[S]](),
		seen: sync.Pool{New: func() any { return make(map[S]int) }},
	}
}

// Stats returns the current size.
func (x *Index[S]) Stats() Stats {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.stats
}

// Subscribe adds s to a filter that ValidateFilter accepts, or changes its QoS. It reports
// whether s is new there, and returns how many subscribers the filter has now. The index keeps views of filter, so nobody may change it.
func (x *Index[S]) Subscribe(filter string, s S, q message.QoS) (isNew bool, subscribers int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.tree.put(filter)
	hit := Hit[S]{s, q}
	if !n.set {
		n.value.one[0], n.set = hit, true
		x.stats.Filters++
		x.stats.Subscriptions++
		return true, 1
	}
	if i := n.value.find(s); i >= 0 {
		n.value.hits()[i] = hit
		return false, len(n.value.hits())
	}
	n.value.add(hit)
	x.stats.Subscriptions++
	return true, len(n.value.hits())
}

// Unsubscribe removes s from a filter. It reports whether s was there, and returns how many subscribers the filter has left.
func (x *Index[S]) Unsubscribe(filter string, s S) (was bool, subscribers int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.tree.get(filter)
	if n == nil {
		return false, 0
	}
	i := n.value.find(s)
	if i < 0 {
		return false, len(n.value.hits())
	}
	x.stats.Subscriptions--
	if n.value.many != nil {
		n.value.remove(i)
		return true, len(n.value.hits())
	}
	x.stats.Filters--
	x.tree.remove(filter)
	return true, 0
}

// HasOther reports whether a filter has a subscriber for which skip returns false. skip is called with the index locked.
func (x *Index[S]) HasOther(filter string, skip func(S) bool) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := x.tree.get(filter)
	return n != nil && slices.ContainsFunc(n.value.hits(), func(h Hit[S]) bool { return !skip(h.Subscriber) })
}

// Wanted reports whether the topic has a subscriber.
func (x *Index[S]) Wanted(name string) bool {
	var found nodes[subscribers[S]]
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.tree.matches(name, &found)
	return found.n > 0
}

// Match appends each subscriber of the topic once, with the highest QoS of its matching
// filters, in no particular order. The topic must be one that ValidateName accepts; Match does not keep it.
// Up to fewNodes matching filters cost no allocation if dst has room.
func (x *Index[S]) Match(topic string, dst []Hit[S]) []Hit[S] {
	var found nodes[subscribers[S]]
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.tree.matches(topic, &found)
	switch found.n {
	case 0:
		return dst
	case 1:
		return append(dst, found.few[0].value.hits()...)
	case 2:
		return merge(&found, nil, dst)
	}
	seen := x.seen.Get().(map[S]int)
	dst = merge(&found, seen, dst)
	if len(seen) <= maxSeen {
		clear(seen)
		x.seen.Put(seen)
	}
	return dst
}

// maxSeen is the size from which a used map is left to the garbage collector.
const maxSeen = 4096

// merge appends the subscribers of all nodes without duplicates. The subscribers of the largest node
// are appended as they are. The others are looked up in it and, if there are several other nodes, in
// seen: the positions in dst of subscribers that are not in the largest.
func merge[S comparable](found *nodes[subscribers[S]], seen map[S]int, dst []Hit[S]) []Hit[S] {
	most, base := largest(found), len(dst)
	first := &found.at(most).value
	dst = append(dst, first.hits()...)
	for k := range found.n {
		if k == most {
			continue
		}
		for _, h := range found.at(k).value.hits() {
			if i := first.find(h.Subscriber); i >= 0 {
				dst[base+i].raise(h.QoS)
				continue
			}
			if i, ok := seen[h.Subscriber]; ok {
				dst[i].raise(h.QoS)
				continue
			}
			if seen != nil {
				seen[h.Subscriber] = len(dst)
			}
			dst = append(dst, h)
		}
	}
	return dst
}

// largest returns the index of the node with the most subscribers.
func largest[S comparable](found *nodes[subscribers[S]]) int {
	most := 0
	for k := range found.n {
		if len(found.at(k).value.hits()) > len(found.at(most).value.hits()) {
			most = k
		}
	}
	return most
}
