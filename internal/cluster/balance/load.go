package balance

import (
	"math"
	"time"
)

// FullLag is the lag of the loops at which a node counts as full: devices notice it by then.
const FullLag = 100 * time.Millisecond

// A Load is how much of each resource a node uses, from 0, nothing, to 1, all of it.
type Load struct {
	CPU         float64       // of the processors that the node may use
	Memory      float64       // of the limit of its memory
	Connections float64       // of gateway.max_connections
	Lag         time.Duration // how late its loops handle what has arrived
}

// Used returns the use of the resource that will be short first, from 0 to 1.
func (l Load) Used() float64 {
	used := max(l.CPU, l.Memory, l.Connections, float64(l.Lag)/float64(FullLag))
	if math.IsNaN(used) {
		return 0
	}
	return min(max(used, 0), 1)
}

// Left returns the load that the node could still take, from 1 to 0. Nodes tell it each other when they renew their leases.
func (l Load) Left() float64 { return 1 - l.Used() }
