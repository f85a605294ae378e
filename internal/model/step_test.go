package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/model/inference"
	"github.com/longline/longline/internal/setting"
)

// The answers are set into the messages that they are about; those that lack a field go on as they are, and say so.
func TestInfer(t *testing.T) {
	b := newServer(t)
	s, m := openStep(t, sum(b, "payload.t", "payload.more"))
	all := views("a", `{"t":1,"more":2}`, "b", `{"t":1}`, "c", `{"t":3,"more":0.5}`, "d", `no JSON`, "e", `{"t":"warm","more":1}`,
		"f", `{"t":[1,2],"more":1}`, "g", `{"t":1e39,"more":1}`, "h", `{"t":null,"more":1}`, "i", `{"t":true,"more":-1}`, "j", `[1]`)
	if err := s.Infer(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for n, want := range []struct{ payload, result string }{
		{`{"t":1,"more":2,"score":3}`, "ok"}, {`{"t":1}`, "unfit"}, {`{"t":3,"more":0.5,"score":3.5}`, "ok"}, {`no JSON`, "unfit"}, {`{"t":"warm","more":1}`, "unfit"},
		{`{"t":[1,2],"more":1}`, "unfit"}, {`{"t":1e39,"more":1}`, "unfit"}, {`{"t":null,"more":1}`, "unfit"}, {`{"t":true,"more":-1,"score":0}`, "ok"}, {`[1]`, "unfit"},
	} {
		if payload, result := said(t, all[n]); payload != want.payload || result != want.result {
			t.Errorf("%d: %s, %q", n, payload, result)
		}
	}
	if i := m.Info(); i.Messages["ok"] != 3 || i.Messages["unfit"] != 7 || i.Rows != 3 || i.Breaker != "closed" {
		t.Errorf("%+v", i)
	}
}

// Messages of several devices share a call.
func TestBatch(t *testing.T) {
	b := newServer(t)
	s, _ := openStep(t, sum(b, "payload.t"))
	until(t, "a call about several messages", func() bool {
		all := views("a", `{"t":1}`, "b", `{"t":2}`, "c", `{"t":3}`)
		if err := s.Infer(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		for n, v := range all {
			if payload, _ := said(t, v); payload != fmt.Sprintf(`{"t":%d,"score":%d}`, n+1, n+1) {
				t.Fatal(payload)
			}
		}
		calls := b.asked()
		return calls[len(calls)-1].Inputs[0].Shape[0] > 1
	})
}

// Without -1 in the shape, each message has a call of its own. Lists count as their items, and what is optional may be missing.
func TestShapes(t *testing.T) {
	b := newServer(t)
	c := sum(b, "payload.samples", "payload.extra?")
	c.Inputs = setting.Named[Input]{"x": {Name: "input:0", Fields: c.Inputs["x"].Fields, Shape: []string{"2", "2"}}}
	var first []float32
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		q.Inputs[0].Shape = append([]int64{1}, q.Inputs[0].Shape...)
		first = rows(q)[0]
		a, err := sums(q)
		a.Outputs[0].Shape = []int64{1}
		return a, err
	})
	s, _ := openStep(t, c)
	for payload, want := range map[string]string{
		`{"samples":[1,2,3],"extra":4}`: `{"samples":[1,2,3],"extra":4,"score":10}`,
		`{"samples":[1,2,3]}`:           `{"samples":[1,2,3],"score":null}`,
		`{"samples":[1,2,3,4]}`:         `{"samples":[1,2,3,4]}`,
		`{"samples":[1,2]}`:             `{"samples":[1,2]}`,
	} {
		all := views("a", payload)
		if err := s.Infer(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		if got, _ := said(t, all[0]); got != want {
			t.Errorf("%s: %s", payload, got)
		}
	}
	all := views("a", `{"samples":[1,2,3]}`)
	if err := s.Infer(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	calls := b.asked()
	if q := calls[len(calls)-1]; q.Inputs[0].Name != "input:0" || !math.IsNaN(float64(first[3])) {
		t.Errorf("%v, %v", q, first)
	}
}

// A window has the last messages of a device, in order; a message is asked about when its window is full. Windows that are too many go, the oldest first.
func TestWindows(t *testing.T) {
	b := newServer(t)
	c := sum(b, "payload.t", "payload.u")
	c.Inputs["y"] = Input{Fields: []string{"payload.u"}, Type: "UINT8"}
	c.Window = Window{Messages: 3, Keys: 2}
	s, m := openStep(t, c)
	infer := func(device string, n int) string {
		all := views(device, fmt.Sprintf(`{"t":%d,"u":%d}`, n, n))
		if err := s.Infer(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		payload, result := said(t, all[0])
		if _, score, ok := strings.Cut(payload, `"score":`); ok {
			return strings.TrimSuffix(score, "}")
		}
		return result
	}
	for _, c := range []struct {
		device string
		n      int
		want   string
	}{
		{"a", 1, "filling"}, {"a", 2, "filling"}, {"b", 10, "filling"}, {"a", 3, "12"}, {"a", 4, "18"}, {"b", 20, "filling"}, {"b", 30, "120"},
		{"c", 7, "filling"}, {"a", 5, "filling"}, {"c", 8, "filling"}, {"c", 9, "48"},
	} {
		if got := infer(c.device, c.n); got != c.want {
			t.Errorf("%s %d: %s, want %s", c.device, c.n, got, c.want)
		}
	}
	calls := b.asked()
	if q := calls[1]; fmt.Sprint(rows(q)) != "[[2 2 3 3 4 4]]" || fmt.Sprint(q.Inputs[0].Shape, q.Inputs[1].Shape, q.RawInputContents[1]) != "[1 3 2] [1 3 1] [2 3 4]" {
		t.Errorf("%v", q)
	}
	if i := m.Info(); i.Windows != 2 || i.Forgotten != 2 || i.Messages["filling"] != 7 {
		t.Errorf("%+v", i)
	}
	if s.Close(); m.Info().Windows != 0 {
		t.Errorf("%+v", m.Info())
	}
}

// Without a model a message goes on, and says so. After some failures the model is not called for a while, and then again.
func TestAway(t *testing.T) {
	b := newServer(t)
	c := sum(b, "payload.t")
	c.OpenAfter, c.OpenFor = 3, time.Second
	s, m := openStep(t, c)
	b.become(func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("not yet"))
	})
	ask := func() string {
		all := views("a", `{"t":1}`)
		if err := s.Infer(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		payload, result := said(t, all[0])
		return payload + result
	}
	until(t, "an open breaker", func() bool {
		if got := ask(); got != `{"t":1}unavailable` {
			t.Fatal(got)
		}
		return m.Info().Breaker == "open"
	})
	calls := len(b.asked())
	if got := ask(); got != `{"t":1}unavailable` || m.Info().Breaker == "open" && len(b.asked()) != calls {
		t.Errorf("%s after %d calls", got, len(b.asked())-calls)
	}
	b.become(sums)
	until(t, "an answer", func() bool { return ask() == `{"t":1,"score":1}ok` })
}

// A model that does not answer in time is given up, and so are those who wait behind.
func TestSlow(t *testing.T) {
	b := newServer(t)
	c := sum(b, "payload.t")
	c.Timeout, c.InFlight, c.Batch.Messages = 50*time.Millisecond, 1, 1
	s, _ := openStep(t, c)
	release := make(chan struct{})
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) { <-release; return sums(q) })
	defer close(release)
	all := views("a", `{"t":1}`, "b", `{"t":1}`, "c", `{"t":1}`, "d", `{"t":1}`, "e", `{"t":1}`)
	if err := s.Infer(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for n, v := range all {
		if payload, result := said(t, v); payload != `{"t":1}` || result != "unavailable" && result != "busy" {
			t.Errorf("%d: %s, %s", n, payload, result)
		}
	}
}

// When the caller's context ends, or the model is closed, nothing is said about messages.
func TestEnd(t *testing.T) {
	b := newServer(t)
	set, _ := openSet(t, setting.Named[Config]{"m": sum(b, "payload.t")})
	m, err := set.ForSinks("m")
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewStep()
	release, asked := make(chan struct{}), make(chan struct{}, 10)
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		asked <- struct{}{}
		<-release
		return sums(q)
	})
	defer close(release)
	for _, end := range []func(cancel func()){func(cancel func()) { cancel() }, func(func()) { set.Close() }} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; end(cancel) }()
		all := views("a", `{"t":1}`)
		if err := s.Infer(ctx, all); err == nil {
			t.Error("no error")
		}
		if payload, result := said(t, all[0]); payload != `{"t":1}` || result != "" {
			t.Errorf("%s, %s", payload, result)
		}
		cancel()
	}
}

