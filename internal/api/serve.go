package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/longline/longline/internal/service"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// serveStream is the stream of Serve.
type serveStream = connect.BidiStream[longlinev1.ServeRequest, longlinev1.ServeResponse]

// Serve implements GatewayHandler. One goroutine reads answers, this one sends calls.
func (a *API) Serve(ctx context.Context, stream *serveStream) error {
	who := callerOf(ctx).ID
	if err := a.serving.take(who); err != nil {
		return err
	}
	defer a.serving.give(who)
	body := bodyTimeOf(ctx)
	begin, err := a.beginning(stream, body)
	if err != nil {
		return err
	}
	s, err := a.serve(ctx, begin.Service, begin.Name, uint64(begin.Room))
	if err != nil {
		return err
	}
	defer s.close()
	body.lift()
	context.AfterFunc(s.ctx, body.end) // the reader waits for nothing else
	c := &servedStream{serving: s, stream: stream, text: begin.Text}
	var reader sync.WaitGroup
	reader.Go(func() { s.cancel(c.read()) })
	err = ending(s.ctx, c.write())
	s.cancel(nil)
	reader.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// beginning reads the first request, which has to come within the time for a body.
func (a *API) beginning(stream *serveStream, body *bodyTime) (*longlinev1.ServeBegin, error) {
	stop := context.AfterFunc(a.ended, body.end)
	defer stop()
	first, err := stream.Receive()
	switch {
	case a.ended.Err() != nil:
		return nil, errEnded
	case errors.Is(err, io.EOF):
		return nil, invalid("begin", "is missing")
	case err != nil:
		return nil, err
	case first.GetBegin() == nil:
		return nil, invalid("begin", "is missing: the first request of a stream says which service the backend serves")
	}
	return first.GetBegin(), nil
}

// servedStream is a serving whose stream is that of Serve.
type servedStream struct {
	*serving
	text bool // show payloads that are UTF-8 as text; static

	mu     sync.Mutex // guards sending
	stream *serveStream
}

func (c *servedStream) send(r *longlinev1.ServeResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream.Send(r)
}

// write sends calls until the stream ends.
func (c *servedStream) write() error {
	response := new(longlinev1.ServeResponse)
	for {
		if err := c.send(response); err != nil {
			return err
		}
		calls, ended, err := c.next(c.ctx)
		if err != nil {
			return err
		}
		response = new(longlinev1.ServeResponse)
		for _, w := range calls {
			response.Calls = append(response.Calls, c.shown(w))
		}
		for _, e := range ended {
			response.Ended = append(response.Ended, &longlinev1.ServedEnd{Id: e.ID, Reason: e.Reason})
		}
	}
}

func (c *servedStream) shown(w service.Work) *longlinev1.ServedCall {
	shown := &longlinev1.ServedCall{
		Id:          w.Call.ID,
		Device:      w.Call.Device,
		Method:      w.Call.Method,
		ContentType: strings.ToValidUTF8(w.Call.ContentType, "?"), // protobuf has no other texts
		Timeout:     durationpb.New(w.Left.Round(time.Millisecond)),
		Again:       w.Again,
		Traceparent: strings.ToValidUTF8(w.Call.Trace, "?"),
	}
	shown.Payload, shown.Text = content(w.Call.Payload, c.text)
	return shown
}

// read takes answers until the stream ends. While the client does not read, it is not read either: an answer that was not taken has to be
// told.
func (c *servedStream) read() error {
	for {
		r, err := c.stream.Receive()
		if err != nil {
			return err
		}
		answer := r.GetAnswer()
		if answer == nil {
			return invalid("answer", "is missing: only the first request of a stream has another content")
		}
		if err := c.backend.Answer(answer.Id, answered(answer)); err != nil {
			end := &longlinev1.ServedEnd{Id: answer.Id, Reason: notTaken(err)}
			if err := c.send(&longlinev1.ServeResponse{Ended: []*longlinev1.ServedEnd{end}}); err != nil {
				return err
			}
		}
	}
}

// answered returns an answer as the service's reply.
func answered(r *longlinev1.ServedAnswer) *service.Reply {
	if e := r.Error; e != nil {
		return refusal(e.Code, e.Reason)
	}
	if r.Text != nil {
		return reply([]byte(*r.Text), true, r.ContentType)
	}
	return reply(r.Payload, false, r.ContentType)
}

// refusal returns a reply that has no answer.
func refusal(code, reason string) *service.Reply {
	if code == "" {
		code = service.Failed
	}
	return &service.Reply{Err: service.Refusal{Code: code, Reason: reason}}
}

// bodyTimeKey is the key of the context's value that is the request's *bodyTime.
type bodyTimeKey struct{}

// bodyTime changes how long a request's body may take, from any goroutine. Its zero value and nil do nothing.
type bodyTime struct {
	mu      sync.Mutex
	control *http.ResponseController // nil when the handler has returned: then it must not be used
}

func bodyTimeOf(ctx context.Context) *bodyTime {
	b, _ := ctx.Value(bodyTimeKey{}).(*bodyTime)
	return b
}

// lastingBody serves requests whose body lasts as long as their client likes: next lifts the time limit of the body, and ends its
// reading.
func lastingBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := &bodyTime{control: http.NewResponseController(w)}
		defer b.close()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), bodyTimeKey{}, b)))
	})
}

// lift lets the body last.
func (b *bodyTime) lift() { b.set(time.Time{}) }

// end fails reads of the body that are under way and later ones.
func (b *bodyTime) end() { b.set(time.Unix(1, 0)) }

func (b *bodyTime) set(deadline time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.control != nil {
		_ = b.control.SetReadDeadline(deadline) // it fails only for a connection that has ended
	}
}

func (b *bodyTime) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.control = nil
}
