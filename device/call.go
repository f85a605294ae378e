package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/wire"
)

// Call is a request of a backend to the device.
type Call struct {
	Method      string
	Payload     []byte
	ContentType string // ContentJSON if Payload is JSON

	// ID numbers the call. The call of a command has the same ID each time that it comes.
	ID uint64
	// Again says that the call came before, or may have: it is a command whose answer the gateway does not know. The device has
	// answered it itself if it remembers its answer, which it does for the last 256 calls (of 1 MiB) until its process ends. A
	// handler whose action must not happen twice, not even after a restart of the process, keeps the IDs that it has done.
	Again bool
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

// called starts the handler of a call in a goroutine of its own, or refuses the call. A call that came before gets the answer that
// it got.
func (d *Device) called(l *link, p *wire.Packet) {
	reply, fresh := d.answers.begin(l, p)
	switch {
	case fresh:
		if refused := d.handle(p); refused != nil {
			d.answers.forget(p.ID)
			d.replyTo(l, p, refused)
		}
	case reply != nil:
		d.replyTo(l, p, reply)
	}
}

// handle starts the handler of a call, or returns the reply that refuses it.
func (d *Device) handle(p *wire.Packet) (refused *wire.Packet) {
	h := d.callHandler(p.Method)
	if h == nil {
		return refuse(p, codeUnknownMethod, fmt.Sprintf("the device has no method %q", p.Method))
	}
	if !d.begin() {
		return refuse(p, codeClosing, "the device is closing")
	}
	select {
	case d.slots <- struct{}{}:
	default:
		d.handlers.Done()
		return refuse(p, codeBusy, fmt.Sprintf("%d calls are under way", cap(d.slots)))
	}
	go func() {
		defer d.handlers.Done()
		defer func() { <-d.slots }()
		d.answer(p, h)
	}()
	return nil
}

// answer runs h and replies with what it returned.
func (d *Device) answer(p *wire.Packet, h CallHandler) {
	ctx := d.ctx
	if p.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Timeout)
		defer cancel()
	}
	result, err := h(ctx, Call{p.Method, p.Payload, p.ContentType, p.ID, p.Again})
	var reply *wire.Packet
	if err == nil {
		reply, err = d.result(p, result)
	}
	if err != nil {
		reply = failure(p, err)
	}
	d.replyTo(d.answers.end(reply), p, reply)
}

// result returns the reply with what a handler returned, or an error if it cannot be sent.
func (d *Device) result(p *wire.Packet, result any) (*wire.Packet, error) {
	reply := &wire.Packet{Op: wire.Reply, ID: p.ID}
	switch r := result.(type) {
	case nil:
	case []byte:
		reply.Payload = r
	default:
		payload, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		reply.Payload, reply.ContentType = payload, ContentJSON
	}
	_, err := d.encode(reply)
	return reply, err
}

// failure returns the reply for an error of a handler.
func failure(p *wire.Packet, err error) *wire.Packet {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code != "" {
		return refuse(p, refused.Code, refused.Reason)
	}
	return refuse(p, codeFailed, err.Error())
}

// refuse returns a reply with an error.
func refuse(p *wire.Packet, code, reason string) *wire.Packet {
	return &wire.Packet{Op: wire.Reply, ID: p.ID, Err: wire.Error{Code: code, Reason: reason}}
}

// replyTo sends the reply to a call.
func (d *Device) replyTo(l *link, p, reply *wire.Packet) {
	switch err := d.reply(l, reply); {
	case err == nil:
	case errors.Is(err, errLost):
		l.log.Warn("device: the connection of a call was lost before its reply", "method", p.Method)
	default:
		l.log.Error("device: the reply to a call could not be sent", "method", p.Method, "error", err)
	}
}
