package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// grpc is the transport for instances that implement longline.v1.Backend. It takes a request as begin makes it, and makes an
// answer of the reply as an instance over HTTP would have given it.
type grpc struct {
	client *http.Client
	most   int
}

// send implements transport.
func (g *grpc) send(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
	ctx, wrote := traced(ctx)
	reply, err := g.stub(i).HandleCall(ctx, connect.NewRequest(message(r)))
	sent = wrote.Load()
	if err != nil {
		a, err = ofError(err)
	} else {
		a = ofReply(reply.Msg)
	}
	if a != nil {
		a.Instance = i.URL
	}
	return a, sent, err
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
