package api

import (
	"context"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// GetStore implements GatewayHandler.
func (a *API) GetStore(context.Context, *connect.Request[longlinev1.GetStoreRequest]) (*connect.Response[longlinev1.GetStoreResponse], error) {
	response := new(longlinev1.GetStoreResponse)
	if a.node.Store != nil {
		response = a.node.Store()
	}
	return connect.NewResponse(response), nil
}
