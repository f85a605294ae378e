package model

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/model/inference"
	"github.com/longline/longline/internal/service"
)

// inferPath is the call of the Open Inference Protocol that asks a model.
const inferPath = "/inference.GRPCInferenceService/ModelInfer"

// submit gives rows to batch and returns when it has them all; those for which there is no room in time are settled. It stops when ctx ends: then the
// group is not done.
func (m *Model) submit(ctx context.Context, rows []*row) {
	late := time.NewTimer(m.config.Timeout)
	defer late.Stop()
	for n, r := range rows {
		select {
		case m.rows <- r:
			continue
		default:
		}
		select {
		case m.rows <- r:
		case <-late.C:
			settle(rows[n:], Busy, errBusy)
			return
		case <-m.life.Done():
			settle(rows[n:], Unavailable, errClosed)
			return
		case <-ctx.Done():
			return
		}
	}
}

// batch gathers rows and calls the model, until the model is closed. It is a goroutine.
func (m *Model) batch() {
	var next *row // did not fit the last batch
	for {
		rows, over := m.gather(next)
		if len(rows) == 0 {
			return
		}
		next = over
		select {
		case m.turns <- struct{}{}:
			m.running.Go(func() {
				m.ask(rows)
				<-m.turns
			})
		case <-m.life.Done():
			settle(rows, Unavailable, errClosed)
			if next != nil {
				settle([]*row{next}, Unavailable, errClosed)
			}
			return
		}
	}
}

// gather returns the rows of the next call, and one that did not fit; none if the model is closed. first is the first of them, if there is one.
func (m *Model) gather(first *row) (rows []*row, over *row) {
	if first == nil {
		select {
		case first = <-m.rows:
		case <-m.life.Done():
			return nil, nil
		}
	}
	rows = append(rows, first)
	size := first.size
	wait := time.NewTimer(m.config.Batch.Wait)
	defer wait.Stop()
	for len(rows) < m.config.Batch.Messages {
		select {
		case r := <-m.rows:
			if size += r.size; size > m.config.Batch.Bytes {
				return rows, r
			}
			rows = append(rows, r)
		case <-wait.C:
			return rows, nil
		case <-m.life.Done():
			return rows, nil
		}
	}
	return rows, nil
}

// ask calls the model about rows, and settles them.
func (m *Model) ask(rows []*row) {
	rows = m.inTime(rows)
	if len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeoutCause(m.life, m.config.Timeout, errTimeout)
	defer cancel()
	err := m.breaker.Do(func() error {
		calls := 1 + 2*bits.Len(uint(len(rows)))
		return m.try(ctx, rows, &calls)
	})
	if limit.IsOpen(err) {
		settle(rows, Unavailable, errOpen)
		return
	}
	m.health.note(m, err)
}

// inTime returns the rows that have not waited too long, and settles the others.
func (m *Model) inTime(rows []*row) (left []*row) {
	now := time.Now()
	for _, r := range rows {
		if now.After(r.until) {
			r.settle(answer{result: Busy, reason: errBusy})
		} else {
			left = append(left, r)
		}
	}
	return left
}

// refusal is what the model says when it does not do what it is asked. Another question may be answered. The error is for the log.
type refusal struct {
	error
	told error // what the messages say: devices may read them
}

func isRefusal(err error) bool {
	_, is := errors.AsType[refusal](err)
	return is
}

// try calls the model about rows, and settles them. If the model refuses them, it tries each half alone: one device must not make others go without
// an answer by what it sends. calls bounds the calls. The error is nil if the model has answered about any row.
func (m *Model) try(ctx context.Context, rows []*row, calls *int) error {
	if *calls == 0 {
		settle(rows, Refused, errBudget)
		return errBudget
	}
	*calls--
	err := m.call(ctx, rows)
	switch {
	case err == nil:
		return nil
	case !isRefusal(err):
		told := errAway
		if errors.Is(err, errTimeout) {
			told = errTimeout
		}
		settle(rows, Unavailable, told)
		return err
	case len(rows) == 1:
		r, _ := errors.AsType[refusal](err)
		m.health.refused.note(m.log, "the model refuses messages, which go on without it", err)
		settle(rows, Refused, r.told)
		return err
	}
	half := len(rows) / 2
	first, second := m.try(ctx, rows[:half], calls), m.try(ctx, rows[half:], calls)
	if first == nil || second == nil {
		return nil
	}
	return err
}

var errBudget = errors.New("the model has refused the call, and again for a part of the messages")

// call calls the model about rows. It settles them only if it returns nil.
func (m *Model) call(ctx context.Context, rows []*row) error {
	began := time.Now()
	outputs, err := m.infer(ctx, rows)
	m.counters.call(time.Since(began), len(rows), err)
	if err != nil {
		return err
	}
	for n, r := range rows {
		a := answer{names: make([]string, len(outputs)), values: make([]any, len(outputs))}
		for i := range outputs {
			a.names[i], a.values[i] = outputs[i].name, outputs[i].row(n)
		}
		r.settle(a)
	}
	return nil
}

// infer returns what the model says about rows.
func (m *Model) infer(ctx context.Context, rows []*row) ([]output, error) {
	body, err := proto.Marshal(m.request(rows))
	if err != nil {
		return nil, err // names of tensors that are not UTF-8
	}
	a, err := m.service.Do(ctx, &service.Request{Path: inferPath, Body: body, Idempotent: true})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	case a.Code != "":
		return nil, refusal{fmt.Errorf("%s: %s", a.Code, service.CutReason(string(a.Body))), errors.New("the model refuses: " + a.Code)}
	}
	var reply inference.ModelInferResponse
	if err := proto.Unmarshal(a.Body, &reply); err != nil {
		return nil, fmt.Errorf("the answer is no ModelInferResponse: %w", err)
	}
	outputs, err := readAnswer(&reply, m.wanted, len(rows), m.config.batched())
	if err != nil {
		return nil, refusal{fmt.Errorf("the answer cannot be used: %w", err), errAnswer}
	}
	return outputs, nil
}

// request returns the question about rows.
func (m *Model) request(rows []*row) *inference.ModelInferRequest {
	q := &inference.ModelInferRequest{ModelName: m.remote, ModelVersion: m.config.Version}
	for n := range m.inputs {
		i := &m.inputs[n]
		t := &inference.ModelInferRequest_InferInputTensor{Name: i.name, Datatype: i.kind.name, Shape: i.shape}
		if i.batched {
			t.Shape = append([]int64{int64(len(rows))}, i.shape...)
		}
		var raw []byte
		for _, r := range rows {
			raw = append(raw, r.inputs[n]...)
		}
		q.Inputs, q.RawInputContents = append(q.Inputs, t), append(q.RawInputContents, raw)
	}
	for n, w := range m.wanted {
		if !slices.ContainsFunc(m.wanted[:n], func(o wanted) bool { return o.name == w.name }) {
			q.Outputs = append(q.Outputs, &inference.ModelInferRequest_InferRequestedOutputTensor{Name: w.name})
		}
	}
	return q
}