// What a server refuses because of one message has no effect on the others in the call. What it answers wrongly is no answer.
func TestRefused(t *testing.T) {
	b := newServer(t)
	c := sum(b, "payload.t")
	c.OpenAfter = 1000
	s, m := openStep(t, c)
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		for _, row := range rows(q) {
			if row[0] == 13 {
				return nil, connect.NewError(connect.CodeUnknown, errors.New("not this one"))
			}
		}
		return sums(q)
	})
	var pairs []string
	for n := range 40 {
		pairs = append(pairs, fmt.Sprint("d", n), fmt.Sprintf(`{"t":%d}`, n))
	}
	all := views(pairs...)
	if err := s.Infer(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for n, v := range all {
		want := fmt.Sprintf(`{"t":%d,"score":%d}ok`, n, n)
		if n == 13 {
			want = `{"t":13}refused`
		}
		if payload, result := said(t, v); payload+result != want {
			t.Errorf("%s%s, want %s", payload, result, want)
		}
	}
	before := len(b.asked())
	b.become(func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("nothing at all"))
	})
	if err := s.Infer(t.Context(), views(pairs...)); err != nil {
		t.Fatal(err)
	}
	if i, calls := m.Info(), len(b.asked())-before; i.Messages["refused"] != 41 || calls > 80 {
		t.Errorf("%d calls, %+v", calls, i)
	}
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		a, err := sums(q)
		a.Outputs[0].Shape[0]++
		return a, err
	})
	all = views("a", `{"t":1}`)
	if err := s.Infer(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if payload, result := said(t, all[0]); payload != `{"t":1}` || result != "refused" {
		t.Errorf("%s, %s", payload, result)
	}
}

