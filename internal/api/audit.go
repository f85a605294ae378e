package api

import (
	"context"
	"log/slog"
	"strconv"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// auditor is the interceptor that writes Node.Audit.
type auditor struct{ api *API }

// audit logs what a caller did or was refused. The request may be nil.
func (a *API) audit(ctx context.Context, who, path string, request any, err error) {
	fields := []slog.Attr{slog.String("who", who), slog.String("method", path)}
	fields = append(fields, objects(request)...)
	fields = append(fields, slog.String("result", label(err)))
	if err != nil {
		fields = append(fields, slog.String("error", err.Error()))
	}
	a.node.Audit.LogAttrs(ctx, slog.LevelInfo, "audit", fields...)
}

// objects returns what a request is about, without payloads.
func objects(request any) (fields []slog.Attr) {
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, slog.String(key, value))
		}
	}
	if r, ok := request.(interface{ GetDevice() string }); ok {
		add("device", r.GetDevice())
	}
	if r, ok := request.(interface{ GetCredential() string }); ok {
		add("credential", r.GetCredential())
	}
	if r, ok := request.(interface{ GetMessage() *longlinev1.Message }); ok {
		add("topic", r.GetMessage().GetTopic())
	}
	if r, ok := request.(interface{ GetFilter() string }); ok {
		add("filter", r.GetFilter())
	}
	if r, ok := request.(interface{ GetStream() string }); ok {
		add("stream", r.GetStream())
	}
	if r, ok := request.(interface{ GetConsumer() string }); ok {
		add("consumer", r.GetConsumer())
	}
	if r, ok := request.(interface{ GetSink() string }); ok {
		add("sink", r.GetSink())
	}
	if r, ok := request.(interface{ GetId() uint64 }); ok {
		add("command", strconv.FormatUint(r.GetId(), 10))
	}
	if r, ok := request.(interface{ GetMethod() string }); ok {
		add("call", r.GetMethod())
	}
	return fields
}

// WrapUnary implements connect.Interceptor.
func (o auditor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		response, err := next(ctx, r)
		// Acknowledgements are as frequent as what they acknowledge.
		if path := r.Spec().Procedure; roleFor(path) > auth.Read && path != longlinev1connect.GatewayAcknowledgeProcedure {
			o.api.audit(ctx, callerOf(ctx).Name, path, r.Any(), err)
		}
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor. Most streams only read, and are not logged.
func (o auditor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		if path := conn.Spec().Procedure; roleFor(path) > auth.Read {
			o.api.audit(ctx, callerOf(ctx).Name, path, nil, err)
		}
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor; there are no clients here.
func (auditor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
