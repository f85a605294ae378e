package cluster

import (
	"sync"
	"time"
)

// peers are the other owners to which this node sends.
type peers struct {
	mu      sync.RWMutex
	byOwner map[string]*peer
}

func (s *peers) init() { s.byOwner = make(map[string]*peer) }

// get returns the peer of an owner, which it makes and starts if there is none.
func (s *peers) get(n *Node, owner string) *peer {
	if p := s.find(owner); p != nil {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byOwner[owner]; p != nil {
		return p
	}
	p := newPeer(n, owner)
	s.byOwner[owner] = p
	n.work.Add(1)
	go func() {
		defer n.work.Done()
		p.run(n.ctx)
	}()
	return p
}

func (s *peers) find(owner string) *peer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byOwner[owner]
}

// all returns the peers.
func (s *peers) all() []*peer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*peer, 0, len(s.byOwner))
	for _, p := range s.byOwner {
		list = append(list, p)
	}
	return list
}

// forget ends the peers of owners that are gone, a while after the last item for them.
func (s *peers) forget(n *Node) {
	for _, p := range s.all() {
		if n.isGone(p.owner) && p.idle() > idlePeer {
			s.mu.Lock()
			delete(s.byOwner, p.owner)
			s.mu.Unlock()
			p.end(errNodeAway)
			p.wakeUp()
		}
	}
}

// idlePeer is how long nothing was sent to a peer that is forgotten.
const idlePeer = time.Minute
