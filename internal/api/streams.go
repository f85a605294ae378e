package api

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/stream"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// maxAcknowledging bounds the acknowledgements of all backends that wait for the disk. It is not the bound of publications, because those
// may wait for acknowledgements to make room in a stream.
const maxAcknowledging = 10_000

// ListStreams implements GatewayHandler.
func (a *API) ListStreams(ctx context.Context, _ *connect.Request[longlinev1.ListStreamsRequest]) (*connect.Response[longlinev1.ListStreamsResponse], error) {
	response := new(longlinev1.ListStreamsResponse)
	if a.node.Streams != nil {
		for _, s := range a.node.Streams.All() {
			d, err := a.described(ctx, s)
			if err != nil {
				return nil, err
			}
			response.Streams = append(response.Streams, d)
		}
	}
	return connect.NewResponse(response), nil
}

// GetStream implements GatewayHandler.
func (a *API) GetStream(ctx context.Context, r *connect.Request[longlinev1.GetStreamRequest]) (*connect.Response[longlinev1.GetStreamResponse], error) {
	s, err := a.stream(r.Msg.Stream)
	if err != nil {
		return nil, err
	}
	d, err := a.described(ctx, s)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&longlinev1.GetStreamResponse{Stream: d}), nil
}

// stream returns a stream by its name.
func (a *API) stream(name string) (*stream.Stream, error) {
	if a.node.Streams != nil {
		if s := a.node.Streams.Get(name); s != nil {
			return s, nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("the configuration has no stream of this name"))
}

// Acknowledge implements GatewayHandler.
func (a *API) Acknowledge(ctx context.Context, r *connect.Request[longlinev1.AcknowledgeRequest]) (*connect.Response[longlinev1.AcknowledgeResponse], error) {
	s, err := a.stream(r.Msg.Stream)
	if err != nil {
		return nil, err
	}
	away, err := a.acknowledge(ctx, s, r.Msg.Consumer, "place", r.Msg.Place)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&longlinev1.AcknowledgeResponse{Away: away}), nil
}

// acknowledge returns when it is on disk that a consumer is done with the entry at a place, and all before it. field names the place in errors. In a cluster the
// place has parts of other nodes, which are asked; away are those that do not answer.
func (a *API) acknowledge(ctx context.Context, s *stream.Stream, consumer, field, text string) (away []string, err error) {
	if a.node.Cluster != nil && !callerOf(ctx).isNode {
		done, err := parsePlaces(field, text)
		if err != nil {
			return nil, err
		}
		return a.acknowledgeParts(ctx, s, consumer, &done)
	}
	done, err := parsePlace(field, text)
	if err != nil {
		return nil, err
	}
	return nil, a.acknowledgePart(ctx, s, consumer, done)
}

// acknowledgePart is acknowledge for this node's part.
func (a *API) acknowledgePart(ctx context.Context, s *stream.Stream, consumer string, done uint64) error {
	return a.awaitDisk(ctx, func(told func(error)) error {
		s.Acknowledge(consumer, done+1, told)
		return nil
	})
}

// DeleteConsumer implements GatewayHandler.
func (a *API) DeleteConsumer(ctx context.Context, r *connect.Request[longlinev1.DeleteConsumerRequest]) (*connect.Response[longlinev1.DeleteConsumerResponse], error) {
	s, err := a.stream(r.Msg.Stream)
	if err != nil {
		return nil, err
	}
	a.acknowledged.forget(s.Name(), r.Msg.Consumer)
	err = a.awaitDisk(ctx, func(told func(error)) error { return s.DeleteConsumer(r.Msg.Consumer, told) })
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(new(longlinev1.DeleteConsumerResponse)), nil
}

// awaitDisk calls change, which calls told once, from any goroutine, unless it returns an error. It waits for that, or for the end of ctx.
func (a *API) awaitDisk(ctx context.Context, change func(told func(error)) error) error {
	if a.acknowledging.Add(1) > maxAcknowledging {
		a.acknowledging.Add(-1)
		return exhausted("%d acknowledgements are waiting for the disk, which is the limit", maxAcknowledging)
	}
	answer := make(chan error, 1)
	err := change(func(err error) {
		a.acknowledging.Add(-1)
		answer <- err
	})
	if err != nil {
		a.acknowledging.Add(-1)
		return coded(err)
	}
	select {
	case err := <-answer:
		return ofDisk(err)
	case <-ctx.Done():
		return coded(ctx.Err())
	}
}

// ofDisk gives an error its code: unavailable if it is none of the errors that we know, because then it is the disk's.
func ofDisk(err error) error {
	err = coded(err)
	var known *connect.Error
	if errors.As(err, &known) && known.Code() == connect.CodeInternal {
		return connect.NewError(connect.CodeUnavailable, known.Unwrap())
	}
	return err
}

// describedAtOnce bounds the streams that are described at a time, because each reads from the disk.
const describedAtOnce = 4

// described returns what the API shows of a stream. It waits for its turn.
func (a *API) described(ctx context.Context, s *stream.Stream) (*longlinev1.Stream, error) {
	select {
	case a.describing <- struct{}{}:
	case <-ctx.Done():
		return nil, coded(ctx.Err())
	}
	i := s.Info()
	<-a.describing
	d := &longlinev1.Stream{
		Name:     i.Name,
		Filters:  i.Filters,
		Last:     place(i.End - 1),
		Messages: i.End - i.First,
		Bytes:    uint64(i.Bytes),
		MaxBytes: uint64(i.MaxBytes),
		WhenFull: i.WhenFull,
	}
	if i.First < i.End {
		d.First, d.Oldest = place(i.First), timestamppb.New(i.Oldest)
	}
	if i.MaxAge > 0 {
		d.MaxAge = durationpb.New(i.MaxAge)
	}
	if i.Err != nil {
		d.Error = i.Err.Error()
	}
	for _, c := range i.Consumers {
		d.Consumers = append(d.Consumers, &longlinev1.Consumer{
			Name:         c.Name,
			Acknowledged: place(c.Place - 1),
			Lag:          &longlinev1.Lag{Messages: c.Lag.Messages, Bytes: uint64(c.Lag.Bytes), Age: durationpb.New(c.Lag.Age.Round(time.Millisecond))},
			Reading:      c.Reading,
			Missed:       c.Missed,
		})
	}
	return d, nil
}
