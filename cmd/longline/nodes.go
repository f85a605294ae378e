package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/longline/longline/internal/devices"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// NodesCmd is longline nodes.
type NodesCmd struct {
	client
	Output string `short:"o" enum:"table,json" default:"table" help:"table, or json: one line per node."`
}

// Run prints the nodes of a cluster.
func (l *NodesCmd) Run(ctx context.Context, console *Console) error {
	gateway, err := l.gateway()
	if err != nil {
		return err
	}
	list, err := gateway.ListNodes(ctx, connect.NewRequest(new(longlinev1.ListNodesRequest)))
	if err != nil {
		return err
	}
	if l.Output == "json" {
		for _, n := range list.Msg.Nodes {
			line, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(n)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(console.Out, "%s\n", line); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(console.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NODE\tLIFE\tSTATE\tDEVICES\tLOAD\tAGE\tVERSION\tADDRESSES") // Flush returns the error
	for _, n := range list.Msg.Nodes {
		name := cmp.Or(n.Name, "-")
		if n.Self {
			name += " *"
		}
		state := strings.ToLower(strings.TrimPrefix(n.State.String(), "NODE_STATE_"))
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%.0f%%\t%v\t%s\t%s\n", name, n.Life, state, n.Devices, 100*n.Load,
			n.Age.AsDuration().Round(100*time.Millisecond), n.Version, strings.Join(n.Addresses, " "))
	}
	return w.Flush()
}

// alone describes the node that is in no cluster.
func (n *node) alone() devices.Node {
	sessions, _ := n.sessions.Count()
	host, _ := os.Hostname() // without one the node has no name
	d := devices.Node{
		Name: host, Life: 1, State: devices.NodeUp, Version: moduleVersion(), Addresses: n.deviceAddresses(), Devices: sessions, Self: true,
	}
	if n.leaving.Load() || !n.gateway.Ready() {
		d.State = devices.NodeDraining
	}
	return d
}
