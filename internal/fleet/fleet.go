package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// Fleet is many devices in one process. Its methods are safe from any goroutine, but must not
// be called on a loop.
type Fleet struct {
	// Static after construction.
	config        Config
	target        target
	tls           *tls.Config      // nil if the gateway does not use TLS
	workers       *reactor.Workers // for TLS handshakes; nil without TLS
	sources       sources
	codec         wire.Codec
	op            websocket.Opcode
	protocols     []string
	authorization string
	frames        websocket.Config
	devices       int
	names         []string // of the devices; nil if they are numbered
	rows          int      // of the recording; 0 without one
	interval      time.Duration
	began         time.Time
	slots         chan struct{} // one element per row that was read and is not settled; nil without a recording
	group         *reactor.Group
	lanes         []*lane
	ticker        sync.WaitGroup
	stop          chan struct{} // ends the ticker

	// Safe from any goroutine.
	lanesUntried atomic.Int32
	lanesAlive   atomic.Int32
	tried        chan struct{} // closed when every device has tried to connect
	dead         chan struct{} // closed when every device has given up
}

// Run connects the devices, runs the load, and closes the connections. The
// report says what was done, also if there is an error. Run writes its progress to the
// writer, unless that is nil.
//
// A synthetic load ends without an error after its duration, or when ctx ends. If ctx ends a replay, Run returns
// the error of ctx. If every device has given up, Run returns an error that says so.
func Run(ctx context.Context, config Config, progress io.Writer) (Report, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return Report{}, err
	}
	if len(config.Replay.Files) == 0 {
		return run(ctx, config, nil, progress)
	}
	recording, err := config.Replay.scan(ctx)
	if err != nil {
		return Report{}, err
	}
	return run(ctx, config, recording, progress)
}

// run starts a fleet, runs the load, and closes the fleet. A nil recording means a synthetic load.
func run(ctx context.Context, config Config, recording *recording, progress io.Writer) (Report, error) {
	f, err := start(config, recording)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	show := startProgress(f, recording, progress)
	if recording != nil {
		err = f.replay(ctx, recording)
	} else {
		err = f.synthetic(ctx)
	}
	show.stop()
	return f.Report(), err
}

// Start begins to connect the devices of config, which has no Replay. They stay connected until Close,
// and publish only when Publish is called.
func Start(config Config) (*Fleet, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	return start(config, nil)
}

// start begins to connect the devices.
func start(config Config, recording *recording) (*Fleet, error) {
	f := &Fleet{
		config:  config,
		codec:   config.codec(),
		op:      websocket.Binary,
		frames:  websocket.Config{Client: true, MaxMessage: maxPayload},
		devices: config.Synthetic.Devices,
		began:   time.Now(),
		stop:    make(chan struct{}),
		tried:   make(chan struct{}),
		dead:    make(chan struct{}),
	}
	if f.codec.Text() {
		f.op = websocket.Text
	}
	f.protocols = []string{f.codec.Name()}
	if config.Token != "" {
		f.authorization = "Bearer " + config.Token
	}
	if recording != nil {
		f.names, f.devices, f.rows = recording.names, len(recording.names), recording.rows
		f.slots = make(chan struct{}, config.Replay.LookAhead)
	}
	var err error
	if f.target, err = parseTarget(config.Gateway); err != nil {
		return nil, err
	}
	if f.sources, err = parseSources(config.Source, f.devices, f.target.addr.Addr()); err != nil {
		return nil, err
	}
	if f.tls, err = config.clientTLS(&f.target); err != nil {
		return nil, err
	}
	if err = f.startLoops(); err != nil {
		return nil, err
	}
	f.makeLanes()
	f.ticker.Go(f.tick)
	return f, nil
}

// makeLanes gives each loop its share of the devices. A loop without devices has no lane.
func (f *Fleet) makeLanes() {
	loops := f.group.Loops()
	n := min(len(loops), f.devices)
	f.interval = max(minInterval, time.Duration(n)*time.Millisecond)
	f.lanesUntried.Store(int32(n))
	f.lanesAlive.Store(int32(n))
	for _, l := range loops[:n] {
		f.lanes = append(f.lanes, newLane(f, l, n, f.devices))
	}
}

// minInterval is the least time between the turns of a lane. With many lanes the time is longer, so
// that there are at most 1,000 wake-ups per second.
const minInterval = 5 * time.Millisecond

// tick posts a turn to each busy lane whose last turn has begun.
func (f *Fleet) tick() {
	t := time.NewTicker(f.interval)
	defer t.Stop()
	for {
		for _, l := range f.lanes {
			if l.busy.Load() && l.posted.CompareAndSwap(false, true) {
				l.loop.Post(l)
			}
		}
		select {
		case <-t.C:
		case <-f.stop:
			return
		}
	}
}

// clock returns the time since the fleet's start. Safe from any goroutine.
func (f *Fleet) clock() time.Duration { return time.Since(f.began) }

// name returns the id of the i-th device.
func (f *Fleet) name(i uint32) string {
	if f.names != nil {
		return f.names[i]
	}
	return f.config.Synthetic.Prefix + strconv.Itoa(int(i))
}

// each runs f on every lane's loop and waits.
func (f *Fleet) each(do func(l *lane)) {
	var wg sync.WaitGroup
	for _, l := range f.lanes {
		wg.Add(1)
		if !l.loop.Post(reactor.TaskFunc(func(*reactor.Loop) { do(l); wg.Done() })) {
			wg.Done()
		}
	}
	wg.Wait()
}

func (f *Fleet) laneTried() {
	if f.lanesUntried.Add(-1) == 0 {
		close(f.tried)
	}
}

func (f *Fleet) laneDied() {
	if f.lanesAlive.Add(-1) == 0 {
		close(f.dead)
	}
}

// errGaveUp is the error of a run whose devices have all given up.
var errGaveUp = errors.New("every device gave up")

// gaveUp returns errGaveUp with the most frequent reason, if there is one.
func (f *Fleet) gaveUp() error {
	if reason := f.Snapshot().lastReason; reason != "" {
		return fmt.Errorf("%w: %s", errGaveUp, reason)
	}
	return errGaveUp
}

// awaitTried waits until every device has connected, or failed to.
func (f *Fleet) awaitTried(ctx context.Context) error {
	select {
	case <-f.tried:
		return nil
	case <-f.dead:
		return f.gaveUp()
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	drainTime = 5 * time.Second // for outstanding answers, and for the close handshakes
	drainLook = 10 * time.Millisecond
)

// drain waits for the answers to messages that were sent.
func (f *Fleet) drain() {
	f.await(func() bool { return f.Snapshot().Waiting == 0 })
}

// await polls done until it returns true, for drainTime at most.
func (f *Fleet) await(done func() bool) {
	deadline := time.Now().Add(drainTime)
	for !done() && time.Now().Before(deadline) {
		time.Sleep(drainLook)
	}
}

// Close closes the connections and ends the loops.
func (f *Fleet) Close() {
	close(f.stop)
	f.ticker.Wait()
	f.each(func(l *lane) { l.stop() })
	f.await(func() bool { return f.group.Stats().Open == 0 })
	f.group.Close()
	f.closeWorkers()
}
