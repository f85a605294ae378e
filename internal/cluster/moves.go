package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// moves are the shadows that sessions have left here which another node has claimed. A shadow sends on what was sent to this node before its sender knew that the device is elsewhere. It ends
// when every node has told that it has read the log up to where the new owner is announced, and that nothing older of it is on its way.
type moves struct {
	readBack atomic.Uint64 // the position in the last mark that this node has read back from its own inbox

	mu      sync.Mutex
	shadows []shadow
}

type shadow struct {
	device       string
	epoch, since uint64
	from         time.Time
}

// shadowTime bounds how long a shadow stays, also if a node is silent, or nobody ends an adoption.
func (n *Node) shadowTime() time.Duration { return max(30*time.Second, 6*n.config.Lease) }

func (s *moves) add(device string, epoch, since uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shadows = append(s.shadows, shadow{device, epoch, since, time.Now()})
}

// take removes the shadows that are over: all nodes have read the log up to their position.
func (s *moves) take(floor uint64, longest time.Duration) (over []shadow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.shadows[:0]
	for _, x := range s.shadows {
		if x.since <= floor && time.Since(x.from) > keepRecent || time.Since(x.from) > longest {
			over = append(over, x)
		} else {
			kept = append(kept, x)
		}
	}
	clear(s.shadows[len(kept):])
	s.shadows = kept
	return over
}

// endShadows ends the shadows that are over, and sends a mark to this node's own inbox: when that comes back, all that came before it is handed out.
func (n *Node) endShadows(context.Context) {
	floor := ^uint64(0)
	for _, m := range n.Members() {
		if m.Age > n.config.Lease { // a shadow may be of a session that came from there: what is in that owner's inbox goes by it
			floor = 0
		}
		floor = min(floor, m.position)
	}
	if dead := n.members.dead.Load(); dead != nil && len(*dead) > 0 {
		floor = 0
	}
	for _, x := range n.moves.take(floor, n.shadowTime()) {
		n.sessions.Unshadow(x.device, x.epoch)
	}
	_ = n.peers.get(n, n.owner).add(&item{kind: markOf, since: n.Position()}, nil, nil) // the next one does as well
}
