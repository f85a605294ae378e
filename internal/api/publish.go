package api

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// Publish implements GatewayHandler.
func (a *API) Publish(ctx context.Context, r *connect.Request[longlinev1.PublishRequest]) (*connect.Response[longlinev1.PublishResponse], error) {
	m, err := a.published(ctx, r.Msg.Message, r.Header())
	if err != nil {
		return nil, err
	}
	publish := a.publishOnce
	if m.QoS == message.AtLeastOnce {
		publish = a.publishAcknowledged
	}
	n, err := publish(ctx, m)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.PublishResponse{Receivers: uint32(n)}), nil
}

// published makes the message of a request and charges it to the caller's share of the account.
func (a *API) published(ctx context.Context, m *longlinev1.Message, h http.Header) (*message.Message, error) {
	out, err := a.config.published(m, h)
	if err == nil {
		out.Debtor = message.BackendDebtor(callerOf(ctx).Name)
	}
	return out, err
}

func (a *API) publishOnce(_ context.Context, m *message.Message) (int, error) {
	result, err := a.node.Router.Publish(m, nil)
	return result.Receivers, err
}

// publishAcknowledged returns when every receiver has m or one refused it. A publication
// counts against the limit until the router has answered, also when its backend has disconnected.
func (a *API) publishAcknowledged(ctx context.Context, m *message.Message) (int, error) {
	if a.publishing.Add(1) > int64(a.config.MaxPublishing) {
		a.publishing.Add(-1)
		return 0, exhausted("%d publications are waiting for their receivers, which is the limit", a.config.MaxPublishing)
	}
	answer := make(chan error, 1)
	result, err := a.node.Router.Publish(m, func(err error) {
		a.publishing.Add(-1)
		answer <- err
	})
	if !result.Later {
		a.publishing.Add(-1)
		return result.Receivers, err
	}
	select {
	case err = <-answer:
		return result.Receivers, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Broadcast implements GatewayHandler.
func (a *API) Broadcast(ctx context.Context, r *connect.Request[longlinev1.BroadcastRequest]) (*connect.Response[longlinev1.BroadcastResponse], error) {
	m, err := a.published(ctx, r.Msg.Message, r.Header())
	if err != nil {
		return nil, err
	}
	if m.Retain {
		return nil, invalid("message.retain", "is set: a broadcast cannot be retained")
	}
	if r.Msg.Filter != "" {
		if err := topic.ValidateFilter(r.Msg.Filter, a.config.Topics); err != nil {
			return nil, misnamed("filter", err)
		}
	}
	n, err := a.node.Devices.Broadcast(ctx, m, r.Msg.Filter)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.BroadcastResponse{Devices: uint32(n)}), nil
}
