package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/longline/longline/internal/devices"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// ListNodes implements GatewayHandler.
func (a *API) ListNodes(context.Context, *connect.Request[longlinev1.ListNodesRequest]) (*connect.Response[longlinev1.ListNodesResponse], error) {
	response := new(longlinev1.ListNodesResponse)
	nodes := []devices.Node{a.node.Alone()}
	if c := a.node.Cluster; c != nil {
		nodes, response.Cluster = c.Nodes(), c.Name()
	}
	for i := range nodes {
		response.Nodes = append(response.Nodes, nodeEntry(&nodes[i]))
	}
	return connect.NewResponse(response), nil
}

// self returns the name of this node in its cluster; empty if it is in none.
func (a *API) self() string {
	if a.node.Cluster == nil {
		return ""
	}
	return a.node.Cluster.Self()
}

func nodeEntry(n *devices.Node) *longlinev1.Node {
	return &longlinev1.Node{
		Name:      n.Name,
		Life:      n.Life,
		State:     longlinev1.NodeState(n.State),
		Version:   n.Version,
		Addresses: n.Addresses,
		Devices:   uint64(n.Devices),
		Load:      n.Load,
		Age:       durationpb.New(n.Age),
		Self:      n.Self,
	}
}
