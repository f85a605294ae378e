package router

import (
	"sync"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// shares holds the shared subscriptions that have members, by their filters. The index has each under the filter
// without its group.
type shares struct {
	// Static after construction.
	index   *topic.Index[Subscriber]
	between *between
	far     Far // nil without a cluster

	// Guarded by mu, which is taken after a subscriber's lock and before the index's lock.
	mu       sync.Mutex
	byFilter map[string]*share
}

// join makes s a member of the share with the given filter.
func (x *shares) join(filter string, s Subscriber, q message.QoS) {
	_, rest, _, _ := topic.Shared(filter) // filter is valid
	x.mu.Lock()
	defer x.mu.Unlock()
	g := x.byFilter[filter]
	if g == nil {
		g = &share{
			delivery: &message.Delivery{Share: filter},
			between:  x.between,
			members:  make(map[Subscriber]member),
		}
		x.byFilter[filter] = g
		x.index.Subscribe(rest, g, highest) // each member has a QoS of its own
	}
	g.join(s, q)
	x.changed(g, s)
}

// changed tells the cluster that a share may have got its first member on this node, or lost its last one.
func (x *shares) changed(g *share, s Subscriber) {
	if _, far := s.(Remote); x.far != nil && !far {
		x.far.Changed(g.delivery.Share)
	}
}

// highest is a QoS that lowers no other.
const highest = ^message.QoS(0)

// leave undoes join, and reports whether s was a member.
func (x *shares) leave(filter string, s Subscriber) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	g := x.byFilter[filter]
	if g == nil {
		return false
	}
	was, left := g.leave(s)
	if left == 0 {
		_, rest, _, _ := topic.Shared(filter)
		delete(x.byFilter, filter)
		x.index.Unsubscribe(rest, g)
	}
	x.changed(g, s)
	return was
}

func (x *shares) find(filter string) *share {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byFilter[filter]
}
