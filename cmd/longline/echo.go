package main

import (
	"context"
	"fmt"

	"github.com/longline/longline/internal/gateway"
)

// Echo is longline echo, a hidden command for conformance suites and benchmarks.
type Echo struct {
	Listen         string `default:"127.0.0.1:9001" help:"Address to listen on."`
	Loops          int    `help:"Event loops; 0 means one per processor."`
	MaxConnections int    `help:"Connections that must fit; 0 means as many as one descriptor table holds."`
	Cert           string `help:"Certificate chain, a PEM file; turns TLS on."`
	Key            string `help:"Its private key, a PEM file."`
}

// Run serves until ctx ends. SIGUSR1 makes it return free memory to the system.
func (e *Echo) Run(ctx context.Context, console *Console) error {
	echo, err := gateway.StartEcho(gateway.EchoConfig{
		Listen:         e.Listen,
		Loops:          e.Loops,
		MaxConnections: e.MaxConnections,
		TLS:            gateway.TLS{Cert: e.Cert, Key: e.Key}.WithDefaults(),
	})
	if err != nil {
		return err
	}
	defer echo.Close()
	stop := freeMemory()
	defer stop()
	fmt.Fprintf(console.Out, "echo on %v\n", echo.Addr())
	<-ctx.Done()
	return nil
}
