package main

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/sink"
	"github.com/longline/longline/internal/sink/pump"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// apiSinks is the node's sinks as the API asks for them.
type apiSinks struct{ set *sink.Set }

// List implements api.Sinks.
func (a apiSinks) List() []*longlinev1.Sink {
	all := a.set.All()
	list := make([]*longlinev1.Sink, len(all))
	for i, one := range all {
		list[i] = describeSink(one.Name(), one.Config(), one.Stats())
	}
	return list
}

func describeSink(name string, c sink.Config, s pump.Stats) *longlinev1.Sink {
	d := &longlinev1.Sink{
		Name: name, Stream: c.Stream, Target: c.Kind(), State: s.State, Problem: s.Problem, Breaker: s.Breaker,
		Place: s.Place, Lag: after(s.Place, s.End), Ahead: uint32(s.Ahead), Sent: s.Sent, Bytes: s.Bytes, Filtered: s.Filtered, Missed: s.Missed,
		Dead: s.Dead, DeadLost: s.DeadLost, Failures: s.Failures, Batches: s.Batches,
	}
	if !s.Since.IsZero() {
		d.Since = timestamppb.New(s.Since)
	}
	if r := s.Replay; r != nil {
		d.Replay = &longlinev1.SinkReplay{Stream: r.Stream, From: r.From, Place: r.Place, End: r.End, Begun: timestamppb.New(r.Begun)}
	}
	return d
}

// Pause implements api.Sinks.
func (a apiSinks) Pause(ctx context.Context, name string) error {
	return sinkError(name, a.set.Pause(ctx, name))
}

// Resume implements api.Sinks.
func (a apiSinks) Resume(ctx context.Context, name string) error {
	return sinkError(name, a.set.Resume(ctx, name))
}

// Replay implements api.Sinks.
func (a apiSinks) Replay(name string, r *longlinev1.ReplaySinkRequest) error {
	one := a.set.Get(name)
	if one == nil {
		return sinkError(name, sink.ErrUnknown)
	}
	what := pump.Range{Dead: r.DeadLetters, From: r.From, To: r.To}
	if r.Since != nil {
		what.Since = r.Since.AsTime()
	}
	if r.Until != nil {
		what.Until = r.Until.AsTime()
	}
	return sinkError(name, one.Replay(what))
}

// StopReplay implements api.Sinks.
func (a apiSinks) StopReplay(name string) error {
	one := a.set.Get(name)
	if one == nil {
		return sinkError(name, sink.ErrUnknown)
	}
	one.StopReplay()
	return nil
}

// sinkError gives an error about a sink its code.
func sinkError(name string, err error) error {
	switch {
	case errors.Is(err, sink.ErrUnknown):
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("the node has no sink %.100q", name))
	case errors.Is(err, pump.ErrReplaying):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.Is(err, pump.ErrClosed):
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return err
}
