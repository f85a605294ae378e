package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/service"
)

// servicesPath is the path below which backends serve services by server-sent events.
const servicesPath = "/v1/services/"

// errorHeader makes an answer a refusal with this code.
const errorHeader = "Longline-Error"

// callEvents serves the calls of a service as server-sent events.
func (a *API) callEvents(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := a.sendCalls(w, r)
	a.observe(servicesPath, start, err)
	a.audit(r.Context(), callerOf(r.Context()).Name, r.URL.Path, nil, err)
}

func (a *API) sendCalls(w http.ResponseWriter, r *http.Request) error {
	who := callerOf(r.Context()).ID
	if err := a.serving.take(who); err != nil {
		return refuse(w, err)
	}
	defer a.serving.give(who)
	s, err := a.openCalls(r)
	if err != nil {
		return refuse(w, err)
	}
	defer s.close()
	beginEvents(w)
	var e eventWriter
	e.comment("serving")
	for err == nil {
		if err = e.send(w); err == nil {
			err = a.nextCalls(w, &e, s)
		}
	}
	err = ending(s.ctx, err)
	if connect.CodeOf(err) != connect.CodeCanceled {
		e.ended(err)
		_ = e.send(w) // fails when the client has left
	}
	return err
}

// openCalls opens the stream that a request asks for.
func (a *API) openCalls(r *http.Request) (*serving, error) {
	query, err := parseQuery(r.URL.RawQuery, []string{"room", "name"})
	if err != nil {
		return nil, err
	}
	room := uint64(0)
	if text := query.Get("room"); text != "" {
		if room, err = strconv.ParseUint(text, 10, 32); err != nil || room == 0 {
			return nil, invalid("room", "is %.100q: want 1 to %d", text, maxRoom)
		}
	}
	return a.serve(r.Context(), r.PathValue("name"), query.Get("name"), room)
}

// nextCalls writes a batch, or a comment when none arrives within the heartbeat. The end of it is left in e, to be sent.
func (a *API) nextCalls(w http.ResponseWriter, e *eventWriter, s *serving) error {
	ctx, cancel := context.WithTimeout(s.ctx, a.config.Heartbeat)
	calls, ended, err := s.next(ctx)
	cancel()
	switch {
	case errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil:
		e.comment("heartbeat")
		return nil
	case err != nil:
		return err
	}
	for _, end := range ended {
		e.over(s.backend, end)
	}
	for i := range calls {
		if err := e.call(s.backend, &calls[i]); err != nil {
			return err
		}
		if e.buf.Len() > eventsBuffer {
			if err := e.send(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// callEvent is the data of a call.
type callEvent struct {
	ID     string `json:"id"`
	Device string `json:"device"`
	Method string `json:"method"`
	shownPayload
	Timeout int64  `json:"timeout_ms"` // how long the device still waits
	Again   bool   `json:"again,omitempty"`
	Trace   string `json:"traceparent,omitempty"`
}

func (e *eventWriter) call(b *service.Backend, w *service.Work) error {
	c := &callEvent{
		ID: answerID(b, w.Call.ID), Device: w.Call.Device, Method: w.Call.Method,
		Timeout: w.Left.Milliseconds(), Again: w.Again, Trace: w.Call.Trace,
	}
	c.show(w.Call.Payload, w.Call.ContentType)
	e.buf.WriteString("event: call\ndata: ")
	if err := encodeEvent(&e.buf, c); err != nil {
		return err
	}
	e.buf.WriteByte('\n')
	return nil
}

// over tells that a call ended without its answer.
func (e *eventWriter) over(b *service.Backend, end service.Ended) {
	data, _ := json.Marshal(struct { // two strings always marshal
		ID     string `json:"id"`
		Reason string `json:"reason"`
	}{answerID(b, end.ID), end.Reason})
	fmt.Fprintf(&e.buf, "event: over\ndata: %s\n\n", data)
}

// answerID names a call for its answer, by the stream that got it: nobody else can guess it, nor use it for another service.
func answerID(b *service.Backend, id uint64) string {
	return b.Key() + "-" + strconv.FormatUint(id, 36)
}

// answerCall takes the answer to a call.
func (a *API) answerCall(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := a.takeAnswer(w, r)
	a.observe(answersPath, start, err)
	if err != nil {
		_ = refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// answersPath is how metrics name answers.
const answersPath = servicesPath + "answers"

func (a *API) takeAnswer(w http.ResponseWriter, r *http.Request) error {
	served, err := a.served(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	key, number, _ := strings.Cut(r.PathValue("id"), "-")
	id, err := strconv.ParseUint(number, 36, 64)
	b := served.Find(key)
	if err != nil || b == nil {
		return connect.NewError(connect.CodeNotFound, service.ErrNoCall)
	}
	answer, err := a.postedAnswer(w, r, served.MaxAnswer())
	if err != nil {
		return err
	}
	switch err := b.Answer(id, answer); {
	case errors.Is(err, service.ErrNoCall):
		return connect.NewError(connect.CodeNotFound, err)
	case err != nil:
		return connect.NewError(connect.CodeInvalidArgument, err)
	}
	return nil
}

// postedAnswer returns the answer that a request has. One that is too large is cut to what the service finds too large.
func (a *API) postedAnswer(w http.ResponseWriter, r *http.Request, most int) (*service.Reply, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)+1))
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return nil, invalid("body", "ended early") // the device still waits for an answer
	}
	if code := r.Header.Get(errorHeader); code != "" {
		return refusal(code, string(body)), nil
	}
	contentType := r.Header.Get("Content-Type")
	if kind, _, _ := mime.ParseMediaType(contentType); kind == "application/x-www-form-urlencoded" {
		contentType = "" // curl says so when it is told nothing
	}
	return reply(body, utf8.Valid(body), contentType), nil
}
