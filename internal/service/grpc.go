package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// grpc is the transport for instances that speak gRPC. A device's call goes to longline.v1.Backend, and the reply becomes an answer as an
// instance over HTTP would have given it. A request of the gateway's own is any unary call: its path is /SERVICE/METHOD, its body the message, and so
// is the body of the answer.
type grpc struct {
	client *http.Client
	most   int
}

// send implements transport.
func (g *grpc) send(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
	ctx, wrote := traced(ctx)
	if r.call != nil {
		a, err = g.handleCall(ctx, i, r)
	} else {
		a, err = g.unary(ctx, i, r)
	}
	if err != nil {
		a, err = ofError(err)
	}
	if a != nil {
		a.Instance = i.URL
	}
	return a, wrote.Load(), err
}

// handleCall sends a device's call.
func (g *grpc) handleCall(ctx context.Context, i *instance, r *Request) (*Answer, error) {
	reply, err := g.stub(i).HandleCall(ctx, connect.NewRequest(message(r)))
	if err != nil {
		return nil, err
	}
	return ofReply(reply.Msg), nil
}

// unary sends a call of the gateway's own.
func (g *grpc) unary(ctx context.Context, i *instance, r *Request) (*Answer, error) {
	reply, err := g.method(i, r.Path).CallUnary(ctx, connect.NewRequest(&encoded{r.Body}))
	if err != nil {
		return nil, err
	}
	return &Answer{Status: http.StatusOK, Body: reply.Msg.bytes}, nil
}

// method returns the client of a method of an instance. The gateway itself calls few methods.
func (g *grpc) method(i *instance, path string) *connect.Client[encoded, encoded] {
	if c, ok := i.methods.Load(path); ok {
		return c.(*connect.Client[encoded, encoded])
	}
	c := connect.NewClient[encoded, encoded](g.client, i.URL+path, connect.WithGRPC(), connect.WithCodec(asIs{}), connect.WithReadMaxBytes(g.most))
	i.methods.Store(path, c)
	return c
}

// encoded is a message of protobuf as bytes.
type encoded struct{ bytes []byte }

// asIs is the codec of encoded. connect decodes the details of an error with it as well.
type asIs struct{}

// Name implements connect.Codec.
func (asIs) Name() string { return "proto" }

// Marshal implements connect.Codec. The result is connect's, which writes into it later.
func (c asIs) Marshal(m any) ([]byte, error) { return c.MarshalAppend(nil, m) }

// MarshalAppend appends a message to a buffer of connect's.
func (asIs) MarshalAppend(dst []byte, m any) ([]byte, error) {
	e, ok := m.(*encoded)
	if !ok {
		return nil, fmt.Errorf("cannot encode %T", m)
	}
	return append(dst, e.bytes...), nil
}

// Unmarshal implements connect.Codec. data is valid until it returns.
func (asIs) Unmarshal(data []byte, m any) error {
	switch to := m.(type) {
	case *encoded:
		to.bytes = bytes.Clone(data)
		return nil
	case proto.Message:
		return proto.Unmarshal(data, to)
	}
	return fmt.Errorf("cannot decode %T", m)
}

// stub returns the client of an instance.
func (g *grpc) stub(i *instance) longlinev1connect.BackendClient {
	i.once.Do(func() {
		i.stub = longlinev1connect.NewBackendClient(g.client, i.URL, connect.WithGRPC(), connect.WithReadMaxBytes(g.most+maxHeader))
	})
	return i.stub
}

// message returns a request as a message.
func message(r *Request) *longlinev1.HandleCallRequest {
	c := r.call
	return &longlinev1.HandleCallRequest{
		Device: c.Device, Node: c.node, Id: c.ID, Method: c.Method, Payload: r.Body, ContentType: c.passed(c.ContentType), Trace: c.passed(c.Trace),
	}
}

func ofReply(m *longlinev1.HandleCallResponse) *Answer {
	if e := m.Error; e != nil {
		return refusing(e.Code, e.Reason)
	}
	return &Answer{Status: http.StatusOK, ContentType: m.ContentType, Body: m.Payload}
}

func refusing(code, reason string) *Answer {
	return &Answer{Status: http.StatusUnprocessableEntity, Code: code, ContentType: "text/plain", Body: []byte(reason)}
}

// ofError returns the answer that a gRPC error is, or the error of send. An instance says UNAVAILABLE as a proxy does with 503.
func ofError(err error) (*Answer, error) {
	var e *connect.Error
	switch code := connect.CodeOf(err); {
	case !errors.As(err, &e):
		return nil, err
	case connect.IsWireError(err) && code == connect.CodeUnavailable:
		return nil, statusError{status: http.StatusServiceUnavailable}
	case connect.IsWireError(err):
		return refusing(code.String(), e.Message()), nil
	case code == connect.CodeResourceExhausted:
		return nil, ErrTooLarge
	case code == connect.CodeUnavailable, code == connect.CodeCanceled, code == connect.CodeDeadlineExceeded:
		return nil, withoutURL(e.Unwrap())
	}
	return nil, fmt.Errorf("%w: %s", ErrInvalid, e.Message())
}

// sweep implements transport: net/http does so itself.
func (g *grpc) sweep(time.Time) {}

// close implements transport.
func (g *grpc) close() { g.client.CloseIdleConnections() }
