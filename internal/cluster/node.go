package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/longline/longline/internal/devices"
)

// Node is this node's part in the cluster. Its methods are safe from any goroutine.
type Node struct {
	config Config
	life   uint64
}

// Options are what a Node needs besides its configuration.
type Options struct {
	Version   string
	Addresses []string // where devices reach the node, host:port
	Log       *slog.Logger
}

// Report is what a node tells the others each time it renews its lease.
type Report struct {
	Left    float64 // how much of what it can do is left, 0 to 1
	Devices int     // connected ones
	Moving  int     // devices that it has asked to go
	Leaving bool    // it takes no devices
}

// Member is a node as the others know it.
type Member struct {
	devices.Node
	Report
	Number int           // 0 to 63, for message IDs
	Up     time.Duration // since this life of it began
}

var errNotYet = errors.New("not yet")

// Name returns the cluster's name.
func (n *Node) Name() string { return n.config.Name }

// Self returns the node's name.
func (n *Node) Self() string { return n.config.Node }

// Owner returns the name of the node that has a device, dead or alive; "" if none has. Unless fresh is set, that may be how it was a moment ago. It blocks
// until ctx ends.
func (n *Node) Owner(ctx context.Context, device string, fresh bool) (node string, err error) {
	return "", errNotYet
}

// ClaimFor makes this node the owner of a device unless another has it, and returns the owner. It blocks until ctx ends.
func (n *Node) ClaimFor(ctx context.Context, device string) (node string, err error) {
	return "", errNotYet
}

// Nodes returns all nodes in the order of their names. The caller does not change the list.
func (n *Node) Nodes() []devices.Node { return nil }

// Members returns all nodes in the order of their names, with what they report. The caller does not change the list.
func (n *Node) Members() []Member { return nil }

// SetReport sets what the next renewal tells.
func (n *Node) SetReport(r Report) {}

// Ask sends a request to another node and returns its answer. Both have at most 1 MiB. It blocks until ctx ends. An error that wraps
// devices.ErrNodeAway says that the node may have got the request or not.
func (n *Node) Ask(ctx context.Context, node, procedure string, request []byte) (answer []byte, err error) {
	return nil, errNotYet
}

// Answer makes f answer what other nodes Ask. f is called on a goroutine of its own, with the deadline of the one who asks.
func (n *Node) Answer(f func(ctx context.Context, procedure string, request []byte) ([]byte, error)) {}
