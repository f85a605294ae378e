package api

import (
	"context"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/devices"
)

const (
	nodeWait   = 5 * time.Second // how long a node waits for news before it answers that there are none
	nodeRetry  = time.Second     // between two requests to a node that does not answer
	nodeFollow = time.Second     // how often new nodes are looked for
)

// gather asks all nodes of the cluster again and again, each on a goroutine of its own, and gives what they answer to one caller, one answer at a
// time: a node is asked again when the caller has its last answer.
type gather[A any] struct {
	// Static after construction.
	cluster Cluster
	ctx     context.Context
	cancel  context.CancelFunc
	answers chan gathered[A]
	open    chan struct{} // closed when every node has given its first answer, or none
	// reader returns what asks a node until tell returns false. The caller's goroutine calls it.
	reader func(node string) nodeReader[A]

	// Owned by the caller.
	nodes map[string]*gatheredNode
	tick  *time.Ticker
}

type nodeReader[A any] func(ctx context.Context, tell func(A, error) bool)

// gathered is an answer of a node.
type gathered[A any] struct {
	node   string
	answer A
	err    error
}

type gatheredNode struct {
	cancel context.CancelFunc
	away   bool
}

// newGather makes a gather that lasts until ctx ends or close. The caller calls begin.
func newGather[A any](ctx context.Context, c Cluster, reader func(node string) nodeReader[A]) *gather[A] {
	g := &gather[A]{
		cluster: c, answers: make(chan gathered[A]), open: make(chan struct{}), reader: reader,
		nodes: make(map[string]*gatheredNode), tick: time.NewTicker(nodeFollow),
	}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// begin gives the first answer of each node that has one to take. An error is that of ctx, or one that is in next as well.
func (g *gather[A]) begin(ctx context.Context, take func(gathered[A])) error {
	defer close(g.open)
	g.follow()
	for range len(g.nodes) {
		select {
		case a := <-g.answers:
			if _, err := g.note(a); err != nil {
				return err
			}
			if a.err == nil {
				take(a)
			}
		case <-ctx.Done():
			return coded(ctx.Err())
		}
	}
	return nil
}

// next waits for an answer. With changed, away has changed, and there may be no answer: node is empty. An error that ends the caller, such as that another
// reader took over, is returned.
func (g *gather[A]) next(ctx context.Context) (a gathered[A], changed bool, err error) {
	for {
		select {
		case a = <-g.answers:
			changed, err = g.note(a)
			switch {
			case err != nil:
				return a, false, err
			case a.err == nil:
				return a, changed, nil
			case changed:
				return gathered[A]{}, true, nil
			}
		case <-g.tick.C:
			g.follow()
		case <-ctx.Done():
			return a, false, ctx.Err()
		}
	}
}

// note notes whether a node is away.
func (g *gather[A]) note(a gathered[A]) (changed bool, err error) {
	switch connect.CodeOf(a.err) {
	case connect.CodeAborted, connect.CodePermissionDenied, connect.CodeInvalidArgument:
		return false, a.err
	}
	n, is := g.nodes[a.node], a.err != nil
	if n == nil || n.away == is { // nil: the node is gone
		return false, nil
	}
	n.away = is
	return true, nil
}

// follow begins to ask nodes that are new, and leaves those that are gone.
func (g *gather[A]) follow() {
	nodes := g.cluster.Nodes()
	for _, n := range nodes {
		if g.nodes[n.Name] == nil {
			ctx, cancel := context.WithCancel(g.ctx)
			g.nodes[n.Name] = &gatheredNode{cancel: cancel}
			read := g.reader(n.Name)
			go read(ctx, func(answer A, err error) bool { return g.tell(ctx, gathered[A]{n.Name, answer, err}) })
		}
	}
	for name, n := range g.nodes {
		if !slices.ContainsFunc(nodes, func(n devices.Node) bool { return n.Name == name }) {
			n.cancel()
			delete(g.nodes, name)
		}
	}
}

// tell gives an answer to the caller, and reports whether to go on.
func (g *gather[A]) tell(ctx context.Context, a gathered[A]) bool {
	select {
	case g.answers <- a:
	case <-ctx.Done():
		return false
	}
	select {
	case <-g.open:
	case <-ctx.Done():
		return false
	}
	if a.err == nil {
		return true
	}
	retry := time.NewTimer(nodeRetry)
	defer retry.Stop()
	select {
	case <-retry.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// away returns the nodes that do not answer.
func (g *gather[A]) away() (names []string) {
	for _, node := range slices.Sorted(maps.Keys(g.nodes)) {
		if g.nodes[node].away {
			names = append(names, node)
		}
	}
	return names
}

// isAway reports whether a node does not answer, or is gone.
func (g *gather[A]) isAway(node string) bool {
	n := g.nodes[node]
	return n == nil || n.away
}

// close ends the goroutines.
func (g *gather[A]) close() {
	g.cancel()
	g.tick.Stop()
}
