package balance

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
)

// A survey is what a view of the nodes amounts to. It is the same for all who have the same view.
type survey struct {
	policy  Policy
	nodes   []Node
	others  []member // that are not drained, most loaded first
	counted []member // of these, those that have settled: they give and take
	key     uint64   // of the names of counted, in any order
	places  map[string]place
	leaving int // devices of nodes that are drained

	mean   float64 // load of the counted nodes when it is even
	worst  float64 // largest difference of a counted node's load from the mean
	moving float64 // devices on their way from the counted nodes
	total  float64 // devices that have to move until no load differs from the mean by more than Policy.Stop
	level  float64 // nodes with more load give what they have above it
	takes  []Target
	fill   float64 // devices per minute that the takers may get in all
}

// place is where a survey has a node.
type place struct {
	node    int // in survey.nodes
	counted int // in survey.counted; -1 if the node does not count
}

// member is a node as a survey sees it.
type member struct {
	index int     // in survey.nodes
	used  float64 // 1 - Left
	holds float64 // how many devices the node could hold, as far as its load shows
}

// What a node can hold is its devices divided by its load. That says little while both are small, and the load may have other reasons.
// So it counts from leastUsed and leastDevices on, and differs at most by the factor mostUnlike from the median.
const (
	leastUsed    = 0.02
	leastDevices = 100
	mostUnlike   = 8
)

var nameSeed = maphash.MakeSeed()

// look makes a survey.
func look(policy Policy, nodes []Node) *survey {
	s := &survey{policy: policy, nodes: nodes, places: make(map[string]place, len(nodes))}
	median := medianHolds(nodes)
	for i, n := range nodes {
		s.places[n.Name] = place{i, -1}
		if n.Leaving {
			s.leaving += max(0, n.Devices)
			continue
		}
		holds := n.holds()
		if holds == 0 {
			holds = median
		}
		s.others = append(s.others, member{index: i, used: n.used(), holds: min(max(holds, median/mostUnlike), median*mostUnlike)})
	}
	slices.SortStableFunc(s.others, func(a, b member) int { return cmp.Compare(b.used, a.used) })
	for _, m := range s.others {
		if n := &nodes[m.index]; n.Up >= policy.Settle {
			s.places[n.Name] = place{m.index, len(s.counted)}
			s.counted = append(s.counted, m)
			s.key += maphash.String(nameSeed, n.Name)
			s.moving += max(0, float64(n.Moving))
		}
	}
	s.compare()
	return s
}

// used returns the load, 1 if the node does not tell a number.
func (n *Node) used() float64 {
	if math.IsNaN(n.Left) {
		return 1
	}
	return min(max(1-n.Left, 0), 1)
}

// holds returns how many devices the node could hold, 0 if its load does not show it.
func (n *Node) holds() float64 {
	if n.Devices < leastDevices || n.used() < leastUsed {
		return 0
	}
	return float64(n.Devices) / n.used()
}

// medianHolds returns the median of what nodes can hold.
func medianHolds(nodes []Node) float64 {
	known := make([]float64, 0, len(nodes))
	for i := range nodes {
		if h := nodes[i].holds(); h > 0 {
			known = append(known, h)
		}
	}
	if len(known) == 0 {
		return leastDevices / leastUsed
	}
	slices.Sort(known)
	return known[len(known)/2]
}

// compare finds out how many devices have to move, and to where. The counted nodes are in order.
func (s *survey) compare() {
	load, holds := 0.0, 0.0
	for _, c := range s.counted {
		load += c.used * c.holds
		holds += c.holds
	}
	if holds == 0 {
		return
	}
	s.mean = (load + s.moving) / holds // devices on their way have left those above, and have not come to those below yet
	above, below := 0.0, 0.0           // devices outside of what may differ
	for _, c := range s.counted {
		s.worst = max(s.worst, math.Abs(c.used-s.mean))
		above += max(0, c.used-s.mean-s.policy.Stop) * c.holds
		below += max(0, s.mean-s.policy.Stop-c.used) * c.holds
	}
	s.total = max(above, below-s.moving)
	if s.total <= 0 {
		return
	}
	s.level = drainTo(s.counted, s.total)
	s.findTakers(s.total + s.moving)
}

// drainTo returns the level with which the nodes, most loaded first, have n devices above it.
func drainTo(nodes []member, n float64) float64 {
	load, holds := 0.0, 0.0
	for i, c := range nodes {
		load += c.used * c.holds
		holds += c.holds
		level := (load - n) / holds
		if i+1 == len(nodes) || level >= nodes[i+1].used {
			return max(0, level)
		}
	}
	return 0
}

// findTakers sets who gets n devices: the least loaded nodes, as far as they are below a common level.
func (s *survey) findTakers(n float64) {
	load, holds := 0.0, 0.0
	for i := len(s.counted) - 1; i >= 0; i-- {
		c := s.counted[i]
		load += c.used * c.holds
		holds += c.holds
		level := (load + n) / holds
		if i > 0 && level > s.counted[i-1].used {
			continue
		}
		for _, c := range s.counted[i:] {
			s.takes = append(s.takes, Target{Name: s.nodes[c.index].Name, Share: (level - c.used) * c.holds / n})
		}
		s.fill = s.policy.Fill * holds
		return
	}
}

// gives returns how many devices a node has to give. c is its place in counted.
func (s *survey) gives(c member) float64 {
	if s.total <= 0 {
		return 0
	}
	return max(0, c.used-s.level) * c.holds
}
