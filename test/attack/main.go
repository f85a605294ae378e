// Command attack attacks a gateway while honest devices use it, and reports whether the gateway holds.
//
// It starts longline serve with tokens, TLS for devices and MQTT over TCP, and connects the
// honest devices, which publish with QoS 1 at a fixed rate. For each attack it measures their latency
// in calm, and then while another process, of lower priority, makes the attack. The
// gateway holds if every honest device stays connected and gets its acknowledgements, in little more time than in
// calm, if the gateway's memory stays within its limits, and if a metric shows the limit that stopped the attack.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	All  options `cmd:"" default:"withargs" help:"Make the attacks, one after another, and print the table."`
	Make maker   `cmd:"" hidden:"" help:"Make one attack until the time is over."`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// run runs the command line's command, until it is done or interrupted.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := kong.Parse(&commands{}, kong.Name("attack"), kong.Description("Attack a gateway while honest devices use it."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	return c.Run()
}
