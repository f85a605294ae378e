package api

import (
	"cmp"
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// ListRetained implements GatewayHandler.
func (a *API) ListRetained(ctx context.Context, r *connect.Request[longlinev1.ListRetainedRequest]) (*connect.Response[longlinev1.ListRetainedResponse], error) {
	filter := cmp.Or(r.Msg.Filter, "#")
	by, err := a.retainedBy(filter, r.Msg.Device)
	if err != nil {
		return nil, err
	}
	if after := r.Msg.PageToken; after != "" {
		if err := topic.ValidateName(after, a.config.Topics); err != nil {
			return nil, misnamed("page_token", err)
		}
	}
	size := a.pageSize(r.Msg.PageSize)
	// One more than requested, to find out whether there is another page.
	list, err := a.node.Router.ListRetained(ctx, filter, r.Msg.PageToken, size+1, by)
	if err != nil {
		return nil, coded(err)
	}
	response := new(longlinev1.ListRetainedResponse)
	if len(list) > size {
		list = list[:size]
		response.NextPageToken = list[size-1].Topic
	}
	for _, k := range list {
		response.Messages = append(response.Messages, retained(k))
	}
	return connect.NewResponse(response), nil
}

func retained(m store.Kept) *longlinev1.Retained {
	r := &longlinev1.Retained{
		Topic:  m.Topic,
		Device: m.Source,
		Bytes:  uint64(m.Size()),
		Qos:    uint32(m.QoS),
		Ts:     timestamp(m.Time),
	}
	if m.Expiry != 0 {
		r.Expires = timestamp(m.Expiry)
	}
	return r
}

// timestamp converts Unix milliseconds; 0 is absent.
func timestamp(ms int64) *timestamppb.Timestamp {
	if ms == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(ms))
}

// DeleteRetained implements GatewayHandler.
func (a *API) DeleteRetained(ctx context.Context, r *connect.Request[longlinev1.DeleteRetainedRequest]) (*connect.Response[longlinev1.DeleteRetainedResponse], error) {
	by, err := a.retainedBy(r.Msg.Filter, r.Msg.Device)
	if err != nil {
		return nil, err
	}
	n, err := a.node.Router.DeleteRetained(ctx, r.Msg.Filter, by)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.DeleteRetainedResponse{Deleted: uint32(n)}), nil
}

// retainedBy checks a filter and a device, which may be empty, and returns a function that reports whether the device
// published a message.
func (a *API) retainedBy(filter, device string) (func(store.Kept) bool, error) {
	if err := topic.ValidateFilter(filter, a.config.Topics); err != nil {
		return nil, misnamed("filter", err)
	}
	if device == "" {
		return func(store.Kept) bool { return true }, nil
	}
	if err := validDevice("device", device); err != nil {
		return nil, err
	}
	return func(k store.Kept) bool { return k.Source == device }, nil
}
