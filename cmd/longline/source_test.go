package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/source"
	"github.com/longline/longline/internal/stream"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// What is published at one gateway becomes publications and commands at another, and what cannot become one is a dead letter.
func TestSourcesOfAGateway(t *testing.T) {
	centre := serve(t, "gateway: {mqtt: {listen: \"127.0.0.1:0\"}}\n", 0)
	p := serve(t, `
store: {path: "`+t.TempDir()+`"}
sources:
  down: {mqtt: {url: "mqtt://`+centre.mqttAddr+`", topics: ["site7/+/cmd -> device/{topic[1]}/cmd"]}}
  orders:
    mqtt: {url: "mqtt://`+centre.mqttAddr+`", topics: ["site7/+/order"]}
    where: payload.amount > 1
    command: {device: "{topic[1]}", method: order}
`, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := p.backend().Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"device/+/cmd"}, Text: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Close() }()
	p.eventually("/metrics", "longline_subscriptions 3") // this one, and two of the dead letters
	centre.eventually("/metrics", "longline_subscriptions 2")
	for topic, payload := range map[string]string{
		"site7/m-7/cmd": "go", "site7/m-7/order": `{"amount":2}`, "site7/m-8/order": `{"amount":1}`, "site7/m 9/order": `{"amount":3}`,
	} {
		if ok, text := centre.offer(topic, []byte(payload)); !ok {
			t.Fatal(text)
		}
	}
	for got.Receive() && len(got.Msg().Messages) == 0 { // a sign of life
	}
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	if m := got.Msg().Messages[0]; m.Topic != "device/m-7/cmd" || m.GetText() != "go" {
		t.Errorf("%v", m)
	}
	p.eventually("/metrics", `longline_source_done_total{source="down"} 1`, `longline_source_done_total{source="orders"} 1`,
		`longline_source_filtered_total{source="orders"} 1`, `longline_source_dead_total{source="orders"} 1`,
		`longline_source_state{source="orders",state="running"} 1`, `longline_stream_entries{stream="dead_letters"} 1`)
	var printed bytes.Buffer
	if code := Run(t.Context(), []string{"command", "ls", "--server", p.admin}, nil, &printed, &printed); code != exitDone || !strings.Contains(printed.String(), "m-7") || strings.Contains(printed.String(), "m-8") {
		t.Errorf("code %d, %s", code, &printed)
	}
}

// A node without the stream of dead letters gets no source while it runs: it would lose records of which nothing can be made.
func TestNoPlaceForDeadRecords(t *testing.T) {
	f := &follower{node: &node{streams: new(stream.Set)}}
	f.begun.Store.Path = "data"
	c := config.Config{Sources: setting.Named[source.Config]{"orders": {}}}
	if err := f.reloadSources(c); err == nil || !strings.Contains(err.Error(), pump.LettersStream) {
		t.Errorf("got %v", err)
	}
}
