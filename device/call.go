package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/wire"
)

// Call is a request of a backend to the device.
type Call struct {
	Method      string
	Payload     []byte
	ContentType string // ContentJSON if Payload is JSON
}

// CallHandler answers a call. A result of type []byte is sent as it is, nil as an empty payload, and any other
// result as JSON. An error refuses the call: a *RefusedError with its own
// code, any other error with `failed`. ctx ends when the caller's timeout is over, and when the
// device closes.
//
// Handlers run concurrently, up to Options.MaxCalls.
type CallHandler func(ctx context.Context, c Call) (any, error)

// AnyMethod is the method of the handler for calls that no other handler is for.
const AnyMethod = "*"

// Codes with which the SDK itself refuses calls.
const (
	codeUnknownMethod = "unknown_method" // the method has no handler
	codeBusy          = "busy"           // MaxCalls handlers are running
	codeClosing       = "closing"        // Close was called
	codeFailed        = "failed"         // the handler returned an error, or a result that cannot be sent
)

// HandleCall makes h the handler for calls of method, or with AnyMethod for calls of methods that have none. The device
// refuses other calls with `unknown_method`.
func (d *Device) HandleCall(method string, h CallHandler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[method] = h
}

// callHandler returns the handler for method, or nil.
func (d *Device) callHandler(method string) CallHandler {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.calls[method]; h != nil {
		return h
	}
	return d.calls[AnyMethod]
}

// called starts the handler of a call in a goroutine of its own, or refuses the call.
func (d *Device) called(l *link, p *wire.Packet) {
	h := d.callHandler(p.Method)
	if h == nil {
		d.refuse(l, p, codeUnknownMethod, fmt.Sprintf("the device has no method %q", p.Method))
		return
	}
	if !d.begin() {
		d.refuse(l, p, codeClosing, "the device is closing")
		return
	}
	select {
	case d.slots <- struct{}{}:
	default:
		d.handlers.Done()
		d.refuse(l, p, codeBusy, fmt.Sprintf("%d calls are under way", cap(d.slots)))
		return
	}
	go func() {
		defer d.handlers.Done()
		defer func() { <-d.slots }()
		d.answer(l, p, h)
	}()
}

// answer runs h and replies with what it returned.
func (d *Device) answer(l *link, p *wire.Packet, h CallHandler) {
	ctx := d.ctx
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Timeout)
		defer cancel()
	}
	started := time.Now()
	result, err := h(ctx, Call{p.Method, p.Payload, p.ContentType})
	if err == nil {
		err = d.sendResult(l, p.ID, result)
	}
	var refused *RefusedError
	switch {
	case err == nil:
	case errors.Is(err, errLost):
		l.log.Warn("device: the connection of a call was lost before its reply",
			"method", p.Method, "took", time.Since(started))
	case errors.As(err, &refused) && refused.Code != "":
		d.refuse(l, p, refused.Code, refused.Reason)
	default:
		d.refuse(l, p, codeFailed, err.Error())
	}
}

// sendResult replies with what a handler returned.
func (d *Device) sendResult(l *link, id uint64, result any) error {
	reply := &wire.Packet{Op: wire.Reply, ID: id}
	switch r := result.(type) {
	case nil:
	case []byte:
		reply.Payload = r
	default:
		payload, err := json.Marshal(r)
		if err != nil {
			return err
		}
		reply.Payload, reply.ContentType = payload, ContentJSON
	}
	return d.reply(l, reply)
}

// refuse replies with an error.
func (d *Device) refuse(l *link, p *wire.Packet, code, reason string) {
	err := d.reply(l, &wire.Packet{Op: wire.Reply, ID: p.ID, Err: wire.Error{Code: code, Reason: reason}})
	if err != nil && !errors.Is(err, errLost) {
		l.log.Error("device: the refusal of a call could not be sent", "method", p.Method, "error", err)
	}
}
