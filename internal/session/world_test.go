package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire"
)

// world is a router, a store and a manager, without a network.
type world struct {
	t       testing.TB
	config  Config
	store   storetest.Whole
	router  *router.Router
	manager *Manager
}

// newWorld makes a world on a store of memory. queue, if given, bounds each queue.
func newWorld(t testing.TB, c Config, queue ...store.Limits) *world {
	var o store.Options
	if len(queue) > 0 {
		o.Queue = queue[0]
	}
	return newWorldOn(t, c, store.NewMemory(o))
}

func newWorldOn(t testing.TB, c Config, s storetest.Whole) *world {
	t.Helper()
	return newWorldAround(t, c, router.New(router.Config{Read: s.Read}, s), s)
}

// newAccountedWorld has one account of what its store and its router owe.
func newAccountedWorld(t testing.TB, queue store.Limits) (*world, *message.Account) {
	t.Helper()
	account := new(message.Account)
	s := store.NewMemory(store.Options{Account: account, Queue: queue})
	return newWorldAround(t, Config{}, router.New(router.Config{Account: account}, s), s), account
}

func newWorldAround(t testing.TB, c Config, r *router.Router, s storetest.Whole) *world {
	t.Helper()
	m, err := NewManager(c, r, s, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &world{t, c, s, r, m}
}

// newDurableWorld makes a world on a durable store.
func newDurableWorld(t testing.TB, c Config) *world {
	return newWorldOn(t, c, storetest.NewOnJournal(store.Options{}))
}

// restarted is the world of a durable store after a restart.
func (w *world) restarted(c Config) *world {
	w.manager.Close()
	return newWorldOn(w.t, c, w.store.(*storetest.OnJournal).Restart(w.t))
}

// close is for a world in a bubble, which ends before what the test cleans up.
func (w *world) close() { w.manager.Close() }

// publish is a backend's publication: what becomes of it is appended to the result.
func (w *world) publish(name, payload string, q message.QoS) *outcome {
	o := new(outcome)
	m := &message.Message{Topic: name, Payload: []byte(payload), QoS: q, Time: time.Now().UnixMilli()}
	if got, err := w.router.Publish(m, o.set); !got.Later {
		o.set(err)
	}
	return o
}

func (w *world) retain(name, payload string) {
	w.t.Helper()
	m := &message.Message{Topic: name, Payload: []byte(payload), QoS: 1, Retain: true}
	if _, err := w.router.Publish(m, nil); err != nil {
		w.t.Fatal(err)
	}
}

// outcome is what a publisher was told, if it was.
type outcome struct {
	mu   sync.Mutex
	told int
	err  error
}

func (o *outcome) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told, o.err = o.told+1, err
}

func (o *outcome) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.told > 1:
		return "told twice"
	case o.told == 0:
		return "waits"
	case o.err != nil:
		return o.err.Error()
	}
	return "taken"
}

func (w *world) drops() map[string]uint64 {
	drops := map[string]uint64{}
	w.router.Drops.Each(func(label string, n uint64) {
		if n > 0 {
			drops[label] = n
		}
	})
	return drops
}

func (w *world) info(device string) devices.Info {
	w.t.Helper()
	info, ok := w.manager.Get(device)
	if !ok {
		w.t.Fatalf("no session of %s", device)
	}
	return info
}

// conn is a connection whose loop the test drives, and the device behind it.
type conn struct {
	index int // of its loop
	world *world
	link  Link
	raw   bool
	deaf  string // why it takes no calls
	reset bool   // the next reply ends the connection

	// Owned by the test's goroutine.
	room int             // Sends that the socket takes; a negative number is no bound
	log  []string        // what the device saw, and what the session asked of the connection
	owed []uint64        // ids of QoS 1 messages received
	last message.Message // the last received, without its encodings

	mu    sync.Mutex
	posts []func()
	ended bool
	loops *Loop
}

// loop is the connection's, which has no other.
func (c *conn) loop() *Loop {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loops == nil {
		c.loops = NewLoop(c.index, c.post)
	}
	return c.loops
}

func (w *world) connect(device string, o Options) *conn {
	w.t.Helper()
	c := &conn{world: w, room: -1}
	c.attach(device, o)
	return c
}

func (c *conn) attach(device string, o Options) {
	c.world.t.Helper()
	c.attachAs(device, c, o)
}

func (c *conn) attachAs(device string, as Conn, o Options) {
	c.world.t.Helper()
	resumed, missed, err := c.world.manager.attachNow(device, &c.link, as, o)
	if err != nil {
		c.world.t.Fatal(err)
	}
	c.log = append(c.log, fmt.Sprintf("hello resumed=%t missed=%d", resumed, missed))
	c.link.Flush(true)
}

// attachNow is Attach on a store that has all queues open.
func (m *Manager) attachNow(device string, l *Link, conn Conn, o Options) (resumed bool, missed uint64, err error) {
	err = errors.New("Attach has not called back")
	m.Attach(device, l, conn, o, func(a Attached, e error) { resumed, missed, err = a.Resumed, a.Missed, e })
	return resumed, missed, err
}

func (c *conn) post(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.posts = append(c.posts, f)
	}
	return !c.ended
}

func (c *conn) Wake()               { c.post(func() { c.link.Flush(true) }) }
func (c *conn) Do(f func()) bool    { return c.post(f) }
func (c *conn) Close(w *wire.Close) { c.post(func() { c.see("close %s", w.Label) }) }
func (c *conn) Acks() bool          { return !c.raw }
func (c *conn) Room() bool          { return c.room != 0 }
func (c *conn) Loop() *Loop         { return c.loop() }
func (c *conn) SetReading(on bool)  { c.see("reading %t", on) }

