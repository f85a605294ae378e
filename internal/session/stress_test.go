package session

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// looped is a connection with a loop of its own: a goroutine that runs posts one by one.
type looped struct {
	link    Link
	loop    *Loop
	posts   chan func()
	closed  atomic.Bool
	receive func(m *message.Message, q message.QoS)
}

func newLooped(wg *sync.WaitGroup, receive func(*message.Message, message.QoS)) *looped {
	c := &looped{posts: make(chan func(), 10_000), receive: receive}
	c.loop = NewLoop(0, c.Do)
	wg.Go(func() {
		for f := range c.posts {
			if f == nil {
				return
			}
			f()
		}
	})
	return c
}

func (c *looped) Do(f func()) bool {
	if c.closed.Load() {
		return false
	}
	c.posts <- f
	return true
}

func (c *looped) Wake()             { c.Do(func() { c.link.Flush(true) }) }
func (c *looped) Close(*wire.Close) { c.closed.Store(true) }
func (c *looped) Room() bool        { return true }
func (c *looped) Send(m *message.Message, q message.QoS) bool {
	c.receive(m, q)
	return true
}
func (*looped) Answer(*wire.Packet) {}
func (c *looped) Loop() *Loop       { return c.loop }
func (*looped) SetReading(bool)     {}
func (*looped) Acks() bool          { return true }

func (*looped) Call(*wire.Packet) string { return "" }

func (*looped) Reply(*wire.Packet) (e wire.Error) { return e }

// Publishers that are slowed down, a device that connects again and again on other loops
// while the older ones still run, and acknowledgements that come late, twice or not at all:
// the device sees each publisher's messages in order, again only after a new connection, and
// none that was acknowledged to its publisher is lost.
func TestStressDownlink(t *testing.T) {
	const publishers, messages = 3, 2000
	w := newWorld(t, Config{InFlight: 8}, store.Limits{Count: 50})
	var loops, publishing sync.WaitGroup

	var mu sync.Mutex
	highest := [publishers]int{} // seen on any connection
	connect := func() *looped {
		last := [publishers]int{} // seen on this connection
		var c *looped
		owed := []uint64{}
		c = newLooped(&loops, func(m *message.Message, _ message.QoS) {
			p := int(m.Topic[0] - '0')
			n, _ := strconv.Atoi(string(m.Payload))
			mu.Lock()
			if n <= last[p] || n > highest[p]+1 {
				t.Errorf("publisher %d: %d after %d on this connection, %d on all", p, n, last[p], highest[p])
			}
			last[p], highest[p] = n, max(n, highest[p])
			mu.Unlock()
			owed = append(owed, m.ID)
			c.Do(func() { // acknowledge one of those owed, at times another one, at times twice
				i := rand.IntN(min(len(owed), 3))
				id := owed[i]
				if rand.IntN(20) > 0 {
					owed = append(owed[:i], owed[i+1:]...)
				} else {
					c.Do(func() { _ = c.link.Handle(ackOf(id)) })
				}
				_ = c.link.Handle(ackOf(id))
			})
		})
		if _, _, err := w.manager.attachNow("d", &c.link, c, Options{}); err != nil {
			t.Error(err)
		}
		c.Do(func() { c.link.Flush(true) })
		return c
	}

	c := connect()
	if err := c.link.Subscribe("+", 1); err != nil {
		t.Fatal(err)
	}
	for p := range publishers {
		publishing.Go(func() {
			for n := 1; n <= messages; n++ {
				taken := make(chan error, 1)
				m := &message.Message{Topic: strconv.Itoa(p), Payload: strconv.AppendInt(nil, int64(n), 10), QoS: 1}
				got, err := w.router.Publish(m, func(err error) { taken <- err })
				if got.Later {
					err = <-taken
				}
				if err != nil {
					t.Errorf("publisher %d: %v", p, err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { publishing.Wait(); close(done) }()
	all := []*looped{c}
	for busy := true; busy; {
		all = append(all, connect())
		select {
		case <-done:
			busy = false
		case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond): // not a wait for a state: how long a connection lasts
		}
	}
	all = append(all, connect()) // the last one gets what is left
	for deadline := time.Now().Add(10 * time.Second); w.info("d").Queued > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.info("d"))
		}
		all = append(all, connect()) // acknowledgements that the device never sent
		time.Sleep(time.Millisecond)
	}
	for _, c := range all {
		c.posts <- nil
	}
	loops.Wait()
	expect(t, "last seen", fmt.Sprint(highest), fmt.Sprint([publishers]int{messages, messages, messages}))
	expect(t, "drops", len(w.drops()), 0)
	t.Logf("%d connections", len(all))
}

// A device that publishes on a newer connection while the loop of an older one is still at
// work: what the older one published never comes after what the newer one did.
func TestStressUplink(t *testing.T) {
	const connections, each = 200, 50
	w := newWorld(t, Config{})
	var mu sync.Mutex
	newest, seen := 0, 0
	w.router.Subscribe("up", deliverTo(func(m *message.Message) {
		mu.Lock()
		defer mu.Unlock()
		n, _ := strconv.Atoi(string(m.Payload))
		if n < newest {
			t.Errorf("%d after %d", n, newest)
		}
		newest = n
		seen++
	}), 1)
	var loops sync.WaitGroup
	for k := range connections {
		c := &quiet{}
		if _, _, err := w.manager.attachNow("d", &c.link, c, Options{}); err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{})
		loops.Go(func() {
			for i := range each {
				p := &wire.Packet{Op: wire.Pub, ID: uint64(i + 1)}
				p.Message.Topic, p.Message.QoS = "up", message.QoS(i%2)
				p.Message.Payload = strconv.AppendInt(nil, int64(k*each+i), 10)
				_ = c.link.Handle(p)
				if i == 0 {
					close(started)
				}
			}
			w.manager.Detach(&c.link, "reset")
		})
		<-started
	}
	loops.Wait()
	if seen < connections {
		t.Errorf("%d messages", seen)
	}
	t.Logf("%d of %d messages were not too late", seen, connections*each)
}

// deliver is a subscriber with room.
type deliver struct{ f func(*message.Message) }

func deliverTo(f func(*message.Message)) *deliver { return &deliver{f} }

func (d *deliver) Deliver(m *message.Message, _ message.QoS, _ *router.Publication) error {
	d.f(m)
	return nil
}
