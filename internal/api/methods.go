package api

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// where says at which node of a cluster a unary method is nodeAnswer.
type where uint8

const (
	here       where = 1 + iota // at the node that was asked
	atOwner                     // at the node that has the device
	atClaimer                   // the same; at this node, which claims the device, if no node has it
	atHolder                    // at the node that has the command
	atNamed                     // at the node that the request names; here if it names none
	everywhere                  // at all nodes, or at the one that the request names
)

// methods has every unary method of the API.
var methods = map[string]*method{
	longlinev1connect.GatewayPublishProcedure:           unary(here, (*API).Publish),
	longlinev1connect.GatewayBroadcastProcedure:         merged((*API).Broadcast, asIs[longlinev1.BroadcastRequest], mergeBroadcast),
	longlinev1connect.GatewayCallProcedure:              unary(atOwner, (*API).Call),
	longlinev1connect.GatewayListDevicesProcedure:       merged((*API).ListDevices, partOfDevices, mergeDevices),
	longlinev1connect.GatewayGetDeviceProcedure:         unary(atOwner, (*API).GetDevice),
	longlinev1connect.GatewayDisconnectProcedure:        unary(atOwner, (*API).Disconnect),
	longlinev1connect.GatewayGetLedgerProcedure:         merged((*API).GetLedger, asIs[longlinev1.GetLedgerRequest], mergeLedgers),
	longlinev1connect.GatewayGetDeviceLedgerProcedure:   unary(atOwner, (*API).GetDeviceLedger),
	longlinev1connect.GatewayListDeviceLedgersProcedure: merged((*API).ListDeviceLedgers, partOfLedgers, mergeDeviceLedgers),
	longlinev1connect.GatewayGetStoreProcedure:          unary(atNamed, (*API).GetStore),
	longlinev1connect.GatewayListNodesProcedure:         unary(here, (*API).ListNodes),
	longlinev1connect.GatewayListRetainedProcedure:      unary(here, (*API).ListRetained),   // every node has all
	longlinev1connect.GatewayDeleteRetainedProcedure:    unary(here, (*API).DeleteRetained), // the same
	longlinev1connect.GatewayDrainProcedure:             unary(atNamed, (*API).Drain),
	longlinev1connect.GatewayRevokeProcedure:            merged((*API).Revoke, asIs[longlinev1.RevokeRequest], mergeRevoke),
	longlinev1connect.GatewayListStreamsProcedure:       merged((*API).ListStreams, asIs[longlinev1.ListStreamsRequest], mergeStreams).tolerant(),
	longlinev1connect.GatewayGetStreamProcedure:         merged((*API).GetStream, asIs[longlinev1.GetStreamRequest], mergeStream).tolerant(),
	longlinev1connect.GatewayAcknowledgeProcedure:       unary(here, (*API).Acknowledge), // which asks the nodes that the place names
	longlinev1connect.GatewayDeleteConsumerProcedure:    merged((*API).DeleteConsumer, asIs[longlinev1.DeleteConsumerRequest], first[longlinev1.DeleteConsumerRequest, longlinev1.DeleteConsumerResponse]),
	longlinev1connect.GatewayCreateCommandProcedure:     unary(atClaimer, (*API).CreateCommand),
	longlinev1connect.GatewayGetCommandProcedure:        unary(atHolder, (*API).GetCommand),
	longlinev1connect.GatewayCancelCommandProcedure:     unary(atHolder, (*API).CancelCommand),
	longlinev1connect.GatewayListCommandsProcedure:      merged((*API).ListCommands, partOfCommands, mergeCommands),
	longlinev1connect.GatewayListServicesProcedure:      merged((*API).ListServices, asIs[longlinev1.ListServicesRequest], mergeServices),
	longlinev1connect.GatewayListSinksProcedure:         merged((*API).ListSinks, asIs[longlinev1.ListSinksRequest], mergeSinks),
	longlinev1connect.GatewayPauseSinkProcedure:         merged((*API).PauseSink, asIs[longlinev1.PauseSinkRequest], first[longlinev1.PauseSinkRequest, longlinev1.PauseSinkResponse]),
	longlinev1connect.GatewayResumeSinkProcedure:        merged((*API).ResumeSink, asIs[longlinev1.ResumeSinkRequest], first[longlinev1.ResumeSinkRequest, longlinev1.ResumeSinkResponse]),
	longlinev1connect.GatewayReplaySinkProcedure:        merged((*API).ReplaySink, asIs[longlinev1.ReplaySinkRequest], first[longlinev1.ReplaySinkRequest, longlinev1.ReplaySinkResponse]),
	longlinev1connect.GatewayStopReplayProcedure:        merged((*API).StopReplay, asIs[longlinev1.StopReplayRequest], first[longlinev1.StopReplayRequest, longlinev1.StopReplayResponse]),
}

// method is a unary method. Static.
type method struct {
	where    where
	request  func() proto.Message // an empty one
	response func() proto.Message
	call     func(a *API, ctx context.Context, request proto.Message, h http.Header) (proto.Message, error)
	wrap     func(response proto.Message) connect.AnyResponse

	// Of a method that is answered everywhere.
	part  func(request proto.Message, nodes int) proto.Message            // what each of so many nodes is asked
	merge func(request proto.Message, answers []nodeAnswer) proto.Message // what the client gets
	away  bool                                                            // merge has a place for nodes that do not answer
}

// nodeAnswer is what a node nodeAnswer.
type nodeAnswer struct {
	node     string
	response proto.Message // nil if err is not nil
	err      error
}

// unary returns the method that do implements.
func unary[Q, R any](w where, do func(*API, context.Context, *connect.Request[Q]) (*connect.Response[R], error)) *method {
	return &method{
		where:    w,
		request:  func() proto.Message { return any(new(Q)).(proto.Message) },
		response: func() proto.Message { return any(new(R)).(proto.Message) },
		call: func(a *API, ctx context.Context, request proto.Message, h http.Header) (proto.Message, error) {
			r := connect.NewRequest(any(request).(*Q))
			for key, values := range h {
				r.Header()[key] = values
			}
			response, err := do(a, ctx, r)
			if err != nil {
				return nil, err
			}
			return any(response.Msg).(proto.Message), nil
		},
		wrap: func(response proto.Message) connect.AnyResponse { return connect.NewResponse(any(response).(*R)) },
	}
}

// part is what a node answered to a method with a response of this kind.
type part[R any] struct {
	node     string
	response *R // nil if err is not nil
	err      error
}

// merged returns a method that is answered everywhere.
func merged[Q, R any](
	do func(*API, context.Context, *connect.Request[Q]) (*connect.Response[R], error), split func(*Q, int) *Q, merge func(*Q, []part[R]) *R,
) *method {
	m := unary(everywhere, do)
	m.part = func(request proto.Message, nodes int) proto.Message {
		return any(split(any(request).(*Q), nodes)).(proto.Message)
	}
	m.merge = func(request proto.Message, answers []nodeAnswer) proto.Message {
		parts := make([]part[R], len(answers))
		for i, a := range answers {
			parts[i] = part[R]{node: a.node, err: a.err}
			parts[i].response, _ = any(a.response).(*R)
		}
		return any(merge(any(request).(*Q), parts)).(proto.Message)
	}
	return m
}

// tolerant makes the answers of some nodes enough.
func (m *method) tolerant() *method {
	m.away = true
	return m
}

// asIs asks each node the same.
func asIs[Q any](request *Q, _ int) *Q { return request }

// first is for responses that say nothing.
func first[Q, R any](_ *Q, parts []part[R]) *R { return parts[0].response }
