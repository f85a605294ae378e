package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/wire"
)

// ErrAnswerUnknown is the outcome of a Call that was sent and whose answer did not come: the service may have done it, or not. The
// error that wraps it says why: the connection ended first, ctx did, or ErrNotAwaited.
var ErrAnswerUnknown = errors.New("device: the answer to the call is not known")

// Reply is what a service has answered to a Call.
type Reply struct {
	Payload     []byte
	ContentType string // ContentJSON if Payload is JSON
}

// pendingCall is a call of a service that waits for its reply.
type pendingCall struct {
	reply *wire.Packet // set before done
	done  chan error
}

// Call calls a method of a service behind the gateway, and returns its answer. A payload of type []byte is sent as it is, nil as
// an empty one, and any other as JSON. Call waits for a connection and for the answer, until ctx ends; the service learns the
// deadline of ctx.
//
// A *RefusedError says that there is no answer: its Code is the service's own, or one of the gateway's, which
// docs/protocol.md explains. Call sends the packet once; if the answer does not come, the error wraps ErrAnswerUnknown. After other errors the
// call was not sent.
func (d *Device) Call(ctx context.Context, service, method string, payload any) (Reply, error) {
	p, err := serviceCall(service, method, payload)
	if err != nil {
		return Reply{}, err
	}
	l, err := d.link(ctx)
	if err != nil {
		return Reply{}, err
	}
	return d.callOn(ctx, l, p)
}

// CallIdempotent is Call for what may be done twice: if the connection ends before the answer, it calls again on the next one,
// until ctx ends.
func (d *Device) CallIdempotent(ctx context.Context, service, method string, payload any) (Reply, error) {
	p, err := serviceCall(service, method, payload)
	if err != nil {
		return Reply{}, err
	}
	for {
		l, err := d.link(ctx)
		if err != nil {
			return Reply{}, err
		}
		r, err := d.callOn(ctx, l, p)
		if !errors.Is(err, errLost) {
			return r, err
		}
		select {
		case <-l.ctx.Done():
		case <-ctx.Done():
			return Reply{}, err
		}
	}
}

// serviceCall returns the packet of a call, without an id and a timeout.
func serviceCall(service, method string, payload any) (*wire.Packet, error) {
	p := &wire.Packet{Op: wire.Call, Service: service, Method: method}
	if service == "" {
		return nil, errors.New("device: a call names no service")
	}
	switch v := payload.(type) {
	case nil:
	case []byte:
		p.Payload = v
	default:
		var err error
		if p.Payload, err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("device: %s/%s: %w", service, method, err)
		}
		p.ContentType = ContentJSON
	}
	return p, nil
}

// callOn sends a call over a link and waits for its reply there.
func (d *Device) callOn(ctx context.Context, l *link, p *wire.Packet) (Reply, error) {
	p.ID = d.lastID.Add(1)
	if deadline, ok := ctx.Deadline(); ok {
		p.Timeout = max(time.Millisecond, time.Until(deadline))
	}
	frame, err := d.encode(p)
	if err != nil {
		return Reply{}, err
	}
	c := &pendingCall{done: make(chan error, 1)}
	l.expectReply(p.ID, c)
	defer l.expectReply(p.ID, nil)
	if err = l.send(frame); err == nil {
		err = d.await(ctx, p.Service+"/"+p.Method, c.done, l.ctx.Done())
	}
	var refused *RefusedError
	switch {
	case err == nil:
		return Reply{c.reply.Payload, c.reply.ContentType}, nil
	case errors.As(err, &refused):
		return Reply{}, err
	}
	return Reply{}, fmt.Errorf("%w: %w", ErrAnswerUnknown, err)
}

// expectReply makes replied tell c; nil ends that.
func (l *link) expectReply(id uint64, c *pendingCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil {
		delete(l.calls, id)
		return
	}
	l.calls[id] = c
}

// replied gives a reply to the call that waits for it. A reply that comes too late changes nothing.
func (l *link) replied(p *wire.Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.calls[p.ID]; c != nil {
		delete(l.calls, p.ID)
		c.reply = p
		c.done <- refusal(p.Err)
	}
}
