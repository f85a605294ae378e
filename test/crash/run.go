package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/test/account"
	"github.com/longline/longline/test/clients"
)

// options are the options of a run.
type options struct {
	Duration time.Duration `default:"10m" help:"How long the gateway is killed (${default}). What is on its way arrives after that."`
	Seed     uint64        `help:"Seed of the schedule and of the devices; 0 means a new one."`
	Devices  int           `default:"24" help:"Number of devices (${default})."`
	Pace     time.Duration `default:"30ms" help:"Time between two messages of a device (${default})."`
	NoFill   bool          `help:"Do not fill the disk. The data is in the folder for temporary files."`
	Commands bool          `default:"true" negatable:"" help:"Give commands to devices."`
	Streams  bool          `default:"true" negatable:"" help:"Read a stream."`
	Sinks    bool          `default:"true" negatable:"" help:"Write the stream to a Kafka, a Mosquitto and a PostgreSQL, which are killed as well."`
	Longline string        `default:"bin/longline" type:"existingfile" help:"The gateway's program (${default})."`
	Log      string        `placeholder:"FILE" help:"Write the gateway's log to a file."`
	Drop     int           `hidden:"" help:"Forget this arrival, to see that it is found."`
}

// fullTimeout bounds a start on a full disk, where it may wait for room.
const fullTimeout = 5 * time.Second

var errBroken = errors.New("a promise is broken")

// configuration lets queues hold whatever comes while a device is away.
const configuration = `
gateway: {listen: "127.0.0.1:0", insecure: true, drain_timeout: 2s, drain_spread: 1s, mqtt: {listen: "127.0.0.1:0"}}
api: {address: "127.0.0.1:0"}
store: {path: %q, reserve: 32MiB, queue: {count: 1000000, bytes: 1GiB}}
limits: {memory: {limit: 4GiB}}
log: {level: info, format: json}
`

// streamConfiguration lets nothing go that a consumer has not acknowledged.
var streamConfiguration = `
streams: {` + streamName + `: {filters: ["` + streamFilters[0] + `", "` + streamFilters[1] + `"], max_bytes: 128MiB, when_full: refuse}}
`

