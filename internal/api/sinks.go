package api

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// Sinks push messages to systems behind. The methods are safe from any goroutine. Pause and Resume wait for the disk until ctx ends. Errors have a
// code: not found, if there is no such sink.
type Sinks interface {
	// List returns the sinks in the order of their names.
	List() []*longlinev1.Sink
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	// Replay begins a replay of what the request says, which was checked.
	Replay(name string, what *longlinev1.ReplaySinkRequest) error
	StopReplay(name string) error
}

// ListSinks implements GatewayHandler.
func (a *API) ListSinks(context.Context, *connect.Request[longlinev1.ListSinksRequest]) (*connect.Response[longlinev1.ListSinksResponse], error) {
	response := new(longlinev1.ListSinksResponse)
	if a.node.Sinks != nil {
		response.Sinks = a.node.Sinks.List()
		for _, s := range response.Sinks {
			s.Node = a.self()
		}
	}
	return connect.NewResponse(response), nil
}

// PauseSink implements GatewayHandler.
func (a *API) PauseSink(ctx context.Context, r *connect.Request[longlinev1.PauseSinkRequest]) (*connect.Response[longlinev1.PauseSinkResponse], error) {
	return withSink(a, new(longlinev1.PauseSinkResponse), r.Msg.Sink, func(s Sinks, name string) error { return s.Pause(ctx, name) })
}

// ResumeSink implements GatewayHandler.
func (a *API) ResumeSink(ctx context.Context, r *connect.Request[longlinev1.ResumeSinkRequest]) (*connect.Response[longlinev1.ResumeSinkResponse], error) {
	return withSink(a, new(longlinev1.ResumeSinkResponse), r.Msg.Sink, func(s Sinks, name string) error { return s.Resume(ctx, name) })
}

// ReplaySink implements GatewayHandler.
func (a *API) ReplaySink(_ context.Context, r *connect.Request[longlinev1.ReplaySinkRequest]) (*connect.Response[longlinev1.ReplaySinkResponse], error) {
	if err := checkReplay(r.Msg); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return withSink(a, new(longlinev1.ReplaySinkResponse), r.Msg.Sink, func(s Sinks, name string) error { return s.Replay(name, r.Msg) })
}

// StopReplay implements GatewayHandler.
func (a *API) StopReplay(_ context.Context, r *connect.Request[longlinev1.StopReplayRequest]) (*connect.Response[longlinev1.StopReplayResponse], error) {
	return withSink(a, new(longlinev1.StopReplayResponse), r.Msg.Sink, Sinks.StopReplay)
}

// withSink answers a request about one sink.
func withSink[R any](a *API, response *R, name string, do func(Sinks, string) error) (*connect.Response[R], error) {
	err := error(connect.NewError(connect.CodeNotFound, fmt.Errorf("the node has no sink %.100q", name)))
	if a.node.Sinks != nil {
		err = do(a.node.Sinks, name)
	}
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(response), nil
}

// checkReplay returns what is wrong with a request for a replay.
func checkReplay(r *longlinev1.ReplaySinkRequest) error {
	bounds := r.From != 0 || r.To != 0 || r.Since != nil || r.Until != nil
	switch {
	case r.DeadLetters && bounds:
		return errors.New("dead_letters: want either dead letters or a range of the stream")
	case !r.DeadLetters && !bounds:
		return errors.New("want dead_letters, or a range of the stream: from, to, since or until; from 1 is all of it")
	case r.From != 0 && r.Since != nil:
		return errors.New("since: want either from or since")
	case r.To != 0 && r.To <= r.From:
		return fmt.Errorf("to: want a place behind from, %d", r.From)
	case r.Since != nil && r.Since.CheckValid() != nil:
		return errors.New("since: want a time")
	case r.Until != nil && r.Until.CheckValid() != nil:
		return errors.New("until: want a time")
	case r.Since != nil && r.Until != nil && !r.Until.AsTime().After(r.Since.AsTime()):
		return errors.New("until: want a time after since")
	}
	return nil
}
