package model

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/model/inference"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a server of the Open Inference Protocol with one model, sum: the output score is the sum of each row of the input x, of type FP32.
type server struct {
	*httptest.Server

	mu     sync.Mutex
	answer func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error)
	calls  []*inference.ModelInferRequest
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{answer: sums}
	mux := http.NewServeMux()
	mux.Handle(inferPath, connect.NewUnaryHandler(inferPath, s.infer))
	s.Server = httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) infer(_ context.Context, r *connect.Request[inference.ModelInferRequest]) (*connect.Response[inference.ModelInferResponse], error) {
	s.mu.Lock()
	s.calls = append(s.calls, r.Msg)
	answer := s.answer
	s.mu.Unlock()
	a, err := answer(r.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(a), nil
}

// become changes what the server answers.
func (s *server) become(answer func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// asked returns the calls so far.
func (s *server) asked() []*inference.ModelInferRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// rows returns the rows of the first input, which is of type FP32.
func rows(q *inference.ModelInferRequest) [][]float32 {
	raw := q.RawInputContents[0]
	all := make([][]float32, q.Inputs[0].Shape[0])
	size := len(raw) / len(all)
	for n := range all {
		for at := n * size; at < (n+1)*size; at += 4 {
			all[n] = append(all[n], math.Float32frombits(binary.LittleEndian.Uint32(raw[at:])))
		}
	}
	return all
}

func sums(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	if q.ModelName != "sum" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("there is no such model"))
	}
	var raw []byte
	all := rows(q)
	for _, row := range all {
		sum := float32(0)
		for _, x := range row {
			sum += x
		}
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(sum))
	}
	return &inference.ModelInferResponse{
		ModelName: q.ModelName, RawOutputContents: [][]byte{raw},
		Outputs: []*inference.ModelInferResponse_InferOutputTensor{{Name: "score", Datatype: "FP32", Shape: []int64{int64(len(all)), 1}}},
	}, nil
}

// sum is the configuration of the model sum at a server.
func sum(s *server, fields ...string) Config {
	return Config{
		Instances: []string{s.URL}, Model: "sum", Timeout: 30 * time.Second,
		Inputs: setting.Named[Input]{"x": {Fields: fields}}, Output: Output{Set: "score"},
	}
}

// openSet opens models with a router of their own.
func openSet(t *testing.T, c setting.Named[Config]) (*Set, *router.Router) {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := router.New(router.Config{}, store.NewMemory(store.Options{}))
	s, err := OpenSet(c, Options{Router: r, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, r
}

// openStep opens one model, and a step of it.
func openStep(t *testing.T, c Config) (*Step, *Model) {
	t.Helper()
	s, _ := openSet(t, setting.Named[Config]{"m": c})
	m, err := s.ForSinks("m")
	if err != nil {
		t.Fatal(err)
	}
	step := m.NewStep()
	t.Cleanup(step.Close)
	return step, m
}

// reading returns a message of a device.
func reading(device, payload string) *message.Message {
	return (&message.Message{
		Topic: "device/" + device + "/telemetry", Source: device, Payload: []byte(payload), ContentType: message.JSON, QoS: message.AtLeastOnce, Time: 1,
	}).Clone()
}

// views returns views of messages: pairs of a device and a payload.
func views(pairs ...string) (all []*route.View) {
	for i := 0; i < len(pairs); i += 2 {
		v := new(route.View)
		v.Reset(reading(pairs[i], pairs[i+1]))
		all = append(all, v)
	}
	return all
}

// said returns the payload of a view, and the result that its properties tell.
func said(t *testing.T, v *route.View) (payload, result string) {
	t.Helper()
	b, _, err := v.Encoded()
	if err != nil {
		t.Error(err)
	}
	for _, p := range v.Added() {
		if p.Key == ResultProperty {
			result = p.Value
		}
	}
	return string(b), result
}

// until waits until is reports true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it takes too long", what)
		}
	}
}
