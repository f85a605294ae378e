package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/topic"
)

// Node is what records become something in. Its functions return at once, or wait until ctx ends; each calls done once, from any goroutine and perhaps before it
// returns: with nil when what was made is safe.
type Node struct {
	Publish   func(m *message.Message, done func(error))
	Broadcast func(ctx context.Context, m *message.Message, filter string, done func(error))
	Command   func(ctx context.Context, r *command.Request, ttl time.Duration, done func(error))

	Topics     topic.Limits
	MaxPayload int            // of publications and broadcasts
	Commands   command.Config // bounds of commands
}

// SourceOptions say what a source is made of.
type SourceOptions struct {
	Name   string
	Number uint16 // of the node
	Config Config // valid, with its defaults
	Route  *route.Route
	Feed   Feed
	Node   Node
	Log    *slog.Logger
}

// State is what a source does.
type State string

// The states.
const (
	Running State = "running"
	Failing State = "failing" // the feed or the node fails; the source tries again
	Stopped State = "stopped" // the same, and a person has to mend something
)

// Stats describe a source at one moment.
type Stats struct {
	State    State
	Err      string            // why it is not running
	Since    time.Time         // of Err
	Taken    uint64            // records that came; some come again after a failure
	Done     uint64            // records of which something was made, and is safe
	Filtered uint64            // records that where left out
	Dead     uint64            // records of which nothing could be made
	Failures uint64            // how often the feed or the node failed
	InFlight int               // records that are taken and not yet done
	Bytes    int               // of these
	Dropped  map[string]uint64 // records that the feed left out, by the reason
	Lag      int64             // records that wait on the other side; -1 if that is not known
}

// Source is a source that runs. Its methods are safe from any goroutine.
type Source struct {
	// Static after construction.
	options SourceOptions
	log     *slog.Logger
	maker   *maker
	life    context.Context
	end     context.CancelFunc
	ended   chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	stats   Stats
	changed chan struct{} // closed and replaced when something is done
	quiet   map[string]time.Time
}

// Start starts a source. The feed belongs to it from now on.
func Start(o SourceOptions) (*Source, error) {
	m, err := newMaker(&o)
	if err != nil {
		return nil, err
	}
	s := &Source{
		options: o, log: o.Log.With("source", o.Name), maker: m, ended: make(chan struct{}),
		stats: Stats{State: Running}, changed: make(chan struct{}), quiet: make(map[string]time.Time),
	}
	s.life, s.end = context.WithCancel(context.Background())
	go s.run()
	return s, nil
}

// Close ends the feed, and returns when what was taken is answered. What is not confirmed comes again.
func (s *Source) Close() {
	s.end()
	<-s.ended
}

// Stats returns what the source does.
func (s *Source) Stats() Stats {
	lag, known := s.options.Feed.Lag()
	if !known {
		lag = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Lag = lag
	if d, ok := s.options.Feed.(Dropping); ok {
		stats.Dropped = d.Dropped()
	}
	return stats
}

// Pauses after a failure: random, up to a bound that doubles.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
	mendPause  = 30 * time.Second // after Misconfigured
)

// run runs the feed again and again.
func (s *Source) run() {
	defer close(s.ended)
	defer s.options.Feed.Close()
	for failures := 0; s.life.Err() == nil; failures++ {
		before := s.Stats().Done
		r := &attempt{source: s}
		ctx, fail := context.WithCancelCause(s.life)
		r.fail = fail
		err := s.options.Feed.Run(ctx, r.take)
		if cause := context.Cause(ctx); s.life.Err() == nil && cause != nil {
			err = cause
		}
		fail(nil)
		s.settle()
		if s.life.Err() != nil {
			return
		}
		if s.Stats().Done > before {
			failures = 0
		}
		s.failed(err)
		bound := min(firstPause<<min(failures, 20), mostPause)
		if IsMisconfigured(err) {
			bound = mendPause
		}
		select {
		case <-time.After(rand.N(bound) + 1):
		case <-s.life.Done():
		}
	}
}

// settle waits until all that was taken is answered, which the node does within a bounded time.
func (s *Source) settle() {
	for {
		s.mu.Lock()
		left, changed := s.stats.InFlight, s.changed
		s.mu.Unlock()
		if left == 0 {
			return
		}
		<-changed
	}
}

// failed notes why the feed has ended.
func (s *Source) failed(err error) {
	if err == nil {
		err = errors.New("the feed has ended")
	}
	s.mu.Lock()
	if s.stats.State == Running {
		s.stats.Since = time.Now()
	}
	s.stats.State, s.stats.Err = Failing, err.Error()
	if IsMisconfigured(err) {
		s.stats.State = Stopped
	}
	s.stats.Failures++
	s.mu.Unlock()
	s.tell(slog.LevelWarn, "the source fails, and tries again", "error", err)
}

// attempt is one run of the feed.
type attempt struct {
	source *Source
	fail   context.CancelCauseFunc // ends the run
}

// take is the feed's Take.
func (a *attempt) take(ctx context.Context, r *Record, confirmed func(error)) error {
	s := a.source
	size := r.size()
	if err := s.admit(ctx, size); err != nil {
		return err
	}
	s.maker.make(ctx, r, func(what outcome, err error) {
		if what == dead {
			s.letter(r, err, func(err error) { a.answer(size, dead, err, confirmed) })
			return
		}
		a.answer(size, what, err, confirmed)
	})
	return nil
}

// admit waits for room for a record of this size, and counts it.
func (s *Source) admit(ctx context.Context, size int) error {
	c := &s.options.Config
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.mu.Lock()
		if n := s.stats.InFlight; n == 0 || n < c.InFlight && s.stats.Bytes+size <= c.InFlightBytes {
			s.stats.InFlight++
			s.stats.Bytes += size
			s.stats.Taken++
			s.mu.Unlock()
			return nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// answer notes what became of a record, and tells the feed.
func (a *attempt) answer(size int, what outcome, err error, confirmed func(error)) {
	if err != nil {
		a.fail(err) // before confirmed: nothing behind this record is taken any more
	}
	confirmed(err)
	s := a.source
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.InFlight--
	s.stats.Bytes -= size
	if err == nil {
		s.stats.State, s.stats.Err = Running, ""
		switch what {
		case made:
			s.stats.Done++
		case filtered:
			s.stats.Filtered++
		case dead:
			s.stats.Dead++
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// quietFor is how long a line of the log is not written again.
const quietFor = 10 * time.Second

// tell logs a line, each text at most every ten seconds. The texts are few.
func (s *Source) tell(level slog.Level, text string, args ...any) {
	now := time.Now()
	s.mu.Lock()
	due := now.After(s.quiet[text])
	if due {
		s.quiet[text] = now.Add(quietFor)
	}
	s.mu.Unlock()
	if due {
		s.log.Log(context.Background(), level, text, args...)
	}
}
