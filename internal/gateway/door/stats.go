package door

import (
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

// Stats is what the limits and the verifiers have done, the loops' tallies left out.
type Stats struct {
	Connections  limit.CountStats
	Line         limit.RateStats
	Unverified   int64 // bytes of unfinished handshakes
	Cures        int64 // connections that are verified although memory is short
	Memory       limit.Usage
	Stage        limit.Stage
	MemoryUnread uint64 // times that the use of memory could not be read

	// Of the verifiers, if there are any.
	Verifying bool
	Workers   reactor.WorkersStats
	Verifiers []auth.Stats
	Breakers  map[string]string // their states
}

// Stats looks at the limits and the verifiers.
func (d *Door) Stats() Stats {
	g := d.guard
	s := Stats{
		Connections:  g.count.Stats(),
		Line:         g.rate.Stats(),
		Unverified:   g.unverified.Load(),
		Cures:        g.cures.Load(),
		Memory:       g.memory.Usage(),
		Stage:        g.memory.Stage(),
		MemoryUnread: g.unread.Load(),
	}
	if chain := d.admission.chain; chain != nil {
		s.Verifying, s.Workers, s.Verifiers, s.Breakers = true, d.admission.workers.Stats(), chain.Stats(), chain.Breakers()
	}
	return s
}
