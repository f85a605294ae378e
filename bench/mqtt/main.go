// Command mqtt compares Longline as an MQTT broker with Mosquitto and mochi-mqtt, over
// WebSocket, on this machine, and prints the tables.
//
// Every server runs alone, pinned to the first processor. The client is pinned to the second.
// Repetitions are interleaved: each server once, then each again.
package main

import (
	"context"
	"os"
	"time"

	"github.com/longline/longline/internal/bench"
)

type options struct {
	bench.Versus
	Lag    time.Duration `default:"3s" help:"How long the subscriber does not read."`
	Many   int           `default:"15000" help:"Clients that are idle and get the messages to all."`
	Few    int           `default:"1000" help:"Devices that publish and answer."`
	Pings  float64       `default:"500" help:"Pings per second, of all idle clients together."`
	Rate   float64       `default:"20000" help:"Messages per second of the paced uplink."`
	Rounds int           `default:"10" help:"Number of messages to all."`
	Size   int           `default:"128" help:"Bytes per message."`
}

func main() {
	var o options
	bench.Program("mqtt", "Measure MQTT brokers side by side.", &o, o.run)
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
	if err := raiseLimit(); err != nil {
		return err
	}
	t := newTable(o, servers)
	if err := t.Repeat(o.Reps, os.Stderr, func(i int, s *bench.Summary) error { return o.measure(ctx, &servers[i], s) }); err != nil {
		return err
	}
	return t.write(o.Out, os.Stdout)
}
