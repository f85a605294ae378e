// Command waiting measures what messages that wait on disk cost: memory while their devices are away, time at a start after a
// kill, and how fast a backend reads them from a stream. bench/scale measures what devices cost that are on line and do nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/message"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

type options struct {
	Only string `default:"" enum:",memory,start,stream" help:"Only this part: memory, start or stream."`

	Away     int `default:"10000" help:"Devices that are away while many messages wait for each."`
	Many     int `default:"1000" help:"Messages that wait for each of them."`
	Sessions int `default:"100000" help:"Sessions at the kill."`
	Few      int `default:"10" help:"Messages that wait for each of them."`
	Size     int `default:"128" help:"Bytes per message."`
	Stream   int `default:"200000" help:"Messages in the stream, at least."`

	Profile  string `help:"Write the gateway's heap, with all messages waiting, to this file."`
	Data     string `default:"bench/waiting/out" help:"Folder for the gateway's files: on the disk that is to be measured, and not in memory."`
	Longline string `default:"bin/longline" type:"existingfile" help:"The gateway's program."`
}

// The bars.
const (
	waitingBytes = 150e6
	startSeconds = 3
	readRate     = 500_000 // messages/s, at least
)

// atOnce is how many devices are on line at a time while sessions are made: fewer than one process may have descriptors.
const atOnce = 5000

func main() {
	var o options
	bench.Program("waiting", "Measure what messages that wait on disk cost in memory and at a start, and how fast a stream is read.", &o, o.run)
}

