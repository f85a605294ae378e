package topic

import "github.com/longline/longline/internal/message"

// Hit is one subscriber of a filter or a topic, and its QoS.
type Hit[S comparable] struct {
	Subscriber S
	QoS        message.QoS
}

func (h *Hit[S]) raise(q message.QoS) { h.QoS = max(h.QoS, q) }

// subscribers are those of one filter, at least one. The only one is held in place.
type subscribers[S comparable] struct {
	one  [1]Hit[S]
	many *crowd[S] // nil while there is one
}

// hits views the subscribers, until the next change.
func (s *subscribers[S]) hits() []Hit[S] {
	if s.many != nil {
		return s.many.hits
	}
	return s.one[:]
}

// find returns the position of a subscriber in hits, or -1.
func (s *subscribers[S]) find(v S) int {
	if s.many != nil {
		return s.many.find(v)
	}
	if s.one[0].Subscriber == v {
		return 0
	}
	return -1
}

// add appends a subscriber that is not there yet.
func (s *subscribers[S]) add(h Hit[S]) {
	if s.many == nil {
		s.many = &crowd[S]{hits: s.one[:1:1]}
		s.many.hits = append(s.many.hits, h)
		s.one[0] = Hit[S]{}
		return
	}
	s.many.add(h)
}

// remove takes out the subscriber at a position; it must not be the only one.
func (s *subscribers[S]) remove(at int) {
	s.many.remove(at)
	if len(s.many.hits) == 1 {
		s.one[0], s.many = s.many.hits[0], nil
	}
}

// fewHits is how many subscribers are searched one by one.
const fewHits = 16

// crowd is a list that also knows where everyone is, once it is long: a filter of a whole
// fleet is read as one slice, and left in constant time.
type crowd[S comparable] struct {
	hits []Hit[S]
	at   map[S]int // positions in hits; nil up to fewHits
}

func (c *crowd[S]) find(v S) int {
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

func (c *crowd[S]) add(h Hit[S]) {
	c.hits = append(c.hits, h)
	if c.at != nil {
		c.at[h.Subscriber] = len(c.hits) - 1
	} else if len(c.hits) > fewHits {
		c.index()
	}
}

// remove moves the last to the place of the one that leaves.
func (c *crowd[S]) remove(at int) {
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

// index makes the map of positions anew: maps do not shrink.
func (c *crowd[S]) index() {
	c.at = nil
	if len(c.hits) <= fewHits {
		return
	}
	c.at = make(map[S]int, len(c.hits))
	for i := range c.hits {
		c.at[c.hits[i].Subscriber] = i
	}
}
