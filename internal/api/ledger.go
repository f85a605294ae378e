package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/ledger"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// GetLedger implements GatewayHandler.
func (a *API) GetLedger(ctx context.Context, _ *connect.Request[longlinev1.GetLedgerRequest]) (*connect.Response[longlinev1.GetLedgerResponse], error) {
	n, err := a.node.Ledger.Sum(ctx)
	if err != nil {
		return nil, coded(err)
	}
	received, published := n.Received(), n.Published()
	response := &longlinev1.GetLedgerResponse{
		Since:     timestamppb.New(n.Since),
		Received:  receiverLedger(&received),
		Published: publisherLedger(&published),
		Balanced:  n.Balances(),
	}
	kind := func(name string) *longlinev1.KindLedger {
		for _, k := range response.Kinds {
			if k.Kind == name {
				return k
			}
		}
		k := &longlinev1.KindLedger{Kind: name}
		response.Kinds = append(response.Kinds, k)
		return k
	}
	for i := range n.Receivers {
		kind(n.Receivers[i].Kind).Received = receiverLedger(&n.Receivers[i].Receiver)
	}
	for i := range n.Publishers {
		kind(n.Publishers[i].Kind).Published = publisherLedger(&n.Publishers[i].Publisher)
	}
	if n.Earlier != nil {
		response.Earlier = earlierLedger(n.Earlier)
	}
	return connect.NewResponse(response), nil
}

// GetDeviceLedger implements GatewayHandler.
func (a *API) GetDeviceLedger(ctx context.Context, r *connect.Request[longlinev1.GetDeviceLedgerRequest]) (*connect.Response[longlinev1.GetDeviceLedgerResponse], error) {
	if err := validDevice("device", r.Msg.Device); err != nil {
		return nil, err
	}
	l, err := a.node.Devices.Ledger(ctx, r.Msg.Device)
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(&longlinev1.GetDeviceLedgerResponse{Ledger: deviceLedger(&l)}), nil
}

// ListDeviceLedgers implements GatewayHandler.
func (a *API) ListDeviceLedgers(ctx context.Context, r *connect.Request[longlinev1.ListDeviceLedgersRequest]) (*connect.Response[longlinev1.ListDeviceLedgersResponse], error) {
	if r.Msg.PageToken != "" {
		if err := validDevice("page_token", r.Msg.PageToken); err != nil {
			return nil, err
		}
	}
	list, next, err := a.node.Devices.Ledgers(ctx, devices.LedgerPage{
		Prefix:     r.Msg.Prefix,
		After:      r.Msg.PageToken,
		Unbalanced: r.Msg.Unbalanced,
		Limit:      a.pageSize(r.Msg.PageSize),
	})
	if err != nil {
		return nil, coded(err)
	}
	response := &longlinev1.ListDeviceLedgersResponse{NextPageToken: next}
	for i := range list {
		response.Ledgers = append(response.Ledgers, deviceLedger(&list[i]))
	}
	return connect.NewResponse(response), nil
}

func deviceLedger(l *devices.Ledger) *longlinev1.DeviceLedger {
	return &longlinev1.DeviceLedger{
		Device:    l.Device,
		Session:   l.Session,
		Online:    l.Online,
		Received:  receiverLedger(&l.Receiver),
		Published: publisherLedger(&l.Publisher),
		Balanced:  l.Balances(),
	}
}

func receiverLedger(r *ledger.Receiver) *longlinev1.ReceiverLedger {
	return &longlinev1.ReceiverLedger{
		Taken:        r.Taken,
		Found:        r.Found,
		MovedIn:      r.MovedIn,
		Delivered:    r.Delivered,
		Acknowledged: r.Acknowledged,
		Waiting:      r.Waiting,
		Expired:      r.Expired,
		MovedOut:     r.MovedOut,
		Dropped:      ledgerCounts(r.Dropped),
		Lost:         ledgerCounts(r.Lost),
		Difference:   r.Difference(),
	}
}

func publisherLedger(p *ledger.Publisher) *longlinev1.PublisherLedger {
	return &longlinev1.PublisherLedger{
		Published:    p.Published,
		Taken:        p.Taken,
		Repeated:     p.Repeated,
		Waiting:      p.Waiting,
		Refused:      ledgerCounts(p.Refused),
		Acknowledged: p.Acknowledged,
		Difference:   p.Difference(),
	}
}

func ledgerCounts(all ledger.Counts) (list []*longlinev1.LedgerCount) {
	for _, c := range all {
		list = append(list, &longlinev1.LedgerCount{Reason: c.Why, Messages: c.N})
	}
	return list
}

func earlierLedger(e *ledger.Earlier) *longlinev1.EarlierLedger {
	out := &longlinev1.EarlierLedger{
		Since:      timestamppb.New(e.Since),
		Lives:      e.Lives,
		Killed:     e.Killed,
		Received:   receiverLedger(&e.Receivers),
		Published:  publisherLedger(&e.Publishers),
		Unknown:    e.Unknown,
		Carried:    e.Carried,
		Difference: e.Difference(),
	}
	out.Received.Difference = 0 // e's is the one that counts
	for _, g := range e.Gaps {
		out.Gaps = append(out.Gaps, &longlinev1.LedgerGap{From: timestamppb.New(g.From), To: timestamppb.New(g.To), Unknown: g.Unknown})
	}
	return out
}
