package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"

	"connectrpc.com/connect"
)

// backend is the API with the token of a backend.
func (t *targets) backend() longlinev1connect.GatewayClient {
	return longlinev1connect.NewGatewayClient(&http.Client{Transport: bearer(t.Backend)}, "http://"+t.Admin)
}

// post publishes with QoS 1.
func post(ctx context.Context, b longlinev1connect.GatewayClient, topic string, payload []byte) error {
	_, err := b.Publish(ctx, connect.NewRequest(&longlinev1.PublishRequest{
		Message: &longlinev1.Message{Topic: topic, Payload: payload, Qos: 1},
	}))
	return err
}

// callMethods calls methods of an MQTT device that are more than one level of a topic.
func callMethods(ctx context.Context, r *round) error {
	c := newCrew(ctx, r.gateway.targets)
	d, err := c.join(0, connectAs("bad-called", c.Token))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.listen("device/bad-called/call/#"); err != nil {
		return err
	}
	b := c.backend()
	for _, method := range []string{"a/b", "a/+", "#", "a/../../other", "\x01b"} {
		_, err := b.Call(ctx, connect.NewRequest(&longlinev1.CallRequest{
			Device: "bad-called", Method: method, Timeout: durationpb.New(500 * time.Millisecond),
		}))
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			return errors.Join(errors.New("the method "+method+" was not refused as an argument"), err)
		}
	}
	return nil
}

// revoke revokes the device or credential of r for an hour.
func revoke(ctx context.Context, b longlinev1connect.GatewayClient, r *longlinev1.RevokeRequest) error {
	r.Until = timestamppb.New(time.Now().Add(time.Hour))
	_, err := b.Revoke(ctx, connect.NewRequest(r))
	return err
}
