package api

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// Subscribe implements GatewayHandler.
func (a *API) Subscribe(ctx context.Context, r *connect.Request[longlinev1.SubscribeRequest], stream *connect.ServerStream[longlinev1.SubscribeResponse]) error {
	wanted, err := a.config.requested(r.Msg)
	if err != nil {
		return err
	}
	s, err := a.subscribe(ctx, wanted)
	if err != nil {
		return err
	}
	defer s.close()
	b := batch{qos: uint32(wanted.qos), text: r.Msg.Text}
	for {
		if err := stream.Send(&b.response); err != nil {
			return ending(s.ctx, err)
		}
		messages, missed, err := s.next(s.ctx)
		if err != nil {
			return ending(s.ctx, err)
		}
		b.fill(messages, missed)
	}
}

// requested checks the request of a subscription.
func (c *Config) requested(r *longlinev1.SubscribeRequest) (selection, error) {
	qos, err := validQoS("qos", r.Qos)
	if err != nil {
		return selection{}, err
	}
	return c.selected(selection{
		filters:  r.Filters,
		qos:      qos,
		retained: r.Retained,
		buffer: router.InboxConfig{
			Messages: int(r.BufferMessages),
			Bytes:    int(min(r.BufferBytes, 1<<62)),
		},
	}, func(i int) string { return fmt.Sprintf("filters[%d]", i) })
}
