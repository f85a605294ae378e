package api

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// maxCredential bounds the ID of a credential, in bytes.
const maxCredential = 1024

// Revocations makes revocations known to nodes that join later. Keep blocks until ctx ends, and is safe from any goroutine.
type Revocations interface {
	Keep(ctx context.Context, b auth.Bearer, until time.Time) error
}

// Revoke implements GatewayHandler.
func (a *API) Revoke(ctx context.Context, r *connect.Request[longlinev1.RevokeRequest]) (*connect.Response[longlinev1.RevokeResponse], error) {
	who := auth.Bearer{Device: r.Msg.Device, Credential: r.Msg.Credential}
	if (who.Device == "") == (who.Credential == "") {
		return nil, invalid("device", "or credential must be set, but not both")
	}
	if who.Device != "" {
		if err := validDevice("device", who.Device); err != nil {
			return nil, err
		}
	} else if err := validText("credential", who.Credential, maxCredential); err != nil {
		return nil, err
	}
	if !r.Msg.Until.IsValid() {
		return nil, invalid("until", "is missing or not a time")
	}
	closed, err := a.node.Gateway.Revoke(who, r.Msg.Until.AsTime())
	if err != nil {
		return nil, coded(err)
	}
	if a.node.Revocations != nil && !callerOf(ctx).isNode {
		if err := a.node.Revocations.Keep(ctx, who, r.Msg.Until.AsTime()); err != nil {
			return nil, connect.NewError(codeOf(err, connect.CodeUnavailable), fmt.Errorf("it holds here, and a node that joins later will not know it: %w", err))
		}
	}
	return connect.NewResponse(&longlinev1.RevokeResponse{Closed: uint32(closed)}), nil
}
