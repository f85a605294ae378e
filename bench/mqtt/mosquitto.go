package main

import (
	"context"
	"os"

	"github.com/longline/longline/internal/bench"
)

// startMosquitto runs the system's mosquitto with its defaults, without writing to disk.
func startMosquitto(ctx context.Context, cpu int) (*running, error) {
	folder, err := os.MkdirTemp("", "mosquitto")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // all of it has been read
	c, version, addr, err := bench.StartMosquitto(ctx, cpu, folder, "persistence false\n")
	if err != nil {
		return nil, err
	}
	return &running{addr: addr, version: version, command: c}, nil
}