// Several outputs are set as an object.
func TestOutputs(t *testing.T) {
	b := newServer(t)
	b.become(func(q *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		n := q.Inputs[0].Shape[0]
		a := &inference.ModelInferResponse{}
		add := func(name, kind string, shape []int64, c *inference.InferTensorContents) {
			a.Outputs = append(a.Outputs, &inference.ModelInferResponse_InferOutputTensor{Name: name, Datatype: kind, Shape: shape, Contents: c})
		}
		add("label", "BYTES", []int64{n}, &inference.InferTensorContents{BytesContents: [][]byte{[]byte("warm")}})
		add("odds", "FP64", []int64{n, 3}, &inference.InferTensorContents{Fp64Contents: []float64{0.25, math.NaN(), 0.5}})
		return a, nil
	})
	for _, each := range []struct {
		want    string
		tensors []string
	}{
		{`{"t":1,"score":{"label":"warm","odds":[0.25,null,0.5]}}`, nil},
		{`{"t":1,"score":[0.25,null,0.5]}`, []string{"odds"}},
		{`{"t":1,"score":0.5}`, []string{"odds[2]"}},
		{`{"t":1}`, []string{"odds[3]"}},
		{`{"t":1}`, []string{"missing"}},
	} {
		want, tensors := each.want, each.tensors
		c := sum(b, "payload.t")
		c.Output.Tensors = tensors
		s, _ := openStep(t, c)
		all := views("a", `{"t":1}`)
		if err := s.Infer(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		if payload, _ := said(t, all[0]); payload != want {
			t.Errorf("%v: %s", tensors, payload)
		}
		calls := b.asked()
		var named []string
		for _, o := range calls[len(calls)-1].Outputs {
			named = append(named, o.Name)
		}
		if len(tensors) > 0 && !reflect.DeepEqual(named, []string{strings.TrimRight(tensors[0], "[023]")}) {
			t.Errorf("%v: asked for %v", tensors, named)
		}
	}
}