func (o *options) run(ctx context.Context) error {
	for _, part := range []struct {
		name string
		run  func(context.Context, string) error
	}{{"memory", o.memory}, {"start", o.start}, {"stream", o.stream}} {
		if o.Only != "" && o.Only != part.name {
			continue
		}
		if err := os.MkdirAll(o.Data, 0o755); err != nil {
			return err
		}
		folder, err := os.MkdirTemp(o.Data, part.name+"-*")
		if err != nil {
			return err
		}
		err = part.run(ctx, folder)
		if err = errors.Join(err, os.RemoveAll(folder)); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// show prints a measure and whether it holds its bar, 0 for none.
func show(what string, value float64, unit string, bar float64) {
	verdict := ""
	switch {
	case bar > 0 && value <= bar:
		verdict = fmt.Sprintf("   bar %s: held", bench.Short(bar))
	case bar > 0:
		verdict = fmt.Sprintf("   bar %s: missed", bench.Short(bar))
	}
	fmt.Printf("%-70s %12s %s%s\n", what, bench.Short(value), unit, verdict)
}

// memory measures the memory of messages that wait.
func (o *options) memory(ctx context.Context, folder string) error {
	g, err := o.startGateway(ctx, folder)
	if err != nil {
		return err
	}
	defer g.stop()
	if err := g.leave(ctx, o.Away); err != nil {
		return err
	}
	idle, idleUsed, err := g.memory(ctx)
	if err != nil {
		return err
	}
	took, err := g.publish(ctx, o.Away, o.Many, o.Size)
	if err != nil {
		return err
	}
	now, used, err := g.memory(ctx)
	if err != nil {
		return err
	}
	if o.Profile != "" {
		heap, err := g.admin.Get(ctx, "/debug/pprof/heap?gc=1")
		if err = errors.Join(err, os.WriteFile(o.Profile, heap, 0o644)); err != nil {
			return err
		}
	}
	n := float64(o.Away) * float64(o.Many)
	what := fmt.Sprintf("%d devices are away, %d messages of %d B wait for each", o.Away, o.Many, o.Size)
	show(what+": publishing", n/took.Seconds(), "messages/s", 0)
	show("    anonymous memory of the sessions alone", float64(idle)/1e6, "MB", 0)
	show("    anonymous memory above that, as it is", float64(now-idle)/1e6, "MB", 0)
	show("    the same, free memory returned", (float64(used)-float64(idleUsed))/1e6, "MB", waitingBytes/1e6)
	return nil
}

// start measures a start after a kill.
func (o *options) start(ctx context.Context, folder string) error {
	g, err := o.startGateway(ctx, folder)
	if err != nil {
		return err
	}
	defer func() { g.stop() }()
	if err := g.leave(ctx, o.Sessions); err != nil {
		return err
	}
	if _, err := g.publish(ctx, o.Sessions, o.Few, o.Size); err != nil {
		return err
	}
	for i := range 3 {
		if err := g.atRest(ctx); err != nil {
			return err
		}
		if err := g.command.Process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		_ = g.command.Wait() // it was killed
		from := time.Now()
		if g, err = o.startGateway(ctx, folder); err != nil {
			return err
		}
		took := time.Since(from)
		if queued, err := g.queued(ctx); err != nil || queued != o.Few {
			return fmt.Errorf("%d messages wait for a device, want %d; %w", queued, o.Few, err)
		}
		name := fmt.Sprintf("kill %d with %d sessions and %d messages each: until /readyz is 200", i+1, o.Sessions, o.Few)
		show(name, took.Seconds(), "s", startSeconds)
	}
	return nil
}

// stream measures how fast one consumer reads a stream by gRPC, and acknowledges each response, while nothing else goes on.
func (o *options) stream(ctx context.Context, folder string) error {
	g, err := o.startGateway(ctx, folder, fmt.Sprintf("streams: {telemetry: {filters: [%q], max_bytes: 10GiB}}", bench.FilterTelemetry(0)))
	if err != nil {
		return err
	}
	defer g.stop()
	c, err := bench.Connect(ctx, bench.Target{Addr: g.devices, Process: g.process(), Devices: "bench-", MQTT: &bench.MQTT{}}, 1000)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := uint64(0); n < uint64(o.Stream); {
		if _, err := c.MQTTAcknowledged(ctx, bench.Load{Size: o.Size, Duration: time.Second}); err != nil {
			return err
		}
		m, err := g.admin.Metrics(ctx)
		if err != nil {
			return err
		}
		n = uint64(m[`longline_stream_entries{stream="telemetry"}`])
	}
	for i := range 3 {
		if err := g.atRest(ctx); err != nil {
			return err
		}
		before, err := g.process().CPU()
		if err != nil {
			return err
		}
		from := time.Now()
		n, err := g.consume(ctx, fmt.Sprint("reader-", i))
		if err != nil {
			return err
		}
		took := time.Since(from)
		after, err := g.process().CPU()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("reading %d of a stream by gRPC: %d messages of %d B", i+1, n, o.Size)
		rate, verdict := float64(n)/took.Seconds(), "missed"
		if rate >= readRate {
			verdict = "held"
		}
		fmt.Printf("%-70s %12s messages/s   bar %s: %s\n", name, bench.Short(rate), bench.Short(readRate), verdict)
		show("    the gateway's CPU", bench.Micros(after-before)/float64(n), "us/message", 0)
	}
	return nil
}

// consume reads the stream from its first entry to its end, and acknowledges each response. It returns how many messages came.
func (g *gateway) consume(ctx context.Context, consumer string) (n int, err error) {
	r, err := g.api.Consume(ctx, connect.NewRequest(&longlinev1.ConsumeRequest{Stream: "telemetry", Consumer: consumer, ToEnd: true}))
	if err != nil {
		return 0, err
	}
	done, acknowledged := make(chan string, 1), make(chan error, 1)
	go func() {
		var err error
		for place := range done {
			_, failed := g.api.Acknowledge(ctx, connect.NewRequest(&longlinev1.AcknowledgeRequest{Stream: "telemetry", Consumer: consumer, Place: place}))
			err = errors.Join(err, failed)
		}
		acknowledged <- err
	}()
	for r.Receive() {
		n += len(r.Msg().GetEntries())
		select {
		case done <- r.Msg().GetPlace():
		default: // the last one is under way
		}
	}
	close(done)
	return n, errors.Join(r.Err(), r.Close(), <-acknowledged)
}

// gateway is a running one.
type gateway struct {
	command *exec.Cmd
	devices netip.AddrPort
	admin   bench.Admin
	api     longlinev1connect.GatewayClient
}

// startGateway starts a gateway and returns when it is ready.
func (o *options) startGateway(ctx context.Context, folder string, more ...string) (*gateway, error) {
	more = append(more, fmt.Sprintf("store: {path: %q}\nsessions: {per_credential: 2000000}\nlog: {level: info}", folder))
	c, devices, admin, err := bench.StartGateway(ctx, -1, o.Longline, atOnce+100, more...)
	if err != nil {
		return nil, err
	}
	g := &gateway{command: c, devices: devices, admin: bench.Admin{URL: "http://" + admin.String(), Client: new(http.Client)}}
	two := new(http.Transport)
	two.Protocols = new(http.Protocols)
	two.Protocols.SetUnencryptedHTTP2(true)
	g.api = longlinev1connect.NewGatewayClient(&http.Client{Transport: two}, g.admin.URL, connect.WithGRPC())
	for ctx.Err() == nil {
		if _, err := g.admin.Get(ctx, "/readyz"); err == nil {
			return g, nil
		}
		time.Sleep(time.Millisecond)
	}
	g.stop()
	return nil, ctx.Err()
}

func (g *gateway) stop() { bench.Stop(g.command) }

func (g *gateway) process() bench.Process { return bench.Process(g.command.Process.Pid) }

// connect connects devices from the n-th on, each subscribed to what all get.
func (g *gateway) connect(ctx context.Context, n, devices int, q message.QoS) (*bench.Client, error) {
	m := &bench.MQTT{Filter: func(int) string { return "fleet/news" }, QoS: q, Stays: true}
	target := bench.Target{Addr: g.devices, Process: g.process(), Devices: "away-" + strconv.Itoa(n) + "-", MQTT: m}
	return bench.Connect(ctx, target, devices)
}

// leave makes sessions whose devices are away.
func (g *gateway) leave(ctx context.Context, sessions int) error {
	for n := 0; n < sessions; n += atOnce {
		c, err := g.connect(ctx, n, min(atOnce, sessions-n), message.AtLeastOnce)
		if err != nil {
			return err
		}
		c.Close()
	}
	for ctx.Err() == nil {
		m, err := g.admin.Metrics(ctx)
		if err != nil || m[`longline_sessions{state="online"}`] == 0 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// publishers is how many publications are under way at a time.
const publishers = 8

// publish publishes messages to all sessions and returns how long that took.
func (g *gateway) publish(ctx context.Context, sessions, messages, size int) (time.Duration, error) {
	from, failed := time.Now(), make(chan error, publishers)
	work := make(chan struct{}, messages)
	for range messages {
		work <- struct{}{}
	}
	close(work)
	for range publishers {
		go func() {
			for range work {
				if err := g.publishOne(ctx, sessions, size); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	var err error
	for range publishers {
		err = errors.Join(err, <-failed)
	}
	return time.Since(from), err
}

func (g *gateway) publishOne(ctx context.Context, sessions, size int) error {
	m := &longlinev1.Message{Topic: "fleet/news", Qos: 1, Payload: make([]byte, size)}
	r, err := g.api.Publish(ctx, connect.NewRequest(&longlinev1.PublishRequest{Message: m}))
	if err != nil {
		return err
	}
	if int(r.Msg.GetReceivers()) != sessions {
		return fmt.Errorf("a message has %d receivers, want %d", r.Msg.GetReceivers(), sessions)
	}
	return nil
}

// queued is how many messages wait for the first device.
func (g *gateway) queued(ctx context.Context) (int, error) {
	r, err := g.api.ListDevices(ctx, connect.NewRequest(&longlinev1.ListDevicesRequest{PageSize: 1}))
	if err != nil || len(r.Msg.GetDevices()) == 0 {
		return 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return int(r.Msg.GetDevices()[0].GetQueue().GetMessages()), nil
}

// memory returns the process's own memory when it is at rest: as it is, and after free memory was returned.
func (g *gateway) memory(ctx context.Context) (asIs, used uint64, err error) {
	if err := g.atRest(ctx); err != nil {
		return 0, 0, err
	}
	if asIs, err = g.process().Memory(); err != nil {
		return 0, 0, err
	}
	for range 3 {
		if err := g.command.Process.Signal(syscall.SIGUSR1); err != nil {
			return 0, 0, err
		}
		if err := g.atRest(ctx); err != nil {
			return 0, 0, err
		}
	}
	used, err = g.process().Memory()
	return asIs, used, err
}

// atRest waits until the state of the store knows everything and the process has nothing to do.
func (g *gateway) atRest(ctx context.Context) error {
	for ctx.Err() == nil {
		m, err := g.admin.Metrics(ctx)
		if err != nil {
			return err
		}
		if m["longline_store_behind_operations"] == 0 && g.process().Rest(ctx) == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}
