// Command chaos breaks a cluster of gateways in all ways that it has to bear while devices use it, and reports whether what was acknowledged has
// arrived, and whether a device was ever served by two nodes.
//
// It starts a real Redis (one, a Redis Cluster of three, or a primary with a replica and three sentinels) and three nodes, longline serve, which reach it through
// proxies. Thousands of devices of the SDK (JSON), of MQTT 3.1.1 and 5, and backends publish with QoS 1 and 2, to each other, to a shared subscription, retained, and
// to single devices, each through a node at random. Devices connect again all the time, half of them at another node while the old connection is still open: nothing
// may come on that one any more but its end.
//
// Meanwhile nodes are killed, ended, stopped for longer than their lease, and cut off from Redis, in one direction or both. Redis is killed, stopped, restarted without its
// last second, or its replica takes over and has missed that. The clocks of the nodes differ by minutes. At the end all is well for a while, and the command compares
// what the clients know, as crash does, and what the nodes and Redis say: who owns a device, what the nodes want of each other, and what is retained.
//
// What goes wrong when, and who acts when, follows from the seed; in which moment of its work a node is hit does not.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	var o struct {
		Run      options         `cmd:"" default:"withargs" help:"Break a cluster of gateways in many ways, and count what is lost and what is served twice."`
		Failures failuresCommand `cmd:"" help:"Measure how long single failures last with many devices, and what they cost."`
		Light    lightCommand    `cmd:"" hidden:""`
	}
	command := kong.Parse(&o, kong.Name("chaos"), kong.Description("Break clusters of gateways."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	command.BindTo(ctx, (*context.Context)(nil))
	err := command.Run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}
