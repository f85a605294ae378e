package main

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/model/inference"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// A gateway asks models about what is published. It publishes the answers of one, and sets those of another into what a sink gets.
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
	dir := t.TempDir()
	p := serve(t, `
store: {path: "`+dir+`/store"}
streams:
  telemetry: {filters: ["device/+/telemetry"]}
sinks:
  archive: {stream: telemetry, model: score, file: {path: "`+dir+`/out.jsonl"}}
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
  score:
    service: triton
    model: anomaly
    timeout: 20s
    inputs:
      x: {fields: [payload.t]}
    output: {set: a.score}
`, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := p.backend()
	answers, err := b.Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"device/+/anomaly"}, Text: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answers.Close() }()
	p.eventually("/metrics", "longline_subscriptions 5") // those of a model, of a stream, two of the dead letters, and this one
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
		`longline_model_messages_total{model="score",result="ok"} 1`, `longline_model_breaker_state{model="anomaly",state="closed"} 1`, `longline_service_calls_total{result="ok",service="triton"} 2`)
	var line []byte
	for end := time.Now().Add(patience); len(line) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		line, _ = os.ReadFile(filepath.Join(dir, "out.jsonl"))
	}
	for _, want := range []string{`"payload":{"t":21.5,"a":{"score":true}}`, `{"key":"longline-model","value":"ok"}`} {
		if !strings.Contains(string(line), want) {
			t.Errorf("%s is not in %s", want, line)
		}
	}
}
