package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/bench"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// Bench is longline bench: it loads a running gateway, to size a machine, and says what formats of payloads cost.
type Bench struct {
	Connect BenchConnect `cmd:"" help:"Connect devices as fast as the gateway takes them."`
	Idle    BenchIdle    `cmd:"" help:"Keep idle devices connected."`
	Uplink  BenchUplink  `cmd:"" help:"Publish from devices at a fixed rate, QoS 1."`
	Fanout  BenchFanout  `cmd:"" help:"Broadcast to all devices."`
	Command BenchCommand `cmd:"" help:"Call devices at a fixed rate."`
	Storm   BenchStorm   `cmd:"" help:"Disconnect all devices at once and connect them again."`
	Soak    BenchSoak    `cmd:"" help:"Publish for a long time."`
	Formats BenchFormats `cmd:"" help:"Measure a recording in each format and compression; no gateway is needed."`
}

// benchFlags are the flags of every load.
type benchFlags struct {
	Gateway string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where devices connect (${default})."`
	Token   string `env:"LONGLINE_TOKEN" help:"Bearer token of every device."`
	Devices int    `default:"1000" help:"Number of devices (${default})."`
	Prefix  string `default:"bench-" help:"Beginning of the device ids, before a number (${default})."`
	Dials   int    `default:"256" help:"Connections under way at a time (${default})."`
	PID     int    `name:"pid" help:"Process ID of the gateway, if it is on this machine: the report then has its CPU time and memory too."`
	JSON    bool   `name:"json" help:"Print the report as JSON."`
	SVG     string `name:"svg" type:"path" placeholder:"FILE" help:"Draw the latency into this file."`
	Quiet   bool   `short:"q" help:"Show no progress."`
}

func (f *benchFlags) target() (bench.Target, error) {
	a, err := net.ResolveTCPAddr("tcp", f.Gateway)
	if err != nil {
		return bench.Target{}, fmt.Errorf("gateway: %w", err)
	}
	addr := a.AddrPort()
	return bench.Target{
		Addr:    netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()),
		Devices: f.Prefix,
		Token:   f.Token,
		Process: bench.Process(f.PID),
	}, nil
}

// run connects the devices, puts the load on them, and prints the report that it fills.
func (f *benchFlags) run(ctx context.Context, c *Console, title string, load benchLoad) error {
	r := &bench.Report{Title: fmt.Sprintf("%s: %d devices", title, f.Devices)}
	if err := f.connected(ctx, c, r, load); err != nil {
		return err
	}
	return f.print(c, r)
}

// benchLoad is a load on devices that have begun to connect.
type benchLoad func(context.Context, *bench.Client, *bench.Report) error

func (f *benchFlags) connected(ctx context.Context, c *Console, r *bench.Report, load benchLoad) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	client, err := bench.Start(target, f.Devices, f.Dials)
	if err != nil {
		return err
	}
	defer client.Close()
	stop := f.showProgress(c, client)
	defer stop()
	return load(ctx, client, r)
}

