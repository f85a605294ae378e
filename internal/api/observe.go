package api

import (
	"context"
	"time"

	"connectrpc.com/connect"
)

// observer is the interceptor that calls Node.Observe for RPCs.
type observer struct{ api *API }

func (a *API) observe(procedure string, start time.Time, err error) {
	a.node.Observe(procedure, label(err), time.Since(start).Seconds())
}

// WrapUnary implements connect.Interceptor.
func (o observer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		start := time.Now()
		response, err := next(ctx, r)
		o.api.observe(r.Spec().Procedure, start, err)
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (o observer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		start := time.Now()
		err := next(ctx, conn)
		o.api.observe(conn.Spec().Procedure, start, err)
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor; there are no clients here.
func (observer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
