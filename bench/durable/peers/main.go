// Command peers has the broker in Go that Longline is compared with: the NATS server, with JetStream, which keeps the
// sessions of MQTT clients, and which syncs each message before it is acknowledged.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM. It first prints its name, version and address.
func run(args []string) error {
	if len(args) != 3 || args[0] != "nats" {
		return errors.New("usage: peers nats ADDRESS:PORT DIR")
	}
	host, text, err := net.SplitHostPort(args[1])
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "bench", // MQTT needs one
		Host:       host,
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   args[2],
		SyncAlways: true,
		NoSigs:     true,
		MQTT:       server.MQTTOpts{Host: host, Port: server.RANDOM_PORT},
		Websocket:  server.WebsocketOpts{Host: host, Port: port, NoTLS: true},
	})
	if err != nil {
		return err
	}
	s.SetLogger(quiet{}, false, false)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	s.Start()
	if !s.ReadyForConnections(startTime) {
		return errors.New("nats is not ready")
	}
	fmt.Printf("nats v%s on %s\n", server.VERSION, args[1])
	<-ended
	s.Shutdown()
	return nil
}
