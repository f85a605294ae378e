package bench

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Program runs a benchmark's main: it parses the command line into options, which has kong's tags, and
// calls run, whose context ends when the process is told to. An error is printed, and ends the process
// with code 1.
func Program(name, description string, options any, run func(ctx context.Context) error) {
	kong.Parse(options, kong.Name(name), kong.Description(description))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Versus are the options of a program that compares servers. Each runs alone and has a processor, the
// client another.
type Versus struct {
	Reps      int           `default:"3" help:"Repetitions."`
	Duration  time.Duration `default:"5s" help:"Time that each load is measured."`
	Warmup    time.Duration `default:"1s" help:"Time of each load before that."`
	Only      []string      `placeholder:"NAME" help:"Only these servers."`
	Bin       string        `default:"bin" help:"Folder with the servers' programs."`
	Out       string        `default:"out" help:"Folder for NAME.json and NAME.svg."`
	ServerCPU int           `default:"0" help:"Processor of the servers."`
	ClientCPU int           `default:"1" help:"Processor of the client."`
}