func (c *conn) see(format string, args ...any) { c.log = append(c.log, fmt.Sprintf(format, args...)) }

func (c *conn) Send(m *message.Message, q message.QoS) bool {
	if c.room == 0 {
		c.world.t.Error("Send without Room")
	}
	c.room--
	c.see("%s=%s qos %d", m.Topic, m.Payload, q)
	c.last = message.Message{ID: m.ID, Topic: m.Topic, Source: m.Source, Retain: m.Retain, Expiry: m.Expiry}
	if q == message.AtLeastOnce {
		c.owed = append(c.owed, m.ID)
	}
	return true
}

func (c *conn) Answer(p *wire.Packet) {
	switch {
	case p.QoS == message.ExactlyOnce:
		c.see("rec %d%s", p.ID, p.Err.Code)
	case p.Err.Code != "":
		c.see("%s %d %s", p.Op, p.ID, p.Err.Code)
	default:
		c.see("%s %d", p.Op, p.ID)
	}
}

func (c *conn) Call(p *wire.Packet) (refused string) {
	if c.deaf != "" {
		return c.deaf
	}
	again := ""
	if p.Again {
		again = " again"
	}
	c.see("call %s(%s)%s", p.Method, p.Payload, again)
	c.owed = append(c.owed, p.ID)
	return ""
}

func (c *conn) Reply(p *wire.Packet) (refused wire.Error) {
	if len(p.Payload) > 100 {
		return wire.Error{Code: CodeTooLarge, Reason: "more than 100 bytes"}
	}
	if c.reset {
		c.reset = false
		c.world.manager.Detach(&c.link, "reset")
		return refused
	}
	c.see("reply %d %s%s", p.ID, p.Payload, p.Err.Code)
	return refused
}

// step runs the oldest post and tells whether there was one.
func (c *conn) step() bool {
	c.mu.Lock()
	if len(c.posts) == 0 {
		c.mu.Unlock()
		return false
	}
	f := c.posts[0]
	c.posts = c.posts[1:]
	c.mu.Unlock()
	f()
	return true
}

// settle runs the loop until it is idle and no fence is on its way. In a bubble.
func (c *conn) settle() {
	for more := true; more; {
		synctest.Wait()
		for more = false; c.step(); more = true {
		}
	}
}

// saw runs the loop until it is idle and checks what the device saw since it was last asked.
func (c *conn) saw(want ...string) {
	c.world.t.Helper()
	for c.step() {
	}
	if !slices.Equal(c.log, want) {
		c.world.t.Errorf("the device saw\n\t%q, want\n\t%q", c.log, want)
	}
	c.log = nil
}

func (c *conn) handle(p *wire.Packet) {
	c.world.t.Helper()
	if err := c.link.Handle(p); err != nil {
		c.world.t.Error(err)
	}
}

func (c *conn) pub(id uint64, name, payload string, q message.QoS) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Pub, ID: id,
		Message: message.Message{Topic: name, Payload: []byte(payload), QoS: q}})
}

func (c *conn) sub(id uint64, q message.QoS, filters ...string) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Sub, ID: id, QoS: q, Filters: filters})
}

func (c *conn) unsub(id uint64, filters ...string) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Unsub, ID: id, Filters: filters})
}

// ack acknowledges the n-th QoS 1 message that came and was not acknowledged, from 0.
func (c *conn) ack(n int) {
	c.world.t.Helper()
	id := c.owed[n]
	c.owed = slices.Delete(c.owed, n, n+1)
	c.handle(&wire.Packet{Op: wire.Ack, ID: id})
}

// leave is how the gateway ends a connection.
func (c *conn) leave(why string) {
	c.mu.Lock()
	c.ended, c.posts = true, nil
	c.mu.Unlock()
	c.world.manager.Detach(&c.link, why)
}

// observer is a subscriber that takes everything at once.
type observer struct {
	mu  sync.Mutex
	log []string
}

func (w *world) observe(filter string) *observer {
	o := new(observer)
	w.router.Subscribe(filter, o, message.AtLeastOnce)
	return o
}

func (o *observer) Deliver(m *message.Message, q message.QoS, _ *router.Publication) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var e Presence
	if json.Unmarshal(m.Payload, &e) == nil && e.Device != "" {
		o.log = append(o.log, fmt.Sprintf("%s %t %s", e.Device, e.Online, e.Reason))
	} else {
		o.log = append(o.log, fmt.Sprintf("%s=%s qos %d", m.Topic, m.Payload, q))
	}
	return nil
}

func (o *observer) saw(t testing.TB, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.log, want) {
		t.Errorf("the observer saw\n\t%q, want\n\t%q", o.log, want)
	}
	o.log = nil
}

// holdsNoQueue checks that an idle session's queue is given back when its time has come.
func (w *world) holdsNoQueue(c *conn) {
	w.t.Helper()
	w.manager.reclaim()
	if c.link.session.queue != nil {
		w.t.Error("an idle session holds a queue")
	}
}

func expect[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func ackOf(id uint64) *wire.Packet { return &wire.Packet{Op: wire.Ack, ID: id} }

func pubExpiring(name, payload string, q message.QoS, in time.Duration) *wire.Packet {
	return &wire.Packet{Op: wire.Pub, ID: uint64(q), Expiry: in,
		Message: message.Message{Topic: name, Payload: []byte(payload), QoS: q}}
}
