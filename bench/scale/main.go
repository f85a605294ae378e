// Command scale runs many devices on one machine: a gateway in a process of its own, and a fleet in this
// process. It measures what idle devices cost, sends messages to all of them, kills the
// gateway, and prints the table.
//
// If one descriptor table cannot hold all devices, both processes have a table for each of their
// loops, so that the limit of descriptors per process does not limit the devices.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/longline/longline/internal/bench"
)

type options struct {
	Devices int           `default:"100000" help:"Number of devices (${default})."`
	Keep    time.Duration `default:"3m" help:"How long they only have heartbeats (${default})."`
	Beat    time.Duration `default:"30s" help:"The gateway's heartbeat (${default})."`
	Calls   int           `default:"1000" help:"Devices that are called (${default})."`
	Uplink  float64       `default:"20000" help:"Messages per second of all devices together, QoS 0 (${default})."`
	Storm   bool          `default:"true" negatable:"" help:"Kill the gateway and start it again."`
	Store   bool          `help:"Keep sessions on disk, in the folder --out."`
	Profile time.Duration `help:"Write profiles of the gateway in every phase; this long when idle."`
	Limit   time.Duration `default:"10m" help:"Longest time of a run (${default})."`

	Loops       int    `default:"0" help:"Event loops of each side; 0 means one per processor, and more if the limit of descriptors requires it."`
	ConnectRate int    `default:"100000" help:"Connections begun per second (${default})."`
	MaxDials    int    `default:"8192" help:"Connections under way at a time (${default})."`
	Token       string `default:"secret" help:"Bearer token of the devices; empty means no authentication (${default})."`
	Longline    string `default:"bin/longline" type:"existingfile" help:"The gateway's program (${default})."`
	Listen      string `default:"127.0.0.1:18080" help:"Its device port (${default})."`
	Admin       string `default:"127.0.0.1:18081" help:"Its admin port (${default})."`
	Out         string `default:"bench/scale/out" type:"path" help:"Folder for NAME.json and profiles (${default})."`
	Name        string `default:"scale" help:"Name of the files (${default})."`
}

func main() {
	var o options
	bench.Program("scale", "Hold many devices on one machine.", &o, o.main)
}

// main runs all phases, unless ctx ends, the time is over, or the machine runs short of memory.
func (o *options) main(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the run took longer than %v", o.Limit))
	defer cancel()
	ctx, guard := guardMemory(ctx)
	defer guard()
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(o.data()); err != nil {
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
