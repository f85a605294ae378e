package stream

import (
	"errors"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/router"
)

// Info is the state of a stream.
type Info struct {
	Name    string
	Filters []string

	MaxBytes int
	MaxAge   time.Duration // 0 means without a bound
	WhenFull string

	First, End uint64    // places: of the oldest entry, which is End if there is none; behind the newest one
	Bytes      int64     // what the entries take on disk
	Disk       int64     // of all files of the stream
	Oldest     time.Time // when the oldest entry came; zero if there is none
	Readers    int

	Consumers []Consumer // by name
	Err       error      // why the stream takes no messages at present
}

// Consumer is the state of a consumer.
type Consumer struct {
	Name    string
	Place   uint64 // all entries before it are done
	Lag     Lag
	Reading bool   // a reader is open
	Missed  uint64 // entries that were dropped, or spoilt on the disk, before the consumer had acknowledged them
}

// Lag is how far a place is behind the end of a stream.
type Lag struct {
	Messages uint64
	Bytes    int64         // on disk, with what is between the entries
	Age      time.Duration // how long the oldest of them has been there
}

// Info returns the state of s. It reads from the disk: not on a loop, and with no lock held.
func (s *Stream) Info() Info {
	now := time.Now()
	i := Info{
		Name: s.name, Filters: s.config.Filters,
		MaxBytes: s.config.MaxBytes, MaxAge: s.config.MaxAge, WhenFull: s.config.WhenFull,
		Disk: s.journal.Stats().Size, Err: s.journal.Err(),
	}
	i.Consumers, i.Readers = s.audience.list()
	for n := range i.Consumers {
		c := &i.Consumers[n]
		c.Lag = s.lag(c.Place, now)
	}
	i.First, i.End = s.first(), uint64(s.journal.End())
	if all := s.lag(i.First, now); all.Messages > 0 {
		i.Bytes, i.Oldest = all.Bytes, now.Add(-all.Age)
	}
	return i
}

// lag returns how far a place is behind the end. It reads one group of the journal.
func (s *Stream) lag(place uint64, now time.Time) Lag {
	r := s.journal.Reader(journal.Place(place))
	for {
		rec, err := r.Next(ended)
		var gap *journal.Gap
		switch {
		case errors.As(err, &gap):
			continue
		case err != nil:
			return Lag{}
		}
		l := Lag{Messages: uint64(s.journal.End()) - place, Bytes: r.Left() + int64(len(rec.Data))}
		if milliseconds, _, err := splitEntry(rec.Data); err == nil {
			l.Age = max(now.Sub(time.UnixMilli(milliseconds)), 0)
		}
		return l
	}
}

// Stats are counters since Open, and what is there now.
type Stats struct {
	Journal       journal.Stats
	Full, Failing uint64 // messages that were not taken, by reason
	Lost          uint64 // entries that the disk has spoilt
	Undelivered   int    // publications that wait for sinks, see Config.Ack
	Failed        bool   // the stream cannot make messages safe at present
}

// Stats returns the counters.
func (s *Stream) Stats() Stats {
	return Stats{
		Journal: s.journal.Stats(),
		Full:    s.drops[router.StreamFull].Load(), Failing: s.drops[router.StreamFailing].Load(), Lost: s.lost.Load(),
		Undelivered: s.undelivered.count(),
		Failed:      s.Err() != nil,
	}
}
