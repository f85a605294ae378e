package pump

import (
	"cmp"
	"time"
)

// The states of a sink.
const (
	Running = "running"
	Failing = "failing" // the other side fails, or the stream cannot be read: it tries again
	Paused  = "paused"
	Stopped = "stopped" // its configuration is wrong, or the other side's
)

// Stats are counters since Start, and what is there now.
type Stats struct {
	State   string
	Problem string    // why it is failing or stopped
	Since   time.Time // when that began
	Breaker string    // closed, open or half-open

	Place  uint64 // all entries of the stream before it are done
	End    uint64 // the place of the next entry that comes
	Ahead  int    // messages in memory: those that were read and are not done, and those behind them
	Bytes  uint64 // of the messages that were sent
	Sent   uint64 // messages that the other side has confirmed
	Missed uint64 // messages that the stream had dropped before the sink read them

	Filtered uint64 // messages that are not for the sink
	Dead     uint64 // messages that became dead letters
	DeadLost uint64 // of those, messages that the dead letters do not have
	Failures uint64 // batches that have to be sent again
	Batches  uint64 // calls of the target
	SendTime time.Duration

	Replay *ReplayStats // nil while there is no replay
}

// ReplayStats tells how far a replay is.
type ReplayStats struct {
	Range  Range
	Stream string
	From   uint64 // places of Stream
	Place  uint64 // all entries before it are done
	End    uint64
	Begun  time.Time
}

// Stats returns the counters.
func (p *Pump) Stats() Stats {
	p.mu.Lock()
	s, f := p.stats, &p.flow
	s.Place, s.Ahead = p.live.places.low, p.live.places.messages
	var problem error
	switch {
	case f.stopped != nil:
		s.State, problem = Stopped, f.stopped
	case f.paused:
		s.State = Paused
	case p.failing != nil || p.unread != nil:
		s.State, problem = Failing, cmp.Or(p.failing, p.unread)
	default:
		s.State = Running
	}
	if problem != nil {
		s.Problem, s.Since = problem.Error(), p.since
	}
	if r := p.replay; r != nil {
		s.Ahead += r.feed.places.messages
		s.Replay = &ReplayStats{Range: r.what, Stream: r.stream.Name(), From: r.from, Place: r.feed.places.low, End: r.feed.end, Begun: r.begun}
	}
	p.mu.Unlock()
	s.Breaker, s.End = p.breaker.State(), p.sink.Stream.End()
	return s
}
