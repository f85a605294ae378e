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

// Fleet is many devices of one process. Its methods are safe from any goroutine, but not to
// be called on a loop.
type Fleet struct {
	// Static after construction.
	config        Config
	target        target
	tls           *tls.Config      // nil when the gateway does not speak it
	workers       *reactor.Workers // of handshakes, nil without TLS
	sources       sources
	codec         wire.Codec
	op            websocket.Opcode
	protocols     []string
	authorization string
	frames        websocket.Config
	devices       int
	names         []string // of the devices, nil when they are numbered
	rows          int      // of the recording; 0 without one
	interval      time.Duration
	began         time.Time
	slots         chan struct{} // one for each row that was read and is not settled; nil without a recording
	group         *reactor.Group
	lanes         []*lane
	ticker        sync.WaitGroup
	stop          chan struct{} // ends the ticker

	// Safe from any goroutine.
	lanesUntried atomic.Int32
	lanesAlive   atomic.Int32
	tried        chan struct{} // closed once every device has tried to connect
	dead         chan struct{} // closed once every device has given up
}

// Run brings the devices on line, has them do the work, and takes them off line. The
// report is that of what was done, also when there is an error. Progress goes to the
// writer as the work goes on; nil is none.
//
// A synthetic load ends without an error after its duration, or when ctx ends. A replay
// that is cut short by ctx returns its error. When every device has given up, that is the
// error.
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

// run does the work on a fleet of its own. A nil recording is a synthetic load.
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

// Start begins to connect the devices of config, which has no Replay, and leaves them on
// line, idle but for Publish, until Close.
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

// makeLanes gives each loop its share of the devices; a loop without any has no lane.
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

// minInterval is the time between the turns of a lane; many lanes have a longer one, so
// that there are 1,000 wake-ups a second at most.
const minInterval = 5 * time.Millisecond

// tick posts the busy lanes their turns; one that is behind does not get another.
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

// clock is the time since the fleet's start. Safe from any goroutine.
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

// errGaveUp is that of a run whose devices all gave up.
var errGaveUp = errors.New("every device gave up")

// gaveUp says why, as far as one knows.
func (f *Fleet) gaveUp() error {
	if reason := f.Snapshot().lastReason; reason != "" {
		return fmt.Errorf("%w: %s", errGaveUp, reason)
	}
	return errGaveUp
}

// awaitTried waits until every device has connected or failed to.
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
	drainTime = 5 * time.Second // for the answers to what is under way, and for the close handshakes
	drainLook = 10 * time.Millisecond
)

// drain waits for the answers to what is under way.
func (f *Fleet) drain() {
	f.await(func() bool { return f.Snapshot().Waiting == 0 })
}

// await looks until done, for drainTime at most.
func (f *Fleet) await(done func() bool) {
	deadline := time.Now().Add(drainTime)
	for !done() && time.Now().Before(deadline) {
		time.Sleep(drainLook)
	}
}

// Close takes the devices off line and ends the loops.
func (f *Fleet) Close() {
	close(f.stop)
	f.ticker.Wait()
	f.each(func(l *lane) { l.stop() })
	f.await(func() bool { return f.group.Stats().Open == 0 })
	f.group.Close()
	f.closeWorkers()
}
