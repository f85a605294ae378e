// Command attack attacks a gateway while honest devices use it, and tells whether it holds.
//
// It starts longline serve with tokens, TLS for devices and MQTT over TCP, and connects the
// honest devices, which publish with QoS 1 at a fixed rate. For each attack it measures them
// in calm, and then while another process, of lower priority, does what the attack says. The
// gateway holds when every honest device stays and is acknowledged, in hardly more time than in
// calm, when its memory stays within what the limits allow, and when a metric shows the limit.
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
	All  options `cmd:"" default:"withargs" help:"Make the attacks, one after the other, and print the table."`
	Make maker   `cmd:"" hidden:"" help:"Make one attack, until the time is over."`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

// run runs what the command line says, until it is done or interrupted.
func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := kong.Parse(&commands{}, kong.Name("attack"), kong.Description("Attack a gateway while honest devices use it."),
		kong.BindTo(ctx, (*context.Context)(nil)))
	return c.Run()
}
