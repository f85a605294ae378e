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

// Program is the main function of a benchmark. It parses the command line into options, which have kong's tags, and
// calls run with a context that ends at SIGINT or SIGTERM. If run fails, Program prints the error and ends the process
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

// Versus has the options of a program that compares servers. Each server runs alone on one processor, and the
// client on another.
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
