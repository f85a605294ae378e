// Command compare measures Longline's echo, the floor and other WebSocket
// libraries on this machine, and prints the tables.
//
// Every server runs alone, pinned to the first processor with GOMAXPROCS=1. The client is
// pinned to the second. Repetitions are interleaved: each server once, then each again.
package main

import (
	"context"
	"os"

	"github.com/longline/longline/internal/bench"
)

type options struct {
	bench.Versus
	Many      int     `default:"15000" help:"Connections that are idle and get broadcasts."`
	Few       int     `default:"1000" help:"Connections of the first closed loop."`
	Load      int     `default:"10000" help:"Connections of the second closed loop, and of the paced load."`
	Rate      float64 `default:"20000" help:"Messages per second of the paced load."`
	Rounds    int     `default:"40" help:"Number of broadcasts."`
	Handshake int     `default:"20000" help:"Number of handshakes."`
	Size      int     `default:"128" help:"Bytes per message."`
}

func main() {
	var o options
	bench.Program("compare", "Measure echo servers side by side.", &o, o.run)
}

// run makes all measurements, unless ctx ends.
func (o *options) run(ctx context.Context) error {
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
