package device

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Device is a device of the gateway: a session, and a connection that reconnects by itself. All
// methods are safe from any goroutine.
type Device struct {
	// Static after construction.
	opts    Options
	codec   wire.Codec
	outbox  *outbox
	inbox   chan delivery // messages that wait for their handlers
	slots   chan struct{} // has one element per call under way
	answers answers
	subs    subscriptions
	ctx     context.Context // ends when the device begins to close; the cause says why
	cancel  context.CancelCauseFunc
	done    chan struct{}  // closed when the device is closed
	workers sync.WaitGroup // the goroutines of run and dispatch

	// Owned by Dial, and then by run.
	addresses *addresses
	backoff   *backoff
	met       bool // the gateway has sent a hello before

	// Safe from any goroutine.
	lastID atomic.Uint64 // of packets
	limit  atomic.Int64  // most bytes of a packet: max_payload of the last hello; 0 means no limit
	bare   atomic.Bool   // the session is new: the subscriptions have to be made again
	full   chan struct{} // the reader offers an element while it waits for the handlers

	// Guarded by mu.
	mu       sync.Mutex
	state    State
	live     *link         // nil while not connected
	changed  chan struct{} // closed at the next change of state
	calls    map[string]CallHandler
	stopping bool           // no more handlers are started
	handlers sync.WaitGroup // handlers that run; grows under mu, unless stopping
}

// Dial connects to the gateway at rawURL: `ws://host/connect/{device}`, or `ws://host` with
// Options.ID. It returns when the gateway has sent hello and acknowledged Options.Subscriptions.
// nil opts mean the zero Options.
//
// A gateway of several nodes has several addresses. Options.URLs has more of them, or rawURL is that of a list of nodes,
// `https://host/v1/nodes`: the device fetches it before it connects, and uses Options.URLs only until it has got it once. Options.Choose says
// which address it tries first. One that refuses the device or fails is left for the others
// at once; when each was tried, or four, the device waits.
//
// Dial fails at once if waiting would not help: a wrong URL or option, HTTP 400,
// 401, 403, 404, close codes 4002 and 4004, a bad certificate. After any other failure it tries again, as
// Options.Reconnect says, until ctx ends. ctx bounds Dial only: the device lives until
// Close.
func Dial(ctx context.Context, rawURL string, opts *Options) (*Device, error) {
	d, err := newDevice(rawURL, opts)
	if err != nil {
		return nil, err
	}
	l, err := d.connect(ctx, nil)
	if err != nil {
		d.finish(err)
		return nil, err
	}
	d.start(l)
	d.workers.Go(func() { d.run(l) })
	d.workers.Go(d.dispatch)
	for _, s := range d.opts.Subscriptions {
		if err := d.SubscribeTo(ctx, s); err != nil {
			return nil, errors.Join(err, d.Close(ctx))
		}
	}
	return d, nil
}

func newDevice(rawURL string, opts *Options) (*Device, error) {
	o := opts.withDefaults()
	a, err := newAddresses(rawURL, &o)
	if err != nil {
		return nil, err
	}
	if o.ID != "" {
		if _, err := topic.DeviceID(o.ID); err != nil {
			return nil, fmt.Errorf("device: ID: %w", err)
		}
	}
	d := &Device{
		opts:      o,
		codec:     o.Protocol.codec(),
		outbox:    newOutbox(o.BufferMessages, o.BufferBytes),
		inbox:     make(chan delivery, o.QueueMessages),
		slots:     make(chan struct{}, o.MaxCalls),
		full:      make(chan struct{}),
		addresses: a,
		backoff:   newBackoff(o.Reconnect),
		done:      make(chan struct{}),
		changed:   make(chan struct{}),
		calls:     make(map[string]CallHandler),
	}
	for _, s := range o.Subscriptions {
		if err := s.check(); err != nil {
			return nil, err
		}
		d.subs.put(s)
	}
	for method, h := range o.Calls {
		d.calls[method] = h
	}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	return d, nil
}

// run keeps the device connected until it closes or gives up.
func (d *Device) run(l *link) {
	err := d.serve(l)
	for d.ctx.Err() == nil && !final(err) {
		d.backoff.ended(time.Since(l.born))
		d.addresses.current.failed(err, time.Now())
		if l, err = d.connect(d.ctx, err); err != nil {
			break
		}
		d.start(l)
		err = d.serve(l)
	}
	d.finish(err)
}

// finish closes the device for good.
func (d *Device) finish(err error) {
	d.cancel(err)
	d.outbox.discard(d.closedError())
	d.enter(State{Phase: Closed, Err: context.Cause(d.ctx)}, nil)
	close(d.done)
}

// start starts the goroutines of a new link.
func (d *Device) start(l *link) {
	if d.met && !l.hello.Resumed {
		d.bare.Store(true)
	}
	d.met = true
	d.limit.Store(int64(l.hello.MaxPayload))
	l.work.Go(func() { l.fail(d.read(l)) })
	l.work.Go(func() { d.write(l) })
	l.work.Go(l.watch)
	if d.opts.TokenSource != nil {
		l.work.Go(func() { d.renew(l) })
	}
	if d.bare.Load() {
		l.work.Go(func() { d.resubscribe(l) })
	}
	d.enter(State{Phase: Connected, URL: d.addresses.current.name(), Session: l.hello.Session, Resumed: l.hello.Resumed, Missed: l.hello.Missed}, l)
}

// serve waits until all goroutines of the link have ended, and returns why it ended.
func (d *Device) serve(l *link) error {
	select {
	case <-l.ctx.Done():
	case <-d.ctx.Done():
		_ = l.ws.Close(websocket.StatusNormalClosure, "")
	}
	l.fail(errLost)
	_ = l.ws.CloseNow()
	l.work.Wait()
	err := context.Cause(l.ctx)
	d.outbox.rewind(offence(err))
	return err
}

// Done returns a channel that is closed when the device is closed or has given up.
func (d *Device) Done() <-chan struct{} { return d.done }

// Err returns why the device is closing or closed: ErrClosed after Close. Before that it is nil.
func (d *Device) Err() error { return context.Cause(d.ctx) }

// closedError returns the error of methods that are called on a closed device.
func (d *Device) closedError() error {
	cause := context.Cause(d.ctx)
	if cause == nil || errors.Is(cause, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, cause)
}
