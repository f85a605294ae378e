package door

import (
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
)

// Stats has the counters of the limits and the verifiers. The loops' counters are in Tally.
type Stats struct {
	Connections  limit.CountStats
	Line         limit.RateStats
	Unverified   int64 // bytes of unfinished handshakes
	Exempt       int64 // connections that are being verified although memory is short
	Memory       limit.Usage
	Stage        limit.Stage
	MemoryUnread uint64 // how often the use of memory could not be read

	// Of the verifiers, if there are any.
	Verifying bool
	Workers   reactor.WorkersStats
	Verifiers []auth.Stats
	Breakers  map[string]string // their states
}

// Stats returns the counters.
func (d *Door) Stats() Stats {
	g := d.guard
	s := Stats{
		Connections:  g.count.Stats(),
		Line:         g.rate.Stats(),
		Unverified:   g.unverified.Load(),
		Exempt:       g.exempt.Load(),
		Memory:       g.memory.Usage(),
		Stage:        g.memory.Stage(),
		MemoryUnread: g.unread.Load(),
	}
	if chain := d.admission.chain; chain != nil {
		s.Verifying, s.Workers, s.Verifiers, s.Breakers = true, d.admission.workers.Stats(), chain.Stats(), chain.Breakers()
	}
	return s
}
