package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/service"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// ListServices implements GatewayHandler.
func (a *API) ListServices(context.Context, *connect.Request[longlinev1.ListServicesRequest]) (*connect.Response[longlinev1.ListServicesResponse], error) {
	response := new(longlinev1.ListServicesResponse)
	if a.node.Services != nil {
		for _, s := range a.node.Services.All() {
			d := describeService(s.Info())
			d.Node = a.self()
			response.Services = append(response.Services, d)
		}
	}
	return connect.NewResponse(response), nil
}

func describeService(i service.Info) *longlinev1.Service {
	s := &longlinev1.Service{
		Name: i.Name, Serve: i.Serve, UnderWay: uint32(i.UnderWay), Waiting: uint32(i.Waiting), Results: i.Results, Breaker: i.Breaker,
		Problem: i.Problem, Repeated: i.Repeated,
	}
	for _, one := range i.Instances {
		d := &longlinev1.Instance{
			Url: one.URL, Weight: uint32(one.Weight), UnderWay: uint32(one.UnderWay), Calls: one.Calls, Failed: one.Failed, Unwell: one.Unwell,
		}
		if one.Latency > 0 {
			d.Latency = durationpb.New(one.Latency)
		}
		if !one.EjectedUntil.IsZero() {
			d.EjectedUntil = timestamppb.New(one.EjectedUntil)
		}
		s.Instances = append(s.Instances, d)
	}
	for _, b := range i.Backends {
		s.Backends = append(s.Backends, &longlinev1.ServingBackend{
			Name: b.Name, Since: timestamppb.New(b.Since), Room: uint32(b.Room), UnderWay: uint32(b.UnderWay), Answered: b.Answered, Late: b.Late, Last: b.Last,
		})
	}
	return s
}
