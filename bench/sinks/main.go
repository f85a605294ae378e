// Command sinks measures the way of messages from devices over a stream to systems behind, which it starts itself: the rate that holds, the gateway's
// CPU, and what outages cost.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
)

type options struct {
	Only string `default:"" help:"Only these parts, with commas between them: kafka, outage, sql."`

	Devices  int           `default:"1000" help:"Devices that publish."`
	Size     int           `default:"128" help:"Bytes per message."`
	Rate     float64       `default:"42000" help:"Messages per second of kafka."`
	Duration time.Duration `default:"20s" help:"Time that kafka is measured."`
	Through  float64       `default:"10000" help:"Messages per second of outage."`
	Away     time.Duration `default:"60s" help:"Time for which the system behind is away in outage."`

	Rows int `default:"300000" help:"Messages of sql, about."`

	Profile  string `help:"Write a CPU profile of the gateway in kafka to this file."`
	Data     string `default:"bench/sinks/out" help:"Folder for files: on the disk that is to be measured, and not in memory."`
	Longline string `default:"bin/longline" type:"existingfile" help:"The gateway's program."`
}

func main() {
	var o options
	bench.Program("sinks", "Measure messages from devices over a stream to systems behind.", &o, o.run)
}

func (o *options) run(ctx context.Context) error {
	for _, part := range []struct {
		name string
		run  func(context.Context, string) error
	}{{"kafka", o.kafka}, {"outage", o.outage}, {"sql", o.sql}} {
		if o.Only != "" && !strings.Contains(","+o.Only+",", ","+part.name+",") {
			continue
		}
		if err := os.MkdirAll(o.Data, 0o755); err != nil {
			return err
		}
		folder, err := os.MkdirTemp(o.Data, part.name+"-*")
		if err != nil {
			return err
		}
		if folder, err = filepath.Abs(folder); err != nil {
			return err
		}
		err = part.run(ctx, folder)
		if err = errors.Join(err, os.RemoveAll(folder)); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// bar is what a measure has to hold.
type bar struct {
	than  float64
	least bool // the measure has to be at least that, not at most
	none  bool
}

func atMost(than float64) bar  { return bar{than: than} }
func atLeast(than float64) bar { return bar{than: than, least: true} }

var noBar = bar{none: true}

// show prints a measure and whether it holds its bar.
func show(what string, value float64, unit string, b bar) {
	verdict := ""
	if !b.none {
		word, held := "<=", value <= b.than
		if b.least {
			word, held = ">=", value >= b.than
		}
		verdict = fmt.Sprintf("   bar %s %s: missed", word, bench.Short(b.than))
		if held {
			verdict = fmt.Sprintf("   bar %s %s: held", word, bench.Short(b.than))
		}
	}
	fmt.Printf("%-86s %10s %s%s\n", what, bench.Short(value), unit, verdict)
}

// gateway is a gateway that runs.
type gateway struct {
	command *exec.Cmd
	devices netip.AddrPort
	admin   bench.Admin
}

// addresses are those of a gateway: a device comes back to the same one.
type addresses struct{ devices, admin netip.AddrPort }

func newAddresses() (a addresses, err error) {
	if a.devices, err = bench.FreeAddress(); err == nil {
		a.admin, err = bench.FreeAddress()
	}
	return a, err
}

// startGateway starts a gateway with its files in folder, a stream telemetry of what devices publish, and one sink, which the section says. It waits
// until the gateway is ready.
func (o *options) startGateway(ctx context.Context, folder string, at addresses, sink string) (*gateway, error) {
	file := filepath.Join(folder, "longline.yaml")
	text := fmt.Sprintf(`gateway: {listen: %q, insecure: true, max_connections: %d}
api: {address: %q}
log: {level: warn}
store: {path: %q}
streams: {telemetry: {filters: [device/+/telemetry], max_bytes: 4GiB, when_full: refuse}, dead_letters: {filters: ['$sink/+/dead']}}
sinks: {main: {stream: telemetry, %s}}
`, at.devices, o.Devices+10, at.admin, filepath.Join(folder, "gateway"), sink)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	g := &gateway{
		command: exec.Command(o.Longline, "serve", "--config", file),
		devices: at.devices, admin: bench.Admin{URL: "http://" + at.admin.String(), Client: http.DefaultClient},
	}
	g.command.Stderr = os.Stderr
	g.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.command.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := g.admin.Get(ctx, "/readyz")
		if err == nil {
			return g, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			g.kill()
			return nil, fmt.Errorf("the gateway is not ready: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (g *gateway) process() bench.Process { return bench.Process(g.command.Process.Pid) }

// kill ends the gateway as kill -9 does.
func (g *gateway) kill() {
	_ = g.command.Process.Kill()
	_ = g.command.Wait() // it was killed
}

// lag returns how many messages of the stream the sink is not done with.
func (g *gateway) lag(ctx context.Context) (float64, error) {
	m, err := g.admin.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	if dead := m[`longline_sink_dead_total{sink="main"}`]; dead > 0 {
		return 0, fmt.Errorf("%v messages are dead letters", dead)
	}
	lag, ok := m[`longline_sink_lag_messages{sink="main"}`]
	if !ok {
		return 0, errors.New("there is no sink")
	}
	return lag, nil
}

// drain waits until the sink's lag is at most so many messages.
func (g *gateway) drain(ctx context.Context, most float64) error {
	for {
		lag, err := g.lag(ctx)
		if err == nil && lag <= most {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
