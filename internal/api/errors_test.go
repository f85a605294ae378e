package api

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// refused is a request and the error that it must get.
type refused struct {
	name string
	do   func(context.Context, longlinev1connect.GatewayClient) error
	code connect.Code
	says string
}

func publishing(m *longlinev1.Message) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		_, err := publish(ctx, c, m)
		return err
	}
}

func broadcasting(m *longlinev1.Message, filter string) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		_, err := c.Broadcast(ctx, connect.NewRequest(&longlinev1.BroadcastRequest{Message: m, Filter: filter}))
		return err
	}
}

func calling(r *longlinev1.CallRequest) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		_, err := c.Call(ctx, connect.NewRequest(r))
		return err
	}
}

func listing(r *longlinev1.ListDevicesRequest) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		_, err := c.ListDevices(ctx, connect.NewRequest(r))
		return err
	}
}

func getting(device string) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		_, err := c.GetDevice(ctx, connect.NewRequest(&longlinev1.GetDeviceRequest{Device: device}))
		return err
	}
}

func disconnecting(device, reason string) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		_, err := c.Disconnect(ctx, connect.NewRequest(&longlinev1.DisconnectRequest{Device: device, Reason: reason}))
		return err
	}
}

func subscribing(r *longlinev1.SubscribeRequest) func(context.Context, longlinev1connect.GatewayClient) error {
	return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
		stream, err := c.Subscribe(ctx, connect.NewRequest(r))
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
		}
		return stream.Err()
	}
}

func TestRequestsAreRefused(t *testing.T) {
	text, long := "text", strings.Repeat("x", 1001)
	many := make([]string, 101)
	for i := range many {
		many[i] = "a"
	}
	tests := []refused{
		{"no message", publishing(nil), connect.CodeInvalidArgument, "message is missing"},
		{"no topic", publishing(&longlinev1.Message{}), connect.CodeInvalidArgument, "message.topic is empty"},
		{"wildcard", publishing(&longlinev1.Message{Topic: "a/+"}), connect.CodeInvalidArgument, "message.topic level 2 has a wildcard"},
		{"reserved", publishing(&longlinev1.Message{Topic: "$presence/a"}), connect.CodeInvalidArgument, "message.topic starts with $"},
		{"qos", publishing(&longlinev1.Message{Topic: "a", Qos: 2}), connect.CodeInvalidArgument, "message.qos is 2"},
		{"payload", publishing(&longlinev1.Message{Topic: "a", Payload: []byte(long)}), connect.CodeInvalidArgument, "message.payload is 1001 bytes long: the limit is 1000"},
		{"text", publishing(&longlinev1.Message{Topic: "a", Text: &long}), connect.CodeInvalidArgument, "message.text is 1001 bytes long"},
		{"text and payload", publishing(&longlinev1.Message{Topic: "a", Payload: []byte("b"), Text: &text}), connect.CodeInvalidArgument, "message.text excludes payload"},
		{"not JSON", publishing(&longlinev1.Message{Topic: "a", Text: &text, ContentType: "application/json"}), connect.CodeInvalidArgument, "message.text is not one JSON value"},
		{"type", publishing(&longlinev1.Message{Topic: "a", ContentType: long}), connect.CodeInvalidArgument, "message.content_type is 1001 bytes long"},
		{"expiry", publishing(&longlinev1.Message{Topic: "a", Expiry: durationpb.New(-1)}), connect.CodeInvalidArgument, "message.expiry is -1ns"},
		{"many properties", publishing(&longlinev1.Message{Topic: "a", Properties: manyProperties(33, "v")}), connect.CodeInvalidArgument, "message.properties are 33"},
		{"long properties", publishing(&longlinev1.Message{Topic: "a", Properties: manyProperties(5, long)}), connect.CodeInvalidArgument, "message.properties take 5010 bytes"},

		{"broadcast retained", broadcasting(&longlinev1.Message{Topic: "a", Retain: true}, ""), connect.CodeInvalidArgument, "message.retain is set"},
		{"broadcast filter", broadcasting(&longlinev1.Message{Topic: "a"}, "a/#/b"), connect.CodeInvalidArgument, "filter level 2 is '#'"},

		{"call device", calling(&longlinev1.CallRequest{Device: "a b", Method: "m"}), connect.CodeInvalidArgument, "device has a character"},
		{"call method", calling(&longlinev1.CallRequest{Device: "a"}), connect.CodeInvalidArgument, "method is empty"},
		{"call long method", calling(&longlinev1.CallRequest{Device: "a", Method: long}), connect.CodeInvalidArgument, "method is 1001 bytes long"},
		{"call payload", calling(&longlinev1.CallRequest{Device: "a", Method: "m", Payload: []byte(long)}), connect.CodeInvalidArgument, "payload is 1001 bytes long"},
		{"call timeout", calling(&longlinev1.CallRequest{Device: "a", Method: "m", Timeout: durationpb.New(time.Hour)}), connect.CodeInvalidArgument, "timeout is 1h0m0s: want 1ms to 5m0s"},

		{"list state", listing(&longlinev1.ListDevicesRequest{State: 9}), connect.CodeInvalidArgument, "state is 9"},
		{"list token", listing(&longlinev1.ListDevicesRequest{PageToken: "?"}), connect.CodeInvalidArgument, "page_token has a character"},
		{"get", getting(""), connect.CodeInvalidArgument, "device is empty"},
		{"get unknown", getting("nobody"), connect.CodeNotFound, "no session"},
		{"disconnect", disconnecting("a/b", ""), connect.CodeInvalidArgument, "device has a character"},
		{"disconnect reason", disconnecting("a", long), connect.CodeInvalidArgument, "reason is 1001 bytes long: the limit is 123"},
		{"disconnect unknown", disconnecting("nobody", ""), connect.CodeNotFound, "no session"},

		{"no filter", subscribing(&longlinev1.SubscribeRequest{}), connect.CodeInvalidArgument, "filters[0] is missing"},
		{"filter", subscribing(&longlinev1.SubscribeRequest{Filters: []string{"a", "a/b#"}}), connect.CodeInvalidArgument, `filters[1] "a/b#" level 2 mixes a wildcard`},
		{"filters", subscribing(&longlinev1.SubscribeRequest{Filters: many}), connect.CodeInvalidArgument, "filters[100] is one too many"},
		{"subscription qos", subscribing(&longlinev1.SubscribeRequest{Filters: many[:1], Qos: 7}), connect.CodeInvalidArgument, "qos is 7"},
		{"buffer messages", subscribing(&longlinev1.SubscribeRequest{Filters: many[:1], BufferMessages: 1<<20 + 1}), connect.CodeInvalidArgument, "buffer_messages is 1048577: the limit is 1048576"},
		{"buffer bytes", subscribing(&longlinev1.SubscribeRequest{Filters: many[:1], BufferBytes: 1 << 63}), connect.CodeInvalidArgument, "buffer_bytes is"},
	}
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		for _, test := range tests {
			test.check(t, c)
		}
	})
}

