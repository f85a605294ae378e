package api

import (
	"context"
	"maps"
	"slices"
	"sync"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/stream"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// acknowledgeParts acknowledges each node's part, all at the same time. It returns the nodes that do not answer, or that do not know the consumer.
func (a *API) acknowledgeParts(ctx context.Context, s *stream.Stream, consumer string, done *places) (away []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.asking)
	defer cancel()
	known := a.acknowledged.of(s.Name(), consumer)
	nodes := slices.Sorted(maps.Keys(done.at))
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, node := range nodes {
		switch at := done.at[node]; {
		case node == a.self():
			all.Go(func() { errs[i] = a.acknowledgePart(ctx, s, consumer, at) })
		case at > 0 && at != known[node]:
			all.Go(func() {
				r := &longlinev1.AcknowledgeRequest{Stream: s.Name(), Consumer: consumer, Place: place(at)}
				_, errs[i] = a.ask(ctx, node, longlinev1connect.GatewayAcknowledgeProcedure, r, nil, new(longlinev1.AcknowledgeResponse))
			})
		}
	}
	all.Wait()
	for i, node := range nodes {
		switch err := errs[i]; {
		case err == nil:
			a.acknowledged.note(s.Name(), consumer, node, done.at[node])
		case node != a.self() && (isAway(err) || connect.CodeOf(err) == connect.CodeNotFound):
			away = append(away, node)
		default:
			return nil, err
		}
	}
	return away, nil
}

// acknowledged remembers what other nodes have acknowledged, so that they are not asked again for each entry of one node. Safe from any goroutine.
type acknowledged struct {
	mu  sync.Mutex
	all map[consumerOf]map[string]uint64 // places by node
}

type consumerOf struct{ stream, consumer string }

// mostRemembered bounds the consumers in it.
const mostRemembered = 1000

func (k *acknowledged) of(stream, consumer string) map[string]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.all[consumerOf{stream, consumer}])
}

func (k *acknowledged) note(stream, consumer, node string, place uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := consumerOf{stream, consumer}
	if k.all[key] == nil {
		if k.all == nil || len(k.all) >= mostRemembered {
			k.all = make(map[consumerOf]map[string]uint64)
		}
		k.all[key] = make(map[string]uint64)
	}
	k.all[key][node] = place
}

func (k *acknowledged) forget(stream, consumer string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.all, consumerOf{stream, consumer})
}
