package balance

import (
	"slices"
	"time"
)

// mostCooldown bounds how long a Planner waits for another try when adjustments do not help.
const mostCooldown = 24 * time.Hour

// reserve is the load left that a node that is drained leaves to each other.
const reserve = 0.05

// longestStep bounds the time for which a decision asks devices: a node that was stopped for an hour does not make up for it.
const longestStep = time.Minute

// A Planner decides for one node. Its methods are called by one goroutine.
type Planner struct {
	policy Policy
	self   string

	last   time.Time // of the decision before; zero means never
	credit float64   // devices that may be asked, less than 1 unless the node adjusts

	// Of the nodes that counted at the last decision.
	names []string
	key   uint64
	quiet time.Time // when what happened to them has settled

	// Of an adjustment.
	active   bool
	budget   float64       // devices that the node may still ask
	planned  float64       // devices that it was to ask when the adjustment began
	cooldown time.Duration // after it
	cool     time.Time     // when the next one may begin
}

// New returns a Planner for the node with the name self.
func New(p Policy, self string) *Planner {
	p = p.WithDefaults()
	return &Planner{policy: p, self: self, cooldown: p.Cooldown}
}

// Decide returns what the node does now. nodes are all that are alive, the node itself among them; they are not changed, nor kept beyond the call.
// It is called after each renewal of the lease; now never goes back.
func (p *Planner) Decide(now time.Time, nodes []Node) Decision {
	return p.decide(now, look(p.policy, nodes))
}

func (p *Planner) decide(now time.Time, s *survey) Decision {
	step := min(now.Sub(p.last), longestStep)
	if p.last.IsZero() {
		step = 0
	}
	p.last = now
	p.watch(now, s)
	self, ok := s.places[p.self]
	switch {
	case ok && s.nodes[self.node].Leaving:
		p.end(now)
		return p.leave(s.nodes[self.node], step, s)
	case !ok || self.counted < 0 || s.leaving > 0 || now.Before(p.quiet):
		p.end(now)
		return Decision{Reason: Settling}
	case len(s.counted) < 2:
		p.end(now)
		return Decision{Reason: Alone}
	}
	return p.adjust(now, s.counted[self.counted], step, s)
}

// watch notices that a node has gone, or has begun another life.
func (p *Planner) watch(now time.Time, s *survey) {
	if s.key == p.key && len(s.counted) == len(p.names) {
		return
	}
	names := make([]string, 0, len(s.counted))
	for _, c := range s.counted {
		names = append(names, s.nodes[c.index].Name)
	}
	slices.Sort(names)
	for _, n := range p.names {
		if _, still := slices.BinarySearch(names, n); !still {
			p.quiet = now.Add(p.policy.Settle)
			break
		}
	}
	p.names, p.key = names, s.key
	p.planned, p.cooldown = 0, p.policy.Cooldown // what did not help before may help now
}

// adjust asks devices to go if the loads differ.
func (p *Planner) adjust(now time.Time, self member, step time.Duration, s *survey) Decision {
	gives := s.gives(self)
	if !p.active {
		switch {
		case now.Before(p.cool):
			return Decision{Reason: Cooling}
		case s.worst < s.policy.Start || gives < 1:
			return Decision{Reason: Even}
		}
		p.begin(gives)
	}
	if gives < 1 || p.budget < 1 {
		p.end(now)
		return Decision{Reason: Cooling}
	}
	n := &s.nodes[self.index]
	rate := min(p.policy.Share*max(0, float64(n.Devices)), s.fill*gives/s.total) // per minute
	p.credit += rate * step.Minutes()
	ask := int(max(0, min(p.credit, gives, p.budget, float64(n.Devices))))
	p.credit -= float64(ask)
	p.budget -= float64(ask)
	d := Decision{Ask: ask, Reason: Adjusting}
	if ask > 0 {
		d.To = s.takes
	}
	return d
}

// begin begins an adjustment in which the node is to give that many devices. It may ask a tenth more, because loads change meanwhile. If it is to give nearly
// as many as the last time, that did not help, as when devices are sent back here by what distributes them: the next pause is twice as long.
func (p *Planner) begin(gives float64) {
	if p.planned > 0 && gives > p.planned/2 {
		p.cooldown = min(2*p.cooldown, mostCooldown)
	} else {
		p.cooldown = p.policy.Cooldown
	}
	p.active, p.planned, p.budget, p.credit = true, gives, 1+1.1*gives, 0
}

// end ends an adjustment, if there is one.
func (p *Planner) end(now time.Time) {
	if p.active {
		p.active, p.cool = false, now.Add(p.cooldown)
	}
}

// leave asks the devices of a node that is drained to go: as many as the others have room for.
func (p *Planner) leave(n Node, step time.Duration, s *survey) Decision {
	if len(s.others) == 0 {
		return Decision{Reason: Alone}
	}
	to, room := s.room()
	for _, o := range s.nodes {
		room -= max(0, float64(o.Moving))
	}
	devices := max(0, float64(n.Devices))
	mine := room * devices / float64(max(s.leaving, 1))
	if mine < 1 && devices > 0 {
		return Decision{Reason: Full}
	}
	p.credit = min(p.credit+float64(p.policy.Leave)*step.Seconds(), devices)
	ask := int(min(p.credit, mine))
	p.credit -= float64(ask)
	if ask == 0 {
		to = nil
	}
	return Decision{Ask: ask, To: to, Reason: Leaving}
}

// room returns how many devices the nodes that are not drained have room for, and who should get which share of those of a node that is.
func (s *survey) room() (to []Target, room float64) {
	for _, m := range s.others {
		if r := (1 - reserve - m.used) * m.holds; r > 0 {
			to = append(to, Target{Name: s.nodes[m.index].Name, Share: r})
			room += r
		}
	}
	for i := range to {
		to[i].Share /= room
	}
	return to, room
}
