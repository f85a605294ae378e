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
	exitFailed     = 1 // something went wrong; stderr says what
	exitUsage      = 2 // the command line is wrong
	exitIncomplete = 3 // a fleet's work was not acknowledged in full
)

// commands is the command line: one field a command, one file each.
type commands struct {
	Fleet fleetCommand `cmd:"" help:"Bring many devices on line from one process."`
}

// console is what a command works with.
type console struct {
	ctx            context.Context // ends at the first SIGINT or SIGTERM; the second kills
	stdin          io.Reader
	stdout, stderr io.Writer
}

// exitError ends the program with a code of its own. A nil err says nothing more.
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

// Run is the program: it returns the exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := dispatch(args, &console{ctx, stdin, stdout, stderr})
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

// helped is what Kong panics with when it has printed its help.
type helped struct{}

// dispatch parses the command line and runs the command.
func dispatch(args []string, c *console) (err error) {
	defer func() {
		if r := recover(); r != nil && r != (helped{}) {
			panic(r)
		}
	}()
	parser, err := kong.New(&commands{},
		kong.Name("longline"),
		kong.Description("A device gateway."),
		kong.Writers(c.stdout, c.stderr),
		kong.Exit(func(int) { panic(helped{}) }),
		kong.UsageOnError(),
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
