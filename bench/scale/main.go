// Command scale holds many devices on one machine: a gateway process, and a fleet in this
// one. It measures what they cost while nothing moves, reaches all of them, kills the
// gateway, and prints the table.
//
// Both processes take a descriptor table for each of their loops when the devices are more
// than one table holds, so the limit of descriptors of a process does not limit them.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/longline/longline/internal/bench"
)

type options struct {
	Devices int           `default:"100000" help:"Devices (${default})."`
	Keep    time.Duration `default:"3m" help:"How long they are kept with heartbeats alone (${default})."`
	Beat    time.Duration `default:"30s" help:"The gateway's heartbeat (${default})."`
	Calls   int           `default:"1000" help:"Devices that are called (${default})."`
	Uplink  float64       `default:"20000" help:"Messages a second that the devices publish, QoS 0 (${default})."`
	Storm   bool          `default:"true" negatable:"" help:"Kill the gateway and start it again."`
	Profile time.Duration `help:"Write profiles of the gateway in every phase, for so long at rest."`
	Limit   time.Duration `default:"10m" help:"Most that a run may take (${default})."`

	Loops       int    `default:"0" help:"Event loops of each side; 0 is one a processor, and more where descriptors need them."`
	ConnectRate int    `default:"100000" help:"Connections begun a second (${default})."`
	MaxDials    int    `default:"8192" help:"Connections under way at a time (${default})."`
	Token       string `default:"secret" help:"What devices show as their bearer token; empty is no authentication (${default})."`
	Longline    string `default:"bin/longline" type:"existingfile" help:"The gateway's program (${default})."`
	Listen      string `default:"127.0.0.1:18080" help:"Its device port (${default})."`
	Admin       string `default:"127.0.0.1:18081" help:"Its admin port (${default})."`
	Out         string `default:"bench/scale/out" type:"path" help:"Folder for NAME.json and profiles (${default})."`
	Name        string `default:"scale" help:"Of the files (${default})."`
}

func main() {
	var o options
	bench.Program("scale", "Hold many devices on one machine.", &o, o.main)
}

// main runs until it is done, ctx has ended, it is out of time, or the machine is short of memory.
func (o *options) main(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the run took longer than %v", o.Limit))
	defer cancel()
	ctx, guard := guardMemory(ctx)
	defer guard()
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	r := newRun(o)
	defer r.stop()
	err := r.run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if printErr := r.table.write(o, os.Stdout); err == nil {
		err = printErr
	}
	return err
}
