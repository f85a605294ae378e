package main

import (
	"context"
	"fmt"

	"github.com/longline/longline/internal/gateway"
)

// Echo is the hidden command that conformance suites and benchmarks talk to.
type Echo struct {
	Listen         string `default:"127.0.0.1:9001" help:"Address to listen on."`
	Loops          int    `help:"Event loops; 0 is one a processor."`
	MaxConnections int    `help:"Connections that must fit; 0 is what one descriptor table holds."`
}

// Run serves until ctx ends. SIGUSR1 makes it return free memory to the system.
func (e *Echo) Run(ctx context.Context, console *Console) error {
	group, err := gateway.StartEcho(e.Listen, e.Loops, e.MaxConnections)
	if err != nil {
		return err
	}
	defer group.Close()
	stop := freeMemoryOnSignal()
	defer stop()
	fmt.Fprintf(console.Out, "echo on %v\n", group.Addr())
	<-ctx.Done()
	return nil
}
