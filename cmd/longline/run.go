package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitDone       = 0
	exitFailed     = 1 // stderr says why
	exitUsage      = 2 // the command line is wrong
	exitIncomplete = 3 // the gateway did not acknowledge all of a fleet's work
	exitCutShort   = 4 // a second signal ended a gateway's drain: it closed the devices at once
)

// commands is the command line: one field per command, each in a file of its own. Kong calls the command's method
// Run, and passes it a context.Context and a *Console if it takes them.
type commands struct {
	Serve   Serve      `cmd:"" help:"Run a gateway."`
	Fleet   Fleet      `cmd:"" help:"Connect many devices from one process."`
	Bench   Bench      `cmd:"" help:"Load a running gateway and measure it."`
	Nodes   NodesCmd   `cmd:"" help:"List the nodes of a running gateway's cluster."`
	Service ServiceCmd `cmd:"" help:"Show the services of a running gateway."`
	Sink    SinkCmd    `cmd:"" help:"Show, pause and replay the sinks of a running gateway."`
	Stream  StreamCmd  `cmd:"" help:"Show and read the streams of a running gateway."`
	Audit   Audit      `cmd:"" help:"Account for all messages of a running gateway; exit code 1 if some are not accounted for."`
	Command CommandCmd `cmd:"" help:"Create and watch commands to the devices of a running gateway."`
	Store   StoreCmd   `cmd:"" help:"Check, export or repair the directory in which a gateway keeps its data."`
	Config  ConfigCmd  `cmd:"" help:"Print or check a configuration file."`
	Version VersionCmd `cmd:"" help:"Print the version."`
	Help    HelpCmd    `cmd:"" help:"Print this help, or the help of a command."`
	Echo    Echo       `cmd:"" hidden:"" help:"Echo WebSocket messages."`
}

// Console is the input and output of a command.
type Console struct {
	In       io.Reader
	Out, Err io.Writer
}

// NotifyContext returns a context that ends at the next SIGINT or SIGTERM. Until stop is
// called, the signals have no other effect.
func (*Console) NotifyContext(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
}

// exitError ends the program with an exit code of its own. If err is nil, nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Run runs the program and returns the exit code. The first SIGINT or SIGTERM ends the
// command's ctx; the next one kills the process, unless the command waits for it.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	console := &Console{stdin, stdout, stderr}
	ctx, stop := console.NotifyContext(ctx)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := dispatch(ctx, args, console)
	var exit *exitError
	switch {
	case err == nil:
		return exitDone
	case !errors.As(err, &exit):
		exit = &exitError{exitFailed, err}
	}
	if exit.err != nil {
		_, _ = fmt.Fprintln(stderr, "longline:", exit.err)
	}
	return exit.code
}

// helped is the value that our kong.Exit panics with, to return to dispatch after help was printed.
type helped struct{}

// dispatch parses the command line and runs the command.
func dispatch(ctx context.Context, args []string, c *Console) (err error) {
	defer func() {
		if r := recover(); r != nil && r != (helped{}) {
			panic(r)
		}
	}()
	parser, err := kong.New(&commands{},
		kong.Name("longline"),
		kong.Description("A device gateway."),
		kong.Writers(c.Out, c.Err),
		kong.Exit(func(int) { panic(helped{}) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return command.Run(c)
}
