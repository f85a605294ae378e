package topic

import "github.com/longline/longline/internal/message"

// Hit is one subscriber of a filter or a topic, with its QoS.
type Hit[S comparable] struct {
	Subscriber S
	QoS        message.QoS
}

func (h *Hit[S]) raise(q message.QoS) { h.QoS = max(h.QoS, q) }

// subscribers are the subscribers of one filter, at least one. A single one is stored in place.
type subscribers[S comparable] struct {
	one  [1]Hit[S]
	many *hitList[S] // nil while there is only one
}

// hits returns a view of the subscribers, valid until the next change.
func (s *subscribers[S]) hits() []Hit[S] {
	if s.many != nil {
		return s.many.hits
	}
	return s.one[:]
}

// find returns the index of a subscriber in hits, or -1.
func (s *subscribers[S]) find(v S) int {
	if s.many != nil {
		return s.many.find(v)
	}
	if s.one[0].Subscriber == v {
		return 0
	}
	return -1
}

// add appends a subscriber that is not yet there.
func (s *subscribers[S]) add(h Hit[S]) {
	if s.many == nil {
		s.many = &hitList[S]{hits: s.one[:1:1]}
		s.many.hits = append(s.many.hits, h)
		s.one[0] = Hit[S]{}
		return
	}
	s.many.add(h)
}

// remove removes the subscriber at an index; it must not be the only one.
func (s *subscribers[S]) remove(at int) {
	s.many.remove(at)
	if len(s.many.hits) == 1 {
		s.one[0], s.many = s.many.hits[0], nil
	}
}

// fewHits is how many subscribers are searched linearly.
const fewHits = 16

// hitList is a list that, once it is long, also has the index of each subscriber: a filter of a whole
// fleet can be read as one slice, and a subscriber is removed in constant time.
type hitList[S comparable] struct {
	hits []Hit[S]
	at   map[S]int // indexes in hits; nil up to fewHits
}

func (c *hitList[S]) find(v S) int {
	if c.at != nil {
		if i, ok := c.at[v]; ok {
			return i
		}
		return -1
	}
	for i := range c.hits {
		if c.hits[i].Subscriber == v {
			return i
		}
	}
	return -1
}

func (c *hitList[S]) add(h Hit[S]) {
	c.hits = append(c.hits, h)
	if c.at != nil {
		c.at[h.Subscriber] = len(c.hits) - 1
	} else if len(c.hits) > fewHits {
		c.index()
	}
}

// remove moves the last subscriber into the place of the removed one.
func (c *hitList[S]) remove(at int) {
	last := len(c.hits) - 1
	delete(c.at, c.hits[at].Subscriber)
	if at != last {
		c.hits[at] = c.hits[last]
		if c.at != nil {
			c.at[c.hits[at].Subscriber] = at
		}
	}
	c.hits[last] = Hit[S]{}
	size := cap(c.hits)
	if c.hits = shrink(c.hits[:last]); cap(c.hits) != size {
		c.index()
	}
}

// index rebuilds the map of indexes, because maps do not shrink.
func (c *hitList[S]) index() {
	c.at = nil
	if len(c.hits) <= fewHits {
		return
	}
	c.at = make(map[S]int, len(c.hits))
	for i := range c.hits {
		c.at[c.hits[i].Subscriber] = i
	}
}
