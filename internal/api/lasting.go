package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// errEnded ends the streams of a node that shuts down.
var errEnded = connect.NewError(connect.CodeUnavailable, errors.New("the node is shutting down"))

// Lasts reports whether a request of this procedure lasts as long as its client listens.
func Lasts(procedure string) bool {
	switch procedure {
	case longlinev1connect.GatewaySubscribeProcedure, longlinev1connect.GatewayConsumeProcedure, longlinev1connect.GatewayWatchCommandsProcedure,
		longlinev1connect.GatewayServeProcedure, eventsPath, streamsPath, commandsPath, servicesPath:
		return true
	}
	return false
}

// lasting returns the context of a request that lasts as long as its client listens. It ends with ctx, when the API closes, and when
// the caller's token is no longer valid. The caller calls cancel at the end of the request.
func (a *API) lasting(ctx context.Context) (_ context.Context, cancel context.CancelCauseFunc) {
	return a.lastingWhile(ctx, callerOf(ctx).check)
}

// lastingWhile is lasting for a request that ends as well when check returns an error.
func (a *API) lastingWhile(ctx context.Context, check func() error) (_ context.Context, cancel context.CancelCauseFunc) {
	ctx, cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.ended, func() { cancel(errEnded) })
	if a.node.Roles != nil {
		go watch(ctx, cancel, check, a.config.Heartbeat)
	}
	context.AfterFunc(ctx, func() { stop() })
	return ctx, cancel
}

// watch calls cancel when check returns an error. It checks at intervals until ctx ends.
func watch(ctx context.Context, cancel context.CancelCauseFunc, check func() error, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := check(); err != nil {
				cancel(err)
				return
			}
		}
	}
}

// ending returns the error of a request that ends with err, given its context of lasting.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return coded(err)
}
