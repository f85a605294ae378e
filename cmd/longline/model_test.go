package main

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/model/inference"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// A gateway asks a model about what is published, and publishes the answers.
func TestModels(t *testing.T) {
	const path = "/inference.GRPCInferenceService/ModelInfer"
	mux := http.NewServeMux()
	mux.Handle(path, connect.NewUnaryHandler(path, func(_ context.Context, r *connect.Request[inference.ModelInferRequest]) (*connect.Response[inference.ModelInferResponse], error) {
		if x := math.Float32frombits(binary.LittleEndian.Uint32(r.Msg.RawInputContents[0])); x != 21.5 || r.Msg.ModelName != "anomaly" {
			t.Errorf("%v, %v", x, r.Msg)
		}
		return connect.NewResponse(&inference.ModelInferResponse{
			Outputs:           []*inference.ModelInferResponse_InferOutputTensor{{Name: "score", Datatype: "BOOL", Shape: []int64{1, 1}}},
			RawOutputContents: [][]byte{{1}},
		}), nil
	}))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	p := serve(t, `
services:
  triton: {instances: ["`+server.URL+`"], protocol: grpc, private: true}
models:
  anomaly:
    service: triton
    timeout: 20s
    filters: ["device/+/telemetry"]
    inputs:
      x: {fields: [payload.t]}
    output: {publish: "device/{topic[1]}/anomaly"}
`, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := p.backend()
	answers, err := b.Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"device/+/anomaly"}, Text: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answers.Close() }()
	p.eventually("/metrics", "longline_subscriptions 2") // that of the model, and this one
	if ok, text := p.offer("device/m-7/telemetry", []byte(`{"t":21.5}`)); !ok {
		t.Fatal(text)
	}
	for answers.Receive() && len(answers.Msg().Messages) == 0 { // a sign of life
	}
	if err := answers.Err(); err != nil {
		t.Fatal(err)
	}
	if m := answers.Msg().Messages[0]; m.Topic != "device/m-7/anomaly" || m.GetText() != `{"score":true}` {
		t.Errorf("%v", m)
	}
	p.eventually("/metrics", `longline_model_messages_total{model="anomaly",result="ok"} 1`, `longline_model_calls_total{model="anomaly",result="ok"} 1`,
		`longline_model_breaker_state{model="anomaly",state="closed"} 1`, `longline_service_calls_total{result="ok",service="triton"} 1`)
}