func manyProperties(n int, value string) []*longlinev1.Property {
	list := make([]*longlinev1.Property, n)
	for i := range list {
		list[i] = &longlinev1.Property{Key: "k", Value: value}
	}
	return list
}

func (r refused) check(t *testing.T, c longlinev1connect.GatewayClient) {
	t.Helper()
	err := r.do(t.Context(), c)
	if connect.CodeOf(err) != r.code || !strings.Contains(err.Error(), r.says) {
		t.Errorf("%s: got %v, want %v: %s", r.name, err, r.code, r.says)
	}
}

func TestCallsThatGetNoAnswer(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		asked := make(chan struct{}, 1)
		mute := w.connect(t, "mute", &fakeDevice{reply: func(*wire.Packet) *wire.Packet { asked <- struct{}{}; return nil }})
		w.connect(t, "raw", &fakeDevice{raw: true})
		w.leave(w.connect(t, "away", new(fakeDevice)))
		call := func(device string) refused {
			return refused{name: device, do: calling(&longlinev1.CallRequest{Device: device, Method: "m", Timeout: durationpb.New(time.Minute)})}
		}
		for _, test := range []refused{
			{"unknown", call("nobody").do, connect.CodeNotFound, "the device has no session"},
			{"away", call("away").do, connect.CodeUnavailable, "not connected"},
			{"raw", call("raw").do, connect.CodeUnimplemented, "does not support calls"},
			{"late", calling(&longlinev1.CallRequest{Device: "mute", Method: "m", Timeout: durationpb.New(time.Millisecond)}), connect.CodeDeadlineExceeded, "did not answer in time"},
		} {
			test.check(t, c)
		}
		<-asked // the late one

		lost := make(chan error, 1)
		go func() { lost <- call("mute").do(t.Context(), c) }()
		<-asked
		second := call("mute")
		second.code, second.says = connect.CodeResourceExhausted, "too many calls"
		second.check(t, c)
		w.leave(mute)
		if err := <-lost; connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(), "ended before it answered") {
			t.Errorf("lost: got %v", err)
		}
	})
}

func TestPublishMeetsFullReceivers(t *testing.T) {
	w := newWorld(t, Config{MaxPublishing: 1}, router.Config{MaxWait: 50 * time.Millisecond})
	w.connect(t, "deaf", &fakeDevice{deaf: true}, "cmd")
	send := publishing(&longlinev1.Message{Topic: "cmd", Qos: 1})
	for range 2 { // the queue's bound
		if err := send(t.Context(), w.client("grpc")); err != nil {
			t.Fatal(err)
		}
	}
	refused{"full", send, connect.CodeResourceExhausted, "stayed full"}.check(t, w.client("grpc"))

	w.api.publishing.Store(1)
	refused{"bound", send, connect.CodeResourceExhausted, "1 publications are waiting"}.check(t, w.client("grpc"))
	w.api.publishing.Store(0)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.api.publishAcknowledged(ctx, &message.Message{Topic: "cmd", QoS: message.AtLeastOnce}); connect.CodeOf(coded(err)) != connect.CodeCanceled {
		t.Errorf("a backend that left: %v", err)
	}
}

func TestErrorsHaveCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		code connect.Code
	}{
		{fmt.Errorf("%w: the limit is 9 retained messages", store.ErrFull), connect.CodeResourceExhausted},
		{store.ErrTooLarge, connect.CodeResourceExhausted},
		{router.ErrTooLate, connect.CodeResourceExhausted},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
		{errEnded, connect.CodeUnavailable},
		{errDrain, connect.CodeInternal},
	} {
		if got := connect.CodeOf(coded(test.err)); got != test.code {
			t.Errorf("%v: got %v, want %v", test.err, got, test.code)
		}
	}
	if coded(nil) != nil {
		t.Error("no error has become one")
	}
}

// docs/backend.md has a row for each code that a caller may get.
func TestCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/backend.md")
	if err != nil {
		t.Fatal(err)
	}
	all := []connect.Code{connect.CodeInvalidArgument, connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeInternal}
	for _, c := range codes {
		all = append(all, c.code)
	}
	for _, code := range all {
		if !strings.Contains(string(text), "\n| `"+code.String()+"` |") {
			t.Errorf("%v is not there", code)
		}
	}
}
