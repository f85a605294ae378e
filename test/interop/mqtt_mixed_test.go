package interop

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	sdk "github.com/longline/longline/device"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// TestMixed: an MQTT device, a JSON device and a backend each get the messages of all three.
// Then the backend calls the MQTT device.
func TestMixed(t *testing.T) {
	t.Parallel()
	s := newScene(t, gateway.mqtt, pahoClient{})
	all := s.name + "/#"
	api := longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+gateway.admin)
	heard := map[string]<-chan string{
		"mqtt":    payloads(s, s.listen("mqtt", all, 1)),
		"json":    hearJSON(s, all),
		"backend": hearBackend(s, api, all),
	}
	speak := map[string]func(topic string) error{
		"mqtt": func(topic string) error {
			s.say(message{Topic: topic, QoS: 1}, `"mqtt"`)
			return nil
		},
		"json": func(topic string) error {
			d, err := sdk.Dial(s.ctx, target(gateway.devices, s.name+"-speaker"), nil)
			if err != nil {
				return err
			}
			defer d.Close(s.ctx)
			return d.PublishJSON(s.ctx, topic, "json")
		},
		"backend": func(topic string) error {
			text := `"backend"`
			_, err := api.Publish(s.ctx, connect.NewRequest(&longlinev1.PublishRequest{
				Message: &longlinev1.Message{Topic: topic, Text: &text, Qos: 1}}))
			return err
		},
	}
	for from, say := range speak {
		if err := say(s.topic(from)); err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		for to, words := range heard {
			if got := receive(s.ctx, t, "what "+from+" says to "+to, words); got != `"`+from+`"` {
				t.Errorf("%s heard %s, want %s", to, got, from)
			}
		}
	}
}

// payloads returns the payloads of a subscriber's messages.
func payloads(s *scene, from *subscriber) <-chan string {
	words := make(chan string, buffered)
	go func() {
		for {
			select {
			case m := <-from.messages:
				words <- m.Payload
			case <-s.ctx.Done():
				return
			}
		}
	}()
	return words
}

func hearJSON(s *scene, filter string) <-chan string {
	s.t.Helper()
	words := make(chan string, buffered)
	d, err := sdk.Dial(s.ctx, target(gateway.devices, s.name+"-listener"), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = d.Close(context.Background()) })
	err = d.Subscribe(s.ctx, filter, sdk.AtLeastOnce, func(_ context.Context, m sdk.Message) { words <- string(m.Payload) })
	if err != nil {
		s.t.Fatal(err)
	}
	return words
}

func hearBackend(s *scene, api longlinev1connect.GatewayClient, filter string) <-chan string {
	s.t.Helper()
	stream, err := api.Subscribe(s.ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{filter}, Qos: 1}))
	if err != nil {
		s.t.Fatal(err)
	}
	if !stream.Receive() { // the subscription is active
		s.t.Fatal(stream.Err())
	}
	words := make(chan string, buffered)
	go func() {
		for stream.Receive() {
			for _, m := range stream.Msg().Messages {
				words <- string(m.Payload)
			}
		}
	}()
	return words
}

// TestCallMQTT: a device of MQTT 5 gets an API call as a request, and its answer is the
// reply. With the user property error it is a refusal.
func TestCallMQTT(t *testing.T) {
	t.Parallel()
	s := newScene(t, gateway.mqtt, pahoClient{})
	d := s.session("robot")
	var c *autopaho.ConnectionManager
	ready, answered := make(chan struct{}), make(chan struct{}, buffered)
	c = dialPaho(s.ctx, t, &d, func(p paho.PublishReceived) (bool, error) {
		go func() { // the client reads no acknowledgement before the handler returns
			<-ready
			answer(s, c, p.Packet)
			answered <- struct{}{}
		}()
		return true, nil
	})
	close(ready)
	calls := "device/" + d.id + "/call/"
	if _, err := c.Subscribe(s.ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: calls + "#", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, ctx: s.ctx, device: d.id,
		client: longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+gateway.admin)}
	if got := b.call("sum", `[1, 2, 39]`); got.Error != nil || got.GetText() != "42" {
		t.Errorf("sum answered %v", got)
	}
	if got := b.call("dance", `null`); got.Error.GetCode() != "unknown_method" || got.Error.GetReason() != calls+"dance" {
		t.Errorf("an unknown method answered %v", got)
	}
	for range 2 {
		receive(s.ctx, t, "the acknowledgement of a reply", answered)
	}
}

// answer answers a call as a device of MQTT 5.
func answer(s *scene, c *autopaho.ConnectionManager, call *paho.Publish) {
	reply := &paho.Publish{QoS: 1, Topic: call.Properties.ResponseTopic,
		Properties: &paho.PublishProperties{CorrelationData: call.Properties.CorrelationData}}
	if call.Topic == "device/"+s.name+"-robot/call/sum" {
		var numbers []int
		if err := json.Unmarshal(call.Payload, &numbers); err != nil {
			s.t.Error(err)
		}
		total := 0
		for _, n := range numbers {
			total += n
		}
		reply.Payload, _ = json.Marshal(total)
		reply.Properties.ContentType = "application/json"
	} else {
		reply.Payload = []byte(call.Topic)
		reply.Properties.User.Add("error", "unknown_method")
	}
	if _, err := c.Publish(s.ctx, reply); err != nil {
		s.t.Errorf("reply: %v", err)
	}
}
