// Package balance decides how many of its devices a node of a cluster asks to go to other nodes, and to which. It does no I/O
// and reads no clock: a Planner is told the time and what the nodes have told each other.
//
// The nodes need not agree first. Each knows the load left of all and the number of their devices, computes the same moves as all
// others do (survey), and makes those that are its own, within bounds (Planner).
//
// An adjustment begins when the load of one node differs from the mean by Policy.Start, and ends when none differs by more than
// Policy.Stop. So it moves no more devices than are needed for that, and what moved does not have to move back. Nodes with more load
// than the mean give; if a node with less load needs more than those have above the mean, such as one that has joined a hundred others, the
// others give as well, most loaded first.
package balance

import (
	"cmp"
	"time"
)

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
	To     []Target // where they should go; empty if nobody is asked
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
	Even                    // the loads do not differ enough
	Cooling                 // an adjustment has ended lately
	Adjusting               // the loads differ
	Leaving                 // the node is drained
	Full                    // the node is drained, and the others have no room
	reasons
)

var reasonNames = [reasons]string{"alone", "settling", "even", "cooling", "adjusting", "leaving", "full"}

func (r Reason) String() string { return reasonNames[r] }

// A Policy bounds what a Planner decides. The zero value means the defaults.
type Policy struct {
	Share    float64       // of its devices, a node asks at most this part per minute; 0 means 0.005
	Fill     float64       // of what it can hold, a node gets at most this part per minute; 0 means 0.05
	Start    float64       // an adjustment begins when a node's load differs this much from the mean; 0 means 0.08
	Stop     float64       // and ends when none differs by more than this; 0 means half of Start
	Settle   time.Duration // how long a node that came is left alone, and all nodes after one has gone; 0 means 2 minutes
	Cooldown time.Duration // between two adjustments; 0 means 5 minutes
	Leave    int           // devices per second that a node that is drained asks to go; 0 means 500
}

// WithDefaults returns p with the default for each option that is not set.
func (p Policy) WithDefaults() Policy {
	p.Share = cmp.Or(p.Share, 0.005)
	p.Fill = cmp.Or(p.Fill, 0.05)
	p.Start = cmp.Or(p.Start, 0.08)
	p.Stop = cmp.Or(p.Stop, p.Start/2)
	p.Settle = cmp.Or(p.Settle, 2*time.Minute)
	p.Cooldown = cmp.Or(p.Cooldown, 5*time.Minute)
	p.Leave = cmp.Or(p.Leave, 500)
	return p
}
