package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A world is a simulated cluster: nodes with devices as counts, and the real Planner of each. Nothing in it reads a clock.
type world struct {
	random *rand.Rand
	policy Policy
	now    time.Time
	step   time.Duration
	nodes  []*simNode
	index  map[string]int // of nodes, by name
	stray  float64        // part of the devices that do not go where they are asked to, but anywhere
	noise  float64        // of a told load, as a standard deviation
	told   [2][]Node
	due    []arrival // devices on their way
	parts  []part    // used again

	moves  float64   // asked by nodes that are not drained
	gained float64   // by how much these moves have lowered what is needed
	last   time.Time // of the last move
}

// arrival is a number of devices that come to a node.
type arrival struct {
	at   time.Time
	from *simNode // nil if its node has died
	to   *simNode
	n    int
}

// simNode is a node of a world.
type simNode struct {
	name     string
	holds    float64 // devices at which it is full
	up       time.Time
	alive    bool
	leaving  bool
	devices  int
	coming   int
	moving   int
	smoothed float64 // its load as an average of the last half minute
	planner  *Planner
}

func (w *world) add(holds float64) *simNode {
	n := &simNode{name: fmt.Sprintf("n%03d", len(w.nodes)), holds: holds}
	if w.index == nil {
		w.index = make(map[string]int)
	}
	w.index[n.name] = len(w.nodes)
	w.nodes = append(w.nodes, n)
	return n
}

// start begins a life of a node.
func (w *world) start(n *simNode) {
	n.alive, n.leaving, n.up, n.smoothed, n.devices, n.moving = true, false, w.now, 0, 0, 0
	n.planner = New(w.policy, n.name)
}

// kill ends it. The devices come to the others within a minute, most to those that have most room.
func (w *world) kill(n *simNode) {
	n.alive = false
	lost := n.devices
	n.devices, n.moving, n.coming = 0, 0, 0
	for i := range w.due { // that have not arrived anywhere
		a := &w.due[i]
		if a.from == n {
			a.from = nil
		}
		if a.to == n {
			lost += a.n
			a.arrived()
			a.n = 0
		}
	}
	w.due = slices.DeleteFunc(w.due, func(a arrival) bool { return a.n == 0 })
	w.spread(lost)
}

// part is a node's weight when devices are dealt.
type part struct {
	to     *simNode
	weight float64
}

// spread sends devices anywhere, by the room that the nodes have.
func (w *world) spread(n int) {
	var parts []part
	for _, o := range w.serving() {
		parts = append(parts, part{o, max(0.01*o.holds, o.holds-float64(o.devices+o.coming))})
	}
	w.deal(nil, n, parts, time.Minute)
}

// deal sends devices of a node to the nodes by weights.
func (w *world) deal(from *simNode, n int, parts []part, within time.Duration) {
	sum := 0.0
	for _, p := range parts {
		sum += p.weight
	}
	for _, p := range parts {
		some := min(n, w.round(float64(n)*p.weight/sum))
		w.send(from, p.to, some, within)
		n, sum = n-some, sum-p.weight
	}
	if n > 0 {
		w.send(from, parts[0].to, n, within) // what rounding has left
	}
}

func (w *world) send(from, to *simNode, n int, within time.Duration) {
	if n == 0 {
		return
	}
	to.coming += n
	w.due = append(w.due, arrival{w.now.Add(time.Duration(w.random.Float64() * float64(within))), from, to, n})
}

// round rounds up or down at random, so that small shares add up.
func (w *world) round(f float64) int {
	n := math.Floor(f)
	if w.random.Float64() < f-n {
		n++
	}
	return int(n)
}

// arrive lets devices come whose time it is.
func (w *world) arrive() {
	w.due = slices.DeleteFunc(w.due, func(a arrival) bool {
		if a.at.After(w.now) {
			return false
		}
		a.to.coming -= a.n
		a.to.devices += a.n
		a.arrived()
		return true
	})
}

// arrived tells the node that has asked them that the devices are elsewhere.
func (a *arrival) arrived() {
	if a.from != nil {
		a.from.moving -= a.n
	}
}

