// Command peers has the MQTT brokers in Go that Longline is compared with: mochi-mqtt, with
// its defaults and its WebSocket listener. Its credentials hook accepts everybody. At SIGUSR1 it
// returns free memory to the system.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM. It first prints its name, version and address.
func run(args []string) error {
	if len(args) != 2 || args[0] != "mochi" {
		return errors.New("usage: peers mochi ADDRESS:PORT")
	}
	server, err := newMochi(args[1])
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGTERM)
	fmt.Printf("mochi v%s on %s\n", mqtt.Version, args[1])
	if err := server.Serve(); err != nil {
		return err
	}
	for s := range signals {
		if s == syscall.SIGTERM {
			break
		}
		debug.FreeOSMemory()
	}
	return nil // the connections end with the process
}

// newMochi returns a server with a WebSocket listener.
func newMochi(address string) (*mqtt.Server, error) {
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		return nil, err
	}
	return s, s.AddListener(listeners.NewWebsocket(listeners.Config{ID: "ws", Address: address}))
}
