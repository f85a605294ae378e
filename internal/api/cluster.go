package api

import (
	"context"

	"github.com/longline/longline/internal/devices"
)

// Cluster is the other nodes, as the API needs them. The methods are safe from any goroutine.
type Cluster interface {
	// Name returns the name of the cluster.
	Name() string
	// Self returns the name of this node.
	Self() string
	// Nodes returns the nodes that are known, this one among them, in the order of their names. It does not block, and the caller
	// does not change the list.
	Nodes() []devices.Node
	// Owner returns the name of the node that has a device, dead or alive; "" if none has. Unless fresh is set, that may be how it was
	// a moment ago. It blocks until ctx ends.
	Owner(ctx context.Context, device string, fresh bool) (node string, err error)
	// ClaimFor makes this node the owner of a device unless another has it, and returns the owner. It blocks until ctx ends.
	ClaimFor(ctx context.Context, device string) (node string, err error)
	// Ask sends a request to another node, whose cluster gives it to API.Answer, and returns what that returns. Request and answer have
	// at most 1 MiB. It blocks until ctx ends, whose deadline the other node gets. An error that wraps devices.ErrNodeAway says that the node
	// may have got the request or not.
	Ask(ctx context.Context, node, procedure string, request []byte) (answer []byte, err error)
}
