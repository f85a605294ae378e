package interop

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// backend is a backend of one device: it gets the device's messages, and sends commands and calls.
type backend struct {
	t        *testing.T
	ctx      context.Context
	client   longlinev1connect.GatewayClient
	device   string
	messages <-chan *longlinev1.Message // readings of the device, and its presence events
}

func newBackend(ctx context.Context, t *testing.T, device string) *backend {
	t.Helper()
	client := longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+gateway.admin)
	stream, err := client.Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{
		Filters: []string{"reading/" + device, "$presence/" + device},
		Qos:     1,
	}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() { // the subscription is active
		t.Fatal(stream.Err())
	}
	messages := make(chan *longlinev1.Message)
	go func() {
		defer close(messages)
		for stream.Receive() {
			for _, m := range stream.Msg().Messages {
				select {
				case messages <- m:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return &backend{t, ctx, client, device, messages}
}

// next returns the device's next reading or presence event.
func (b *backend) next() *longlinev1.Message {
	b.t.Helper()
	m := receive(b.ctx, b.t, "a message", b.messages)
	if m == nil {
		b.t.Fatal("the subscription ended")
	}
	return m
}

// awaitReading asserts the next reading.
func (b *backend) awaitReading(qos uint32, payload string) {
	b.t.Helper()
	m := b.next()
	if m.Topic != "reading/"+b.device || m.Qos != qos || m.Source != b.device {
		b.t.Errorf("got %v, want a reading of QoS %d", m, qos)
	}
	sameJSON(b.t, m.Payload, payload)
}

// awaitPresence asserts that the next message is a presence event that says online.
func (b *backend) awaitPresence(online bool) {
	b.t.Helper()
	m := b.next()
	var event struct {
		Device string
		Online bool
	}
	if err := json.Unmarshal(m.Payload, &event); err != nil {
		b.t.Fatalf("%v: %v", m, err)
	}
	if m.Topic != "$presence/"+b.device || event.Device != b.device || event.Online != online {
		b.t.Fatalf("got %v, want online %t", m, online)
	}
}

// awaitAcknowledged waits until the gateway has the acknowledgement of every command, because an acknowledgement that
// is under way when the connection is cut is lost.
func (b *backend) awaitAcknowledged() {
	b.t.Helper()
	for {
		r, err := b.client.GetDevice(b.ctx, connect.NewRequest(&longlinev1.GetDeviceRequest{Device: b.device}))
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Msg.Device.Queue.Messages == 0 {
			return
		}
	}
}

// command publishes a command for the device.
func (b *backend) command(payload string) {
	b.t.Helper()
	_, err := b.client.Publish(b.ctx, connect.NewRequest(&longlinev1.PublishRequest{Message: &longlinev1.Message{
		Topic: "command/" + b.device + "/do",
		Text:  &payload,
		Qos:   1,
	}}))
	if err != nil {
		b.t.Fatal(err)
	}
}

// call calls the device with a JSON payload.
func (b *backend) call(method, payload string) *longlinev1.CallResponse {
	b.t.Helper()
	answer, err := b.client.Call(b.ctx, connect.NewRequest(&longlinev1.CallRequest{
		Device: b.device,
		Method: method,
		Text:   &payload,
	}))
	if err != nil {
		b.t.Fatalf("call %s: %v", method, err)
	}
	return answer.Msg
}
