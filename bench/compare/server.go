package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/longline/longline/internal/bench"
)

// server is a server under comparison.
type server struct {
	name string
	args []string // the program, then its arguments
	raw  bool     // bare TCP, without WebSocket

	// secure returns the arguments that turn TLS on; nil if TLS is not compared.
	secure func(cert, key string) []string
}

// Name implements bench.Named.
func (s server) Name() string { return s.name }

const anyPort = "127.0.0.1:0"

// servers returns all servers, or those that the options name.
func (o *options) servers() ([]server, error) {
	bin := func(name string) string { return filepath.Join(o.Bin, name) }
	all := []server{
		{name: "floor", args: []string{bin("floor"), anyPort}, raw: true},
		{name: "longline", args: []string{bin("longline"), "echo", "--loops=1", "--listen=" + anyPort, "--max-connections=" + strconv.Itoa(max(o.Many, o.Few, o.Load))}},
	}
	all[1].secure = func(cert, key string) []string { return []string{"--cert=" + cert, "--key=" + key} }
	for _, name := range []string{"gws", "gorilla", "coder", "gobwas"} {
		s := server{name: name, args: []string{bin("peers"), name, anyPort}}
		if name == "gws" {
			s.secure = func(cert, key string) []string { return []string{cert, key} }
		}
		all = append(all, s)
	}
	return bench.Chosen(all, o.Only)
}

// running is a server's process.
type running struct {
	target  bench.Target
	version string
	command *exec.Cmd
}

// start runs the server on a processor of its own until ctx ends or stop is called.
func (s *server) start(ctx context.Context, cpu int) (*running, error) {
	c, version, addr, err := bench.StartServer(ctx, cpu, s.args...)
	if err != nil {
		return nil, err
	}
	return &running{
		target:  bench.Target{Addr: addr, Raw: s.raw, Process: bench.Process(c.Process.Pid)},
		version: version,
		command: c,
	}, nil
}

// stop ends the process and waits for it.
func (r *running) stop() { bench.Stop(r.command) }