// Run makes a run.
func (o *options) Run(ctx context.Context) error {
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	fmt.Printf("seed %d\n", o.Seed)
	folder, err := os.MkdirTemp("", "longline-crash")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	r := &run{options: o, book: account.NewBook()}
	r.book.Drop = o.Drop
	if !o.NoFill {
		if r.disk, err = mountDisk(folder); err != nil {
			return err
		}
	}
	config := filepath.Join(folder, "longline.yaml")
	text := fmt.Sprintf(configuration, filepath.Join(folder, "data"))
	if o.Streams {
		text += streamConfiguration
	}
	if o.Streams && o.Sinks {
		var more string
		if r.sinks, more, err = startSinks(ctx, r.book); err != nil {
			return err
		}
		defer r.sinks.close()
		text += more
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	longline, err := filepath.Abs(o.Longline)
	if err != nil {
		return err
	}
	r.gateway = clients.NewGateway(r.book, longline, "serve", "--config", config)
	r.fleet = &clients.Fleet{Gateways: r.gateway, Book: r.book, Seed: o.Seed, Pace: o.Pace, BackendPace: o.Pace, Stay: 4 * time.Second, Wills: true, Retry: 200 * time.Millisecond, ConnectTimeout: 20 * time.Second, Patience: min(20*time.Second, o.Duration/3)}
	if o.Commands {
		r.fleet.Orders = new(clients.Orders)
	}
	defer r.gateway.Kill()
	v, err := r.do(ctx)
	if o.Log != "" {
		err = errors.Join(err, r.gateway.WriteLog(o.Log))
	}
	if err != nil {
		return err
	}
	r.report(os.Stdout, v)
	if !v.Holds() {
		return errBroken
	}
	return nil
}

// run is one run.
type run struct {
	options *options
	gateway *clients.Gateway
	book    *account.Book
	fleet   *clients.Fleet
	disk    *smallDisk // nil with --no-fill
	sinks   *sinks     // nil with --no-sinks

	kills, early, stops, fills, ended, unready int

	ledger   string             // how it compares
	commands *clients.Judgement // nil: none were given

	drops     string        // what the gateway had dropped when it was last asked
	dropsRead time.Duration // when that was
}

// do lets the fleet work while the schedule goes on, then lets everything arrive, and judges.
func (r *run) do(ctx context.Context) (*account.Verdict, error) {
	if err := r.gateway.Start(ctx, clients.StartTimeout); err != nil {
		return nil, err
	}
	devices, stop := context.WithCancel(ctx)
	defer stop()
	all := new(sync.WaitGroup)
	if r.options.Streams { // before the first message
		readStream(devices, r.fleet, all)
	}
	r.fleet.Run(devices, r.options.Devices, all)
	if r.sinks != nil {
		r.sinks.run(devices, r.options.Seed, r.options.Duration, all)
	}
	if err := r.play(ctx, schedule(r.options.Seed, r.options.Duration, r.disk != nil)); err != nil {
		return nil, err
	}
	r.fleet.Calm.Store(true)
	r.fleet.Large.Store(false)
	if r.disk != nil && r.disk.isFull() {
		if err := r.free(ctx); err != nil {
			return nil, err
		}
	}
	if r.sinks != nil {
		r.sinks.rest()
	}
	r.settle(ctx)
	if r.fleet.Orders != nil {
		if err := r.settleCommands(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.compareLedger(ctx); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	v := r.settle(ctx)
	stop()
	all.Wait()
	kept, err := clients.ReadRetained(ctx, r.gateway)
	if err != nil {
		return nil, fmt.Errorf("retained messages: %w", err)
	}
	r.book.JudgeRetained(v, kept)
	return v, ctx.Err()
}

// settle waits until all that is due has arrived, or nothing comes any more.
func (r *run) settle(ctx context.Context) *account.Verdict {
	quiet := 10 * time.Second // longer than any wait in a client or the gateway
	if r.sinks != nil {
		quiet = 40 * time.Second // longer than any wait for a system behind
	}
	began := r.book.Now() // before that the gateway may have been away for long
	for limit := began + 3*time.Minute; ctx.Err() == nil; {
		if r.book.Now() > limit {
			r.book.Fault("the fleet does not come to rest")
			break
		}
		if len(r.book.Open()) == 0 && len(r.book.Verdict().Lost) == min(r.options.Drop, 1) || min(r.book.Quiet(), r.book.Now()-began) > quiet {
			break
		}
		r.fleet.Pause(ctx, 200*time.Millisecond)
	}
	if open := r.book.Open(); len(open) > 0 {
		r.book.Fault(fmt.Sprintf("messages got no answer, by publisher: %v", open))
	}
	return r.book.Verdict()
}

// settleCommands waits until the commands have ended, all of which have little time, and judges them.
func (r *run) settleCommands(ctx context.Context) (err error) {
	const limit = 30 * time.Second // more than any ttl
	for deadline := r.book.Now() + limit; ; r.fleet.Pause(ctx, 500*time.Millisecond) {
		if r.commands, err = r.fleet.Orders.Judge(ctx, r.gateway); err != nil {
			return fmt.Errorf("commands: %w", err)
		}
		if r.commands.States["queued"]+r.commands.States["sent"] == 0 || r.book.Now() > deadline {
			for _, wrong := range r.commands.Wrong {
				r.book.Fault(wrong)
			}
			return nil
		}
	}
}

// play does the steps of a schedule, and starts the gateway again when it ends by itself.
func (r *run) play(ctx context.Context, steps []step) error {
	began := r.book.Now()
	for _, s := range steps {
		if err := r.until(ctx, began+s.at); err != nil {
			return err
		}
		var err error
		switch s.do {
		case kill, stop:
			err = r.kill(ctx, s)
		case fill:
			err = r.fill()
		case free:
			err = r.free(ctx)
		}
		if err != nil {
			return err
		}
	}
	return r.until(ctx, began+r.options.Duration)
}

// until waits for a moment.
func (r *run) until(ctx context.Context, at time.Duration) error {
	admin := clients.NewAPI(r.gateway, "admin")
	for r.book.Now() < at {
		if !r.gateway.Alive() {
			if err := r.revive(ctx); err != nil {
				return err
			}
		}
		r.noteDrops(ctx, admin)
		if r.disk != nil && r.disk.isFull() {
			if status, why, err := admin.Get(ctx, "/readyz"); err == nil && status != 200 {
				r.unready++
				r.book.Event("gateway", "not ready: "+why)
			}
		}
		select {
		case <-time.After(min(100*time.Millisecond, max(at-r.book.Now(), 0))):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// noteDrops looks whether the ledger balances, and notes what the gateway has dropped, for the histories, when it is more than before.
func (r *run) noteDrops(ctx context.Context, admin *clients.API) {
	if r.dropsRead > r.book.Now()-500*time.Millisecond {
		return
	}
	r.dropsRead = r.book.Now()
	if _, err := r.readLedger(ctx, admin); err != nil {
		return // it is down
	}
	_, text, err := admin.Get(ctx, "/metrics")
	if err != nil {
		return
	}
	var drops []string
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "longline_messages_dropped_total") && !strings.HasSuffix(line, " 0") {
			drops = append(drops, strings.TrimPrefix(line, "longline_messages_dropped_total"))
		}
	}
	if now := strings.Join(drops, " "); now != r.drops && now != "" {
		r.drops = now
		r.book.Event("gateway", "has dropped "+now)
	}
}

// kill kills or stops the gateway and starts it again; some starts are cut short by a further kill.
func (r *run) kill(ctx context.Context, s step) error {
	if s.do == stop {
		r.gateway.Stop()
		r.stops++
	} else {
		r.gateway.Kill()
		r.kills++
	}
	for _, after := range s.also {
		short, cancel := context.WithTimeout(ctx, after)
		err := r.gateway.Start(short, clients.StartTimeout)
		cancel()
		if err == nil {
			r.gateway.Kill()
		}
		r.kills++
		r.early++
	}
	return r.start(ctx)
}

// start starts the gateway. On a full disk it may end at once: it is tried a few times, then the disk gets room. Or it waits for
// room, and gets it.
func (r *run) start(ctx context.Context) error {
	for tries := 1; ; tries++ {
		within := clients.StartTimeout
		if r.disk != nil && r.disk.isFull() {
			within = fullTimeout
		}
		err := r.gateway.Start(ctx, within)
		if err == nil || ctx.Err() != nil || r.disk == nil || !r.disk.isFull() {
			return err
		}
		r.ended++
		r.book.Event("gateway", err.Error())
		if tries == 10 || errors.Is(err, clients.ErrSilent) {
			if err := r.disk.free(); err != nil {
				return err
			}
		}
		r.fleet.Pause(ctx, 100*time.Millisecond)
	}
}

// revive starts a gateway again that has ended by itself, which it may do when its disk is full.
func (r *run) revive(ctx context.Context) error {
	if r.disk == nil || !r.disk.isFull() {
		r.book.Fault("the gateway ended by itself: " + r.gateway.LastLine())
	}
	r.ended++
	r.gateway.Kill()
	return r.start(ctx)
}

// fill fills the disk, and makes devices send much.
func (r *run) fill() error {
	r.fills++
	r.book.Event("gateway", "the disk is full")
	r.book.StoreFails(true)
	r.fleet.Large.Store(true)
	return r.disk.fill()
}

// free frees the disk and waits until the gateway is ready.
func (r *run) free(ctx context.Context) error {
	r.fleet.Large.Store(false)
	r.book.Event("gateway", "the disk has room")
	if r.disk.isFull() {
		if err := r.disk.free(); err != nil {
			return err
		}
	}
	admin := clients.NewAPI(r.gateway, "admin")
	for deadline := r.book.Now() + 30*time.Second; ; {
		if !r.gateway.Alive() {
			r.ended++
			r.gateway.Kill()
			if err := r.start(ctx); err != nil {
				return err
			}
		}
		status, why, err := admin.Get(ctx, "/readyz")
		if err == nil && status == 200 {
			r.book.StoreFails(false)
			r.book.Event("gateway", "ready")
			return nil
		}
		if r.book.Now() > deadline {
			r.book.Fault(fmt.Sprintf("not ready 30 s after the disk has room: %s %v", strings.TrimSpace(why), err))
			return nil
		}
		r.fleet.Pause(ctx, 100*time.Millisecond)
	}
}
