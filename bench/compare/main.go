// Command compare measures Longline's echo against the floor and against other WebSocket
// libraries, on this machine, and prints the table.
//
// Every server runs alone, pinned to the first processor with GOMAXPROCS=1; the client is
// pinned to the second. Repetitions are interleaved: each server once, then each again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/longline/longline/internal/bench"
)

type options struct {
	Reps      int           `default:"3" help:"Repetitions."`
	Duration  time.Duration `default:"5s" help:"Time that each load is measured."`
	Warmup    time.Duration `default:"1s" help:"Time of each load before that."`
	Many      int           `default:"15000" help:"Connections that are idle, and get broadcasts."`
	Few       int           `default:"1000" help:"Connections of the first closed loop."`
	Load      int           `default:"10000" help:"Connections of the second closed loop, and of the paced load."`
	Rate      float64       `default:"20000" help:"Messages a second of the paced load."`
	Rounds    int           `default:"40" help:"Broadcasts."`
	Handshake int           `default:"20000" help:"Handshakes."`
	Size      int           `default:"128" help:"Bytes of a message."`
	Only      []string      `placeholder:"NAME" help:"Only these servers."`
	Bin       string        `default:"bin" help:"Folder with longline, peers and floor."`
	Out       string        `default:"out" help:"Folder for compare.json and compare.svg."`
	ServerCPU int           `default:"0" help:"Processor of the servers."`
	ClientCPU int           `default:"1" help:"Processor of the client."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("compare"), kong.Description("Measure echo servers side by side."))
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// run measures until it is done, or interrupted.
func (o *options) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers, err := o.servers()
	if err != nil {
		return err
	}
	if err := bench.Pin(o.ClientCPU); err != nil {
		return err
	}
	t := newTable(o, servers)
	if err := t.Repeat(o.Reps, os.Stderr, func(i int, s *bench.Summary) error { return o.measure(ctx, &servers[i], s) }); err != nil {
		return err
	}
	return t.write(o.Out, os.Stdout)
}
