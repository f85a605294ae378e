package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The names of the headers of a call over HTTP, in canonical form.
const (
	deviceHeader = "Longline-Device"
	nodeHeader   = "Longline-Node"
	callHeader   = "Longline-Call"
	errorHeader  = "Longline-Error" // of an answer: the code of a refusal
)

// begin implements answerer: each call is a goroutine, of which there are at most Concurrency and Waiting.
func (p *pool) begin(c *Call, timeout time.Duration, done func(*Reply)) (cancel func()) {
	if p.begun.Add(1) > int64(p.config.Concurrency+p.config.Waiting) {
		p.begun.Add(-1)
		done(refuse(Busy, "too many calls of the service are under way"))
		return func() {}
	}
	ctx, end := context.WithTimeoutCause(context.Background(), timeout, ErrTimeout)
	go func() {
		a, err := p.do(ctx, p.request(c))
		end()
		p.begun.Add(-1)
		done(p.reply(a, err))
	}()
	return end
}

// request returns a call as an HTTP request.
func (p *pool) request(c *Call) *Request {
	h := make(http.Header, 6)
	h[deviceHeader], h[nodeHeader], h[callHeader] = []string{c.Device}, []string{p.node}, []string{strconv.FormatUint(c.ID, 10)}
	if c.ContentType != "" {
		h["Content-Type"] = []string{c.ContentType}
	}
	if c.Trace != "" {
		h["Traceparent"] = []string{c.Trace}
	}
	return &Request{Method: http.MethodPost, Path: "/" + c.Method, Header: h, Body: c.Payload, Idempotent: p.idempotent(c.Method)}
}

func (p *pool) idempotent(method string) bool {
	for _, m := range p.config.Idempotent {
		if m == anyMethod || m == method {
			return true
		}
	}
	return false
}

// reply returns what do says as a Reply.
func (p *pool) reply(a *Answer, err error) *Reply {
	switch {
	case err == nil && a.Status/100 == 2:
		return &Reply{Payload: a.Body, ContentType: a.Header.Get("Content-Type")}
	case err == nil:
		return &Reply{Err: refusal(a)}
	case errors.Is(err, ErrBusy):
		return refuse(Busy, ErrBusy.Error())
	case errors.Is(err, ErrNoInstance):
		return refuse(Unavailable, ErrNoInstance.Error())
	case errors.Is(err, ErrOpen):
		return refuse(Unavailable, ErrOpen.Error())
	case errors.Is(err, ErrTooLarge):
		return refuse(TooLarge, ErrTooLarge.Error())
	case errors.Is(err, ErrTimeout):
		return refuse(Timeout, ErrTimeout.Error())
	case errors.Is(err, context.Canceled):
		return refuse(Canceled, "nobody waits for the answer")
	}
	return refuse(Failed, ErrFailed.Error())
}

// refusal returns the refusal that an answer with a status other than 2xx is. The code is in a header or in a body of JSON, the reason in a body of
// JSON or text.
func refusal(a *Answer) Refusal {
	r := Refusal{Code: a.Header.Get(errorHeader)}
	kind := a.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "application/json"):
		var body struct{ Code, Reason string }
		if json.Unmarshal(a.Body, &body) == nil {
			r.Reason = body.Reason
			if r.Code == "" {
				r.Code = body.Code
			}
		}
	case strings.HasPrefix(kind, "text/plain"):
		r.Reason = string(a.Body[:min(len(a.Body), 4*mostReason)])
	}
	if !ValidCode(r.Code) {
		r.Code = Failed
	}
	if r.Reason = CutReason(r.Reason); r.Reason == "" {
		r.Reason = fmt.Sprintf("the service has answered with status %d", a.Status)
	}
	return r
}
