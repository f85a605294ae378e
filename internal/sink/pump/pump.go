package pump

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/stream"
)

// Sink is what a pump pumps: from where, by which rules, and to where.
type Sink struct {
	Name    string
	Config  Config // with its defaults
	Node    uint16
	Stream  *stream.Stream
	Letters *stream.Stream // dead_letters
	Route   *route.Route
	Target  Target
	Model   func() Model // makes what asks a model about the messages of a feed; nil without a model
	Paused  bool         // it begins paused
	Log     *slog.Logger

	// Done, unless it is nil, is called when the sink is done with all entries before place: with ascending places, mostly, from any goroutine, with no lock held.
	Done func(place uint64)

	// Publish publishes a dead letter. It returns at once, and calls done once, from any goroutine: with nil when the letter is safe.
	Publish func(m *message.Message, done func(error))
}

// Consumer returns the name of a sink's consumer, in its stream and in the dead letters.
func Consumer(sink string) string { return "sink:" + sink }

// Pump is a sink that runs. Its methods are safe from any goroutine.
type Pump struct {
	// Static after construction.
	sink    Sink
	exact   Transactional // the target, if it keeps the place itself; otherwise nil
	log     *slog.Logger
	seed    maphash.Seed
	breaker *limit.Breaker

	reading   context.Context // ends when Close is called
	stopReads context.CancelFunc
	life      context.Context // ends when Close gives up
	kill      context.CancelFunc
	readers   sync.WaitGroup
	lanes     sync.WaitGroup
	stopSaver context.CancelFunc
	saver     sync.WaitGroup

	wake  []chan struct{} // of each lane: something has changed; has room for one
	moved chan struct{}   // the place has moved; has room for one

	unsure bool // owned by the lane of an exact target: the last transaction may have been made, or not

	mu sync.Mutex
	// Guarded by mu.
	told      uint64 // to Sink.Done
	flow      flow
	live      *feed
	replay    *replay       // nil if there is none
	recovered chan struct{} // closed when a pause after a failure should end: the other side is well again, or somebody resumes
	failing   error         // the last failure, while there was no success after it
	unread    error         // why the stream cannot be read, while that is so
	since     time.Time     // of failing, unread or flow.stopped
	stats     Stats
	quiet     map[string]time.Time // until when a line of the log is not written again, by its text
}

// breakAfter failures in a row of all lanes the breaker opens, and lets one call through after breakFor.
const (
	breakAfter = 5
	breakFor   = time.Second
)

// Start starts a pump. The target belongs to it from now on.
func Start(s Sink) *Pump {
	p := &Pump{sink: s, log: s.Log.With("sink", s.Name), seed: maphash.MakeSeed()}
	p.exact, _ = s.Target.(Transactional)
	lanes := s.Config.Lanes
	if p.exact != nil {
		lanes = 1
	}
	p.breaker = limit.NewBreaker("sink "+s.Name, breakAfter, breakFor, isLater)
	p.reading, p.stopReads = context.WithCancel(context.Background())
	p.life, p.kill = context.WithCancel(context.Background())
	p.flow = flow{batch: s.Config.Batch, ahead: s.Config.Ahead, exact: p.exact != nil, lanes: make([]lane, lanes), paused: s.Paused}
	p.live, p.moved, p.recovered, p.quiet = newFeed(), make(chan struct{}, 1), make(chan struct{}), make(map[string]time.Time)
	p.wake = make([]chan struct{}, lanes)
	for n := range p.wake {
		p.wake[n] = make(chan struct{}, 1)
		p.lanes.Go(func() { p.runLane(n) })
	}
	p.readers.Go(p.readStream)
	var saving context.Context
	saving, p.stopSaver = context.WithCancel(context.Background())
	p.saver.Go(func() { p.savePlaces(saving) })
	return p
}

// isLater reports whether err says that the other side fails, and not that it refuses a message or its configuration is wrong.
func isLater(err error) bool { return err != nil && !IsRefused(err) && !IsMisconfigured(err) }

// signal gives a channel that has room for one a value, unless it has one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wakeLanes makes all lanes look what there is to do.
func (p *Pump) wakeLanes() {
	for _, c := range p.wake {
		signal(c)
	}
}

// update changes the flow, and tells everybody whom the change may concern.
func (p *Pump) update(change func(f *flow)) {
	p.mu.Lock()
	change(&p.flow)
	p.retryNow()
	p.mu.Unlock()
	p.wakeLanes()
}

// retryNow ends the pauses after failures. mu is held.
func (p *Pump) retryNow() {
	close(p.recovered)
	p.recovered = make(chan struct{})
}

// Pause makes the pump send nothing more; what is under way goes on. Messages that were read stay in memory.
func (p *Pump) Pause() { p.update(func(f *flow) { f.paused = true }) }

// Resume makes the pump go on after Pause, or after it has stopped by itself.
func (p *Pump) Resume() {
	p.update(func(f *flow) { f.paused, f.stopped = false, nil })
}

// stop stops the sink for an error that only a person can mend.
func (p *Pump) stop(err error) {
	p.log.Error("the sink has stopped: it goes on when it is resumed, or its configuration changes", "error", err)
	p.mu.Lock()
	p.since = time.Now()
	p.mu.Unlock()
	p.update(func(f *flow) { f.stopped = err })
}

// Close stops reading, sends what was read until ctx ends, and closes the target. What is not confirmed then, or fails meanwhile, comes again when a
// pump is started for the sink; the error says that there is something.
func (p *Pump) Close(ctx context.Context) error {
	defer p.kill()
	p.mu.Lock() // addReplay adds no reader from now on
	p.stopReads()
	p.mu.Unlock()
	p.readers.Wait()
	p.update(func(f *flow) { f.closing = true })
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	err := p.endLanes()
	p.stopSaver()
	p.saver.Wait()
	return errors.Join(err, p.closeTarget())
}

// closeGrace is how long a target has to return from Send after its context has ended, and then from Close.
const closeGrace = 2 * time.Second

// closeTarget closes the target, and leaves it alone if that lasts: a disk or a connection may hang.
func (p *Pump) closeTarget() error {
	closed := make(chan struct{})
	go func() { p.sink.Target.Close(); close(closed) }()
	select {
	case <-closed:
		return nil
	case <-time.After(closeGrace):
		return errors.New("the other side's connection or file does not close")
	}
}

// endLanes waits until all lanes have ended.
func (p *Pump) endLanes() error {
	ended := make(chan struct{})
	go func() { p.lanes.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-p.life.Done():
		select {
		case <-ended:
		case <-time.After(closeGrace):
			return errors.New("a batch is still under way")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.live.places.messages; n > 0 {
		return errors.New("not everything that was read is confirmed: it comes again")
	}
	return nil
}

// quietFor is how long a line of the log is not written again.
const quietFor = 10 * time.Second

// tell logs a line, each text at most every ten seconds. The texts are few.
func (p *Pump) tell(level slog.Level, text string, args ...any) {
	now := time.Now()
	p.mu.Lock()
	due := now.After(p.quiet[text])
	if due {
		p.quiet[text] = now.Add(quietFor)
	}
	p.mu.Unlock()
	if due {
		p.log.Log(context.Background(), level, text, args...)
	}
}
