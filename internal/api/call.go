package api

import (
	"cmp"
	"context"
	"strings"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/devices"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// Call implements GatewayHandler.
func (a *API) Call(ctx context.Context, r *connect.Request[longlinev1.CallRequest]) (*connect.Response[longlinev1.CallResponse], error) {
	c := r.Msg
	if err := validDevice("device", c.Device); err != nil {
		return nil, err
	}
	if err := validMethod(c.Method); err != nil {
		return nil, err
	}
	payload, contentType, err := a.config.content("", c.Payload, c.Text, c.ContentType)
	if err != nil {
		return nil, err
	}
	timeout, err := validDuration("timeout", c.Timeout, a.config.MaxCallTimeout)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(timeout, a.config.CallTimeout))
	defer cancel()
	reply, err := a.node.Devices.Call(ctx, c.Device, devices.Call{Method: c.Method, Payload: payload, ContentType: contentType})
	if err != nil {
		return nil, coded(err)
	}
	return connect.NewResponse(answer(reply, c.Text != nil || len(c.Payload) == 0 && asJSON(r))), nil
}

// asJSON reports whether the caller uses JSON, in which bytes are base64.
func asJSON(r connect.AnyRequest) bool {
	return strings.HasPrefix(r.Header().Get("Content-Type"), "application/json")
}

// answer returns the response for a reply; asText asks for its payload as text.
func answer(r devices.Reply, asText bool) *longlinev1.CallResponse {
	if r.Err.Code != "" {
		return &longlinev1.CallResponse{Error: &longlinev1.Error{Code: r.Err.Code, Reason: r.Err.Reason}}
	}
	response := &longlinev1.CallResponse{ContentType: r.ContentType}
	response.Payload, response.Text = content(r.Payload, asText)
	return response
}