// showProgress writes one line per second until stop is called.
func (f *benchFlags) showProgress(c *Console, client *bench.Client) (stop func()) {
	if f.Quiet {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for last := uint64(0); ; {
			select {
			case <-t.C:
				open, messages := client.Progress()
				fmt.Fprintf(c.Err, "%d/%d devices, %d messages received (%d/s)\n", open, f.Devices, messages, messages-last)
				last = messages
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (f *benchFlags) print(c *Console, r *bench.Report) error {
	if f.SVG != "" {
		file, err := os.Create(f.SVG)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // Sync reports errors
		if err := r.WriteSVG(file); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
	}
	if f.JSON {
		return r.WriteJSON(c.Out)
	}
	return r.WriteText(c.Out)
}

// opened waits until the devices are connected.
func opened(ctx context.Context, client *bench.Client, _ *bench.Report) error {
	_, err := client.Opened(ctx)
	return err
}

// add adds a result to the report, if there was no error.
func add(r *bench.Report, what string, result bench.Result, err error) error {
	if err == nil {
		r.AddResult(what, &result)
	}
	return err
}

// BenchConnect is longline bench connect.
type BenchConnect struct{ benchFlags }

// Run reports how long it took from each dial to hello.
func (b *BenchConnect) Run(ctx context.Context, c *Console) error {
	return b.run(ctx, c, "connect", func(ctx context.Context, client *bench.Client, r *bench.Report) error {
		result, err := client.Opened(ctx)
		return add(r, "connected", result, err)
	})
}

// BenchIdle is longline bench idle.
type BenchIdle struct {
	benchFlags
	Duration time.Duration `default:"1m" help:"How long the devices are idle (${default})."`
}

// Run reports what idle devices cost the gateway, if it is given the gateway's process.
func (b *BenchIdle) Run(ctx context.Context, c *Console) error {
	before, err := b.memory()
	if err != nil {
		return err
	}
	return b.run(ctx, c, "idle", func(ctx context.Context, client *bench.Client, r *bench.Report) error {
		if err := opened(ctx, client, r); err != nil {
			return err
		}
		result, err := client.Idle(ctx, b.Duration)
		if err != nil {
			return err
		}
		after, err := b.memory()
		r.Add("elapsed", result.Elapsed.Seconds(), "s")
		if b.PID > 0 {
			r.Add("gateway CPU", 100*result.CPU.Seconds()/result.Elapsed.Seconds(), "% of a processor")
			r.Add("gateway memory", float64(after)/(1<<20), "MiB")
			r.Add("gateway memory a device", (float64(after)-float64(before))/float64(b.Devices), "B, free memory included")
		}
		return err
	})
}

func (b *BenchIdle) memory() (uint64, error) {
	if b.PID == 0 {
		return 0, nil
	}
	return bench.Process(b.PID).Memory()
}

// loadFlags are the flags of loads at a fixed rate.
type loadFlags struct {
	Rate    float64       `default:"1000" help:"Messages or calls per second, of all devices together (${default})."`
	Payload int           `default:"128" placeholder:"BYTES" help:"Bytes per message (${default})."`
	Warmup  time.Duration `default:"1s" help:"How long the load runs before it is measured (${default})."`
}

func (l *loadFlags) load(d time.Duration) bench.Load {
	return bench.Load{Size: l.Payload, Rate: l.Rate, Warmup: l.Warmup, Duration: d}
}

// BenchUplink is longline bench uplink.
type BenchUplink struct {
	benchFlags
	loadFlags
	Duration time.Duration `default:"10s" help:"How long the load is measured (${default})."`
}

// Run reports how long acknowledgements took, from when each message was due.
func (b *BenchUplink) Run(ctx context.Context, c *Console) error {
	return b.publish(ctx, c, "uplink", b.load(b.Duration))
}

// BenchSoak is longline bench soak.
type BenchSoak struct {
	benchFlags
	loadFlags
	Duration time.Duration `default:"1h" help:"How long the load is measured (${default})."`
}

// Run reports as uplink does.
func (b *BenchSoak) Run(ctx context.Context, c *Console) error {
	return b.publish(ctx, c, "soak", b.load(b.Duration))
}

func (f *benchFlags) publish(ctx context.Context, c *Console, title string, load bench.Load) error {
	return f.run(ctx, c, title, func(ctx context.Context, client *bench.Client, r *bench.Report) error {
		if err := opened(ctx, client, r); err != nil {
			return err
		}
		result, err := client.Uplink(ctx, load)
		return add(r, "acknowledged", result, err)
	})
}

// BenchStorm is longline bench storm.
type BenchStorm struct{ benchFlags }

// Run reports how long it took until every device was back.
func (b *BenchStorm) Run(ctx context.Context, c *Console) error {
	if err := b.connected(ctx, c, nil, opened); err != nil {
		return err
	}
	return b.run(ctx, c, "storm", func(ctx context.Context, client *bench.Client, r *bench.Report) error {
		result, err := client.Opened(ctx)
		return add(r, "back", result, err)
	})
}

// backendFlags are the flags of loads that a backend starts.
type backendFlags struct {
	Admin string `default:"http://127.0.0.1:8081" placeholder:"URL" help:"The gateway's admin port (${default})."`
}

// backend returns a client of the gateway's API, which keeps idle connections for its callers. done closes them.
func (b *backendFlags) backend() (client longlinev1connect.GatewayClient, done func()) {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	return longlinev1connect.NewGatewayClient(&http.Client{Transport: transport}, b.Admin), transport.CloseIdleConnections
}

// BenchFanout is longline bench fanout.
type BenchFanout struct {
	benchFlags
	backendFlags
	Rounds  int `default:"20" help:"Broadcasts; each starts when the last one has arrived everywhere (${default})."`
	Payload int `default:"128" placeholder:"BYTES" help:"Bytes per message (${default})."`
}

// Run reports how long it took until the last device had each broadcast.
func (b *BenchFanout) Run(ctx context.Context, c *Console) error {
	backend, done := b.backend()
	defer done()
	message := &longlinev1.Message{Topic: "bench/fanout", Payload: make([]byte, b.Payload)}
	return b.run(ctx, c, "fanout", func(ctx context.Context, client *bench.Client, r *bench.Report) error {
		if err := opened(ctx, client, r); err != nil {
			return err
		}
		result, err := client.Fanout(ctx, b.Rounds, func() error {
			_, err := backend.Broadcast(ctx, connect.NewRequest(&longlinev1.BroadcastRequest{Message: message}))
			return err
		})
		return add(r, "delivered", result, err)
	})
}

// BenchCommand is longline bench command.
type BenchCommand struct {
	benchFlags
	backendFlags
	loadFlags
	Duration time.Duration `default:"10s" help:"How long the load is measured (${default})."`
}

// Run reports how long answers took, from when each call was due.
func (b *BenchCommand) Run(ctx context.Context, c *Console) error {
	backend, done := b.backend()
	defer done()
	payload := make([]byte, b.Payload)
	return b.run(ctx, c, "command", func(ctx context.Context, client *bench.Client, r *bench.Report) error {
		if err := opened(ctx, client, r); err != nil {
			return err
		}
		result, err := client.Command(ctx, b.load(b.Duration), func(ctx context.Context, device string) error {
			_, err := backend.Call(ctx, connect.NewRequest(&longlinev1.CallRequest{Device: device, Method: "bench", Payload: payload}))
			return err
		})
		return add(r, "answered", result, err)
	})
}
