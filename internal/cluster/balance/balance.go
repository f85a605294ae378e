// Package balance decides how many of its devices a node of a cluster asks to go to other nodes, and to which. It does no I/O
// and reads no clock: a Planner is told the time and what the nodes have told each other.
//
// The nodes of a cluster need not agree first. Each knows the load left of all and the number of their devices, computes the same
// moves as all others do, and makes those that are its own.
package balance

import "time"

// A Node is what a node has told the others when it renewed its lease.
type Node struct {
	Name    string
	Left    float64       // Load.Left
	Devices int           // connected ones
	Moving  int           // devices that it has asked to go and that have not come to another node yet
	Up      time.Duration // since its life began
	Leaving bool          // it is drained: it gives all its devices away and takes none
}

// A Decision is what a node does until it decides again.
type Decision struct {
	Ask    int      // how many devices to ask to go now
	To     []Target // where they should go; empty if it does not matter or nobody is asked
	Reason Reason
}

// A Target is a node that should get devices.
type Target struct {
	Name  string
	Share float64 // of the devices that are asked now; all shares make 1
}

// Reason says why a node asks devices to go, or why it does not. It labels a metric and is told by the API.
type Reason uint8

const (
	Alone     Reason = iota // no other node takes devices
	Settling                // nodes came or went lately: their devices are on their way
	Even                    // no node's load differs enough from the others'
	Cooling                 // an adjustment has ended lately
	Adjusting               // loads differ
	Leaving                 // the node is drained
	reasons
)

var reasonNames = [reasons]string{"alone", "settling", "even", "cooling", "adjusting", "leaving"}

func (r Reason) String() string { return reasonNames[r] }

// A Policy bounds what a Planner decides. The zero value means the defaults.
type Policy struct {
	Share    float64       // at most this part of a node's devices is asked per minute; 0 means 0.005
	Start    float64       // an adjustment begins when a node's load differs this much from the mean; 0 means 0.1
	Stop     float64       // and ends when none differs more than this; 0 means half of Start
	Settle   time.Duration // nodes that came, and after a node has gone all nodes, are left alone for this long; 0 means 2 minutes
	Cooldown time.Duration // between two adjustments; 0 means 5 minutes
	Leave    int           // devices per second that a node that is drained asks to go; 0 means 500
}

// WithDefaults returns p with the default for each option that is not set.
func (p Policy) WithDefaults() Policy {
	p.Share = or(p.Share, 0.005)
	p.Start = or(p.Start, 0.1)
	p.Stop = or(p.Stop, p.Start/2)
	p.Settle = or(p.Settle, 2*time.Minute)
	p.Cooldown = or(p.Cooldown, 5*time.Minute)
	p.Leave = or(p.Leave, 500)
	return p
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// A Planner decides for one node. Its methods are called by one goroutine.
type Planner struct {
	policy Policy
	self   string
}

// New returns a Planner for the node with the name self.
func New(p Policy, self string) *Planner { return &Planner{policy: p.WithDefaults(), self: self} }

// Decide returns what the node does now. nodes are all that are alive, the node itself among them. It is called after each
// renewal of the lease; now never goes back.
func (p *Planner) Decide(now time.Time, nodes []Node) Decision {
	return Decision{}
}
