package api

import (
	"context"
	"net/netip"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/wire"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// defaultPage is the page size when the request names none.
const defaultPage = 100

// ListDevices implements GatewayHandler.
func (a *API) ListDevices(ctx context.Context, r *connect.Request[longlinev1.ListDevicesRequest]) (*connect.Response[longlinev1.ListDevicesResponse], error) {
	state, ok := states[r.Msg.State]
	if !ok {
		return nil, invalid("state", "is %d: it is STATE_ONLINE, STATE_AWAY or absent", r.Msg.State)
	}
	if r.Msg.PageToken != "" {
		if err := validDevice("page_token", r.Msg.PageToken); err != nil {
			return nil, err
		}
	}
	size := a.pageSize(r.Msg.PageSize)
	// One more than requested, to find out whether there is another page.
	list, err := a.node.Devices.List(ctx, devices.Page{Prefix: r.Msg.Prefix, After: r.Msg.PageToken, State: state, Limit: size + 1})
	if err != nil {
		return nil, coded(err)
	}
	response := new(longlinev1.ListDevicesResponse)
	if len(list) > size {
		list = list[:size]
		response.NextPageToken = list[size-1].Device
	}
	for i := range list {
		response.Devices = append(response.Devices, device(&list[i]))
	}
	return connect.NewResponse(response), nil
}

var states = map[longlinev1.State]devices.State{
	longlinev1.State_STATE_UNSPECIFIED: devices.AnyState,
	longlinev1.State_STATE_ONLINE:      devices.Online,
	longlinev1.State_STATE_AWAY:        devices.Away,
}

func (a *API) pageSize(asked uint32) int {
	if asked == 0 {
		return min(defaultPage, a.config.MaxPageSize)
	}
	return int(min(uint64(asked), uint64(a.config.MaxPageSize)))
}

// device returns the entry of a session in a listing.
func device(i *devices.Info) *longlinev1.Device {
	d := &longlinev1.Device{
		Device:  i.Device,
		Session: i.Session,
		Online:  i.Online,
		Created: timestamppb.New(i.Created),
		Changed: timestamppb.New(i.Changed),
		Expiry:  durationpb.New(i.Expiry),
		Queue: &longlinev1.Queue{
			Messages: uint32(i.Queued),
			Bytes:    uint64(i.QueuedBytes),
			InFlight: uint32(i.InFlight),
			Waiting:  uint32(i.Waiting),
		},
		Traffic: &longlinev1.Traffic{
			UplinkMessages:   i.Traffic.UplinkMessages,
			UplinkBytes:      i.Traffic.UplinkBytes,
			DownlinkMessages: i.Traffic.DownlinkMessages,
			DownlinkBytes:    i.Traffic.DownlinkBytes,
		},
	}
	if p := i.Peer; p.Protocol != "" {
		d.Address, d.Protocol = netip.AddrPortFrom(p.Addr.Addr().Unmap(), p.Addr.Port()).String(), p.Protocol
	}
	return d
}

// GetDevice implements GatewayHandler.
func (a *API) GetDevice(ctx context.Context, r *connect.Request[longlinev1.GetDeviceRequest]) (*connect.Response[longlinev1.GetDeviceResponse], error) {
	if err := validDevice("device", r.Msg.Device); err != nil {
		return nil, err
	}
	info, err := a.node.Devices.Get(ctx, r.Msg.Device)
	if err != nil {
		return nil, coded(err)
	}
	d := device(&info)
	for _, s := range info.Subscriptions {
		d.Subscriptions = append(d.Subscriptions, &longlinev1.Subscription{Filter: s.Filter, Qos: uint32(s.QoS)})
	}
	return connect.NewResponse(&longlinev1.GetDeviceResponse{Device: d}), nil
}

// Disconnect implements GatewayHandler.
func (a *API) Disconnect(ctx context.Context, r *connect.Request[longlinev1.DisconnectRequest]) (*connect.Response[longlinev1.DisconnectResponse], error) {
	if err := validDevice("device", r.Msg.Device); err != nil {
		return nil, err
	}
	if err := validText("reason", r.Msg.Reason, maxReason); err != nil {
		return nil, err
	}
	why := wire.CloseKicked
	if r.Msg.Reason != "" {
		why = why.Because(r.Msg.Reason)
	}
	was, err := a.node.Devices.Disconnect(ctx, r.Msg.Device, why)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.DisconnectResponse{Disconnected: was}), nil
}

// Drain implements GatewayHandler.
func (a *API) Drain(ctx context.Context, _ *connect.Request[longlinev1.DrainRequest]) (*connect.Response[longlinev1.DrainResponse], error) {
	if err := a.node.Gateway.Drain(ctx); err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(new(longlinev1.DrainResponse)), nil
}
