package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// The names of the headers of a call over HTTP, in canonical form.
const (
	contentType  = "Content-Type"
	deviceHeader = "Longline-Device"
	nodeHeader   = "Longline-Node"
	callHeader   = "Longline-Call"
	traceHeader  = "Traceparent"
	acceptHeader = "Accept"
	errorHeader  = "Longline-Error" // of an answer: the code of a refusal
	retryHeader  = "Retry-After"    // of an answer

	encodingHeader = "Content-Encoding" // of an answer
)

// begin implements answerer: each call has a worker, of which at most Concurrency and Waiting are at work.
func (p *pool) begin(c *Call, timeout time.Duration, done func(*Reply)) (cancel func()) {
	if p.begun.Add(1) > int64(p.config.Concurrency+p.config.Waiting) {
		p.begun.Add(-1)
		done(refuse(Busy, ErrBusy.Error()))
		return func() {}
	}
	ctx, end := context.WithTimeoutCause(context.Background(), timeout, ErrTimeout)
	p.workers.do(func() {
		a, err := p.doUntil(ctx, p.request(c))
		end()
		p.begun.Add(-1)
		done(p.reply(a, err))
	})
	return end
}

// call is the call of a device, with what the gateway says to the service besides.
type call struct {
	*Call
	node, accept string // may be empty
}

// request returns a call as a request.
func (p *pool) request(c *Call) *Request {
	return &Request{
		Method: http.MethodPost, Path: "/" + c.Method, Body: c.Payload, From: c.Device, Idempotent: p.config.idempotent(c.Method),
		call: &call{Call: c, node: p.node, accept: p.accept},
	}
}

// passed returns what is passed on of a value: nothing if HTTP does not allow it, because a device may have said it.
func (*call) passed(value string) string {
	if !httpguts.ValidHeaderFieldValue(value) {
		return ""
	}
	return value
}

// eachHeader calls yield with the headers of a request, apart from those that HTTP itself needs.
func (r *Request) eachHeader(yield func(name, value string)) {
	for name, values := range r.Header {
		for _, v := range values {
			yield(name, v)
		}
	}
	c := r.call
	if c == nil {
		return
	}
	kind := c.ContentType
	if len(kind) > mostValue {
		kind = ""
	}
	var room [20]byte
	for _, h := range [...]struct{ name, value string }{
		{deviceHeader, c.Device}, {nodeHeader, c.node}, {callHeader, string(strconv.AppendUint(room[:0], c.ID, 10))},
		{contentType, kind}, {traceHeader, c.Trace}, {acceptHeader, c.accept},
	} {
		if v := c.passed(h.value); v != "" {
			yield(h.name, v)
		}
	}
}

// mostValue bounds what is passed on of a content type, in bytes.
const mostValue = 256

// reply returns what do says as a Reply.
func (p *pool) reply(a *Answer, err error) *Reply {
	switch {
	case err != nil:
		return &Reply{Err: Refusal{codeOf(err), reasonOf(err)}}
	case a.Status/100 != 2:
		return &Reply{Err: refusal(a)}
	}
	kind, err := p.kind(a)
	if err != nil {
		return refuse(InvalidAnswer, err.Error())
	}
	return &Reply{Payload: a.Body, ContentType: kind}
}

// kind returns the content type of an answer, or why a device cannot have it.
func (p *pool) kind(a *Answer) (string, error) {
	if e := a.Encoding; e != "" && e != "identity" {
		return "", errors.New("the service has encoded its answer, which nobody asked for")
	}
	return a.ContentType, p.config.accepts(a.ContentType, a.Body)
}

// accepts returns why a device cannot have an answer of a content type.
func (c *Config) accepts(kind string, body []byte) error {
	if kind == "" && (len(c.Accept) == 0 || len(body) == 0) {
		return nil
	}
	plain, _, err := mime.ParseMediaType(kind)
	switch {
	case err != nil || len(kind) > mostValue || !httpguts.ValidHeaderFieldValue(kind): // the parser lets control characters pass
		return errors.New("the content type of the service's answer is missing or not valid")
	case len(c.Accept) > 0 && !slices.Contains(c.Accept, plain):
		return fmt.Errorf("the service has answered with %s", CutReason(plain))
	}
	return nil
}

// codeOf returns the code that devices get for an error of Do.
func codeOf(err error) string {
	for _, e := range []struct {
		err  error
		code string
	}{
		{ErrBusy, Busy},
		{ErrNoInstance, Unavailable},
		{ErrOpen, Unavailable},
		{ErrServed, Unavailable},
		{ErrTooLarge, TooLarge},
		{ErrTimeout, Timeout},
		{context.DeadlineExceeded, Timeout},
		{context.Canceled, Canceled},
		{errUnreached, Unavailable},
		{ErrInvalid, InvalidAnswer},
	} {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return Failed
}

// reasonOf returns the reason that devices get for an error of Do. It does not name the instance.
func reasonOf(err error) string {
	var status statusError
	for _, e := range []error{ErrBusy, ErrNoInstance, ErrOpen, ErrTooLarge, ErrTimeout, ErrInvalid} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	switch {
	case errors.Is(err, errUnreached):
		return "no instance of the service can be reached"
	case errors.As(err, &status):
		return answeredWith(status.status)
	case errors.Is(err, context.Canceled):
		return "nobody waits for the answer"
	}
	return "the service has not answered; the call may have been done"
}

func answeredWith(status int) string {
	return fmt.Sprintf("the service has answered with status %d", status)
}

// refusal returns the refusal that an answer with a status other than 2xx is. The code is in a header or in a body of JSON, the reason in a
// body of JSON or text.
func refusal(a *Answer) Refusal {
	r := Refusal{Code: a.Code}
	kind, _, _ := mime.ParseMediaType(a.ContentType) // any other kind is not read
	switch {
	case kind == "application/json":
		var body struct{ Code, Reason string }
		if json.Unmarshal(a.Body, &body) == nil {
			r.Reason = body.Reason
			if r.Code == "" {
				r.Code = body.Code
			}
		}
	case kind == "text/plain":
		r.Reason = strings.TrimSpace(string(a.Body[:min(len(a.Body), 2*mostReason)]))
	}
	if !ValidCode(r.Code) {
		r.Code = Failed
		if a.Status/100 == 3 {
			r.Code, r.Reason = InvalidAnswer, answeredWith(a.Status)+": redirections are not followed"
		}
	}
	if r.Reason = CutReason(r.Reason); r.Reason == "" {
		r.Reason = answeredWith(a.Status)
	}
	return r
}