// tell makes what the nodes know of each other: one list that is new, and the one of the step before.
func (w *world) tell() {
	w.told[1] = w.told[0]
	list := make([]Node, 0, len(w.nodes))
	for _, n := range w.nodes {
		if !n.alive {
			continue
		}
		part := min(1, w.step.Seconds()/30)
		n.smoothed += (min(1, float64(n.devices)/n.holds) - n.smoothed) * part
		left := 1 - n.smoothed + w.random.NormFloat64()*w.noise
		list = append(list, Node{
			Name: n.name, Left: min(max(left, 0), 1), Devices: n.devices, Moving: n.moving, Up: w.now.Sub(n.up), Leaving: n.leaving,
		})
	}
	w.told[0] = list
}

// tick is one step: devices arrive, nodes renew their leases and decide. Half of the nodes know what the others said a step ago.
func (w *world) tick() {
	w.now = w.now.Add(w.step)
	w.arrive()
	w.tell()
	var surveys [2]*survey
	before := w.need()
	asked := 0.0
	for i, n := range w.nodes {
		if !n.alive {
			continue
		}
		view := i % 2
		if w.now.Sub(n.up) <= w.step {
			view = 0 // the older list does not have it
		}
		if surveys[view] == nil {
			surveys[view] = look(w.policy, w.told[view])
		}
		d := n.planner.decide(w.now, surveys[view])
		asked += w.ask(n, d)
	}
	if asked > 0 {
		w.moves += asked
		w.last = w.now
		w.gained += before - w.need()
	}
}

// ask makes devices of a node go, and returns how many that were, unless the node is drained.
func (w *world) ask(n *simNode, d Decision) float64 {
	ask := min(d.Ask, n.devices)
	if ask == 0 {
		return 0
	}
	n.devices -= ask
	n.moving += ask
	astray := w.round(float64(ask) * w.stray)
	w.parts = w.parts[:0]
	for _, t := range d.To {
		if o := w.nodes[w.index[t.Name]]; o.alive && !o.leaving {
			w.parts = append(w.parts, part{o, t.Share})
		}
	}
	if len(w.parts) == 0 {
		astray = ask
	}
	if ask > astray {
		w.deal(n, ask-astray, w.parts, 10*time.Second)
	}
	w.anywhere(n, astray)
	if n.leaving {
		return 0
	}
	return float64(ask)
}

// anywhere sends devices to nodes at random, also back.
func (w *world) anywhere(from *simNode, n int) {
	if n == 0 {
		return
	}
	all := w.serving()
	for ; n > 0; n-- {
		w.send(from, all[w.random.IntN(len(all))], 1, 10*time.Second)
	}
}

// need returns how many devices at least have to move until no node's load differs from the mean by more than Stop, when all that are on their way
// have arrived. It is computed from the truth, by other code than the survey's.
func (w *world) need() float64 {
	devices, holds := 0, 0.0
	for _, n := range w.nodes {
		if n.alive && !n.leaving {
			devices += n.devices + n.coming
			holds += n.holds
		}
	}
	mean := float64(devices) / holds
	above, below := 0.0, 0.0
	for _, n := range w.nodes {
		if !n.alive || n.leaving {
			continue
		}
		has := float64(n.devices + n.coming)
		above += max(0, has-(mean+w.policy.Stop)*n.holds)
		below += max(0, (mean-w.policy.Stop)*n.holds-has)
	}
	return max(above, below)
}

// even reports whether no settled node's load differs from the mean by as much as would begin an adjustment.
func (w *world) even(slack float64) bool {
	devices, holds := 0, 0.0
	for _, n := range w.nodes {
		if n.alive && !n.leaving {
			devices += n.devices + n.coming
			holds += n.holds
		}
	}
	mean := float64(devices) / holds
	for _, n := range w.nodes {
		if n.alive && !n.leaving && math.Abs(float64(n.devices+n.coming)/n.holds-mean) > w.policy.Start+slack {
			return false
		}
	}
	return true
}

// total returns how many devices there are.
func (w *world) total() int {
	n := 0
	for _, o := range w.nodes {
		n += o.devices + o.coming
	}
	return n
}
