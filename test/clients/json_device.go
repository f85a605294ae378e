package clients

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/device"
	"github.com/longline/longline/test/account"
)

// jsonDevice is a device of the SDK.
type jsonDevice struct {
	*Fleet
	name    string
	random  *rand.Rand // of run alone
	topics  []*account.Topic
	filters []filter

	conn  atomic.Pointer[parting] // the last connection
	stale atomic.Pointer[parting] // the one before, which the gateway has to close
	began atomic.Int64            // when it began, of the book's clock; 0 while there is none
	away  atomic.Int64            // when it may connect again, of the book's clock
	begun atomic.Bool             // a subscription was acknowledged
	slots chan struct{}           // messages that are not acknowledged

	mu       sync.Mutex
	answered map[uint64]int // commands
}

// run runs the device until ctx ends.
func (d *jsonDevice) run(ctx context.Context) {
	d.slots = make(chan struct{}, window)
	o := &device.Options{
		ID: d.name, SessionExpiry: time.Hour, HTTPClient: client(d.dial), OnState: d.state,
		Reconnect: device.Reconnect{Min: d.Retry, Max: 2 * d.Retry, MaxTries: -1},
	}
	if d.Orders != nil {
		d.answered = make(map[uint64]int)
		o.Calls = map[string]device.CallHandler{"do": d.do}
	}
	var about []*account.Interest
	for _, f := range d.filters {
		o.Subscriptions = append(o.Subscriptions, device.Subscription{Filter: f.text, QoS: device.AtLeastOnce, Handle: d.take})
		about = append(about, d.Book.Subscribing(f.receiver, f.match))
	}
	sdk, err := device.Dial(ctx, "ws://gateway", o)
	if err != nil {
		if ctx.Err() == nil {
			d.Book.Fault(d.name + ": " + err.Error())
		}
		return
	}
	for _, i := range about {
		d.Book.Note(&i.From)
	}
	d.begun.Store(true)
	roamed := make(chan struct{})
	go func() {
		defer close(roamed)
		d.roam(ctx, sdk)
	}()
	d.use(ctx, sdk)
	<-roamed
	closing, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = sdk.Close(closing) // the run is over
}

// dial is how the SDK connects: not before it may.
func (d *jsonDevice) dial(ctx context.Context) (net.Conn, error) {
	d.Pause(ctx, time.Duration(d.away.Load())-d.Book.Now())
	if err := d.Gateways.Wait(ctx); err != nil {
		return nil, err
	}
	conn, err := d.Gateways.Dial(ctx, d.name, func(a Addresses) string { return a.Devices })
	if err != nil {
		return nil, err
	}
	c := &parting{TCPConn: conn.(*net.TCPConn)}
	d.conn.Store(c)
	return c, nil
}

// state notes changes of the connection.
func (d *jsonDevice) state(s device.State) {
	d.Book.Event(d.name, fmt.Sprintf("%v, resumed: %v, %v", s.Phase, s.Resumed, s.Err))
	if s.Phase != device.Connected {
		if began := d.began.Swap(0); began > 0 {
			d.Book.CutOff(d.name, time.Duration(began))
		}
		return
	}
	d.began.Store(int64(d.Book.Now()))
	if c := d.stale.Swap(nil); c != nil {
		c.supersede(d.Superseded, d.name)
	}
	if d.begun.Load() && !s.Resumed {
		d.Book.Fault(d.name + ": its session is gone")
	}
	if s.Missed > 0 {
		d.Book.Fault(fmt.Sprintf("%s was told that it missed %d messages", d.name, s.Missed))
	}
}

// do handles a command. The SDK does not call it for one that it has answered before.
func (d *jsonDevice) do(ctx context.Context, c device.Call) (any, error) {
	d.mu.Lock()
	number, refused, err := d.getCommand(d.name, c.ID, c.Payload, d.answered)
	d.mu.Unlock()
	d.Pause(ctx, working(number))
	switch {
	case err != nil:
		d.Book.Fault(err.Error())
		return nil, err
	case refused:
		return nil, &device.RefusedError{Code: "no", Reason: "not now"}
	}
	return []byte(answerTo(number)), nil
}

func (d *jsonDevice) take(_ context.Context, m device.Message) { d.arrived(d.name, m.Topic, m.Payload) }

// use publishes, and cuts the connection now and then.
func (d *jsonDevice) use(ctx context.Context, sdk *device.Device) {
	tick := time.NewTicker(d.Pace)
	defer tick.Stop()
	life := time.NewTimer(d.Life(d.random))
	defer life.Stop()
	for {
		select {
		case <-tick.C:
			d.publish(sdk)
		case <-life.C:
			life.Reset(d.Life(d.random))
			if conn := d.conn.Load(); conn != nil && !d.Calm.Load() && !d.Steady.Load() {
				d.Cuts.Add(1)
				if d.Superseded != nil && d.random.IntN(2) == 0 {
					d.stale.Store(conn)
					conn.part()
					break
				}
				if d.random.IntN(3) == 0 {
					d.away.Store(int64(d.Book.Now() + d.absence(d.random)))
				}
				cut(conn.TCPConn)
				_ = conn.Close()
			}
		case <-ctx.Done():
			return
		}
	}
}

// publish sends the next message, unless too many are not acknowledged.
func (d *jsonDevice) publish(sdk *device.Device) {
	if d.Calm.Load() {
		return
	}
	select {
	case d.slots <- struct{}{}:
	default:
		return
	}
	t := d.topics[d.random.IntN(len(d.topics))]
	empty := t.Retained && d.random.IntN(8) == 0
	n := d.Book.Send(t, empty)
	m := device.Message{Topic: t.Name, QoS: device.AtLeastOnce, Retain: t.Retained}
	if !empty {
		m.Payload = payload(n, d.padding(d.random))
	}
	outcome, err := sdk.PublishAsync(m)
	if err != nil { // the outbox is full of large messages
		d.Book.Answer(t, n, true)
		<-d.slots
		return
	}
	go func() {
		err := <-outcome
		<-d.slots
		var refused *device.RefusedError
		switch {
		case err == nil || errors.As(err, &refused):
			d.Book.Answer(t, n, err != nil)
		case !errors.Is(err, device.ErrClosed):
			d.Book.Fault(fmt.Sprintf("%s: %s %d: %v", d.name, t.Name, n, err))
		}
	}()
}

// roam subscribes to other devices' messages for a while.
func (d *jsonDevice) roam(ctx context.Context, sdk *device.Device) {
	random := d.Rand(d.name + " roams")
	own := d.Book.Receiver(d.name, 1)
	for !d.Calm.Load() && ctx.Err() == nil {
		filter := d.elsewhere(random, d.filters)
		i := d.Book.Subscribing(own, filter)
		i.Handler = true // nobody else has it yet
		if err := sdk.Subscribe(ctx, filter, device.AtLeastOnce, d.take); err != nil {
			d.Book.Event(d.name, "subscribe: "+err.Error())
			d.Pause(ctx, time.Second)
			continue
		}
		d.Book.Note(&i.From)
		d.Pause(ctx, time.Duration(random.Int64N(int64(6*time.Second))))
		if d.Calm.Load() {
			return
		}
		d.Book.Note(&i.Ending)
		for sdk.Unsubscribe(ctx, filter) != nil && ctx.Err() == nil {
			d.Pause(ctx, time.Second)
		}
		d.Book.Note(&i.To)
	}
}
