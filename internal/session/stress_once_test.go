package session

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// inbox is an MQTT client's session: what it holds of QoS 2 messages, and the last number it
// saw of each publisher. A connection that is not its present one reaches it no more.
type inbox struct {
	mu      sync.Mutex
	t       *testing.T
	present *exchanging
	known   map[uint16]bool
	seen    map[string]int
}

// exchanging is one of its connections.
type exchanging struct {
	*looped
	client *inbox
}

// SendPacket receives: a message once, in order, and PUBREC is not always sent.
func (c *exchanging) SendPacket(m *message.Message, _ message.QoS, id uint16, _ bool) bool {
	b := c.client
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.present != c {
		return true
	}
	if !b.known[id] {
		n, _ := strconv.Atoi(string(m.Payload))
		if n != b.seen[m.Topic]+1 {
			b.t.Errorf("publisher %s: %d after %d", m.Topic, n, b.seen[m.Topic])
		}
		b.known[id], b.seen[m.Topic] = true, n
	}
	if rand.IntN(50) > 0 {
		c.Do(func() {
			if found, _ := c.link.Received(id, false); found {
				c.Release(id)
			}
		})
	}
	return true
}

// Release is PUBREL; PUBCOMP is not always sent.
func (c *exchanging) Release(id uint16) {
	b := c.client
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.present != c {
		return
	}
	delete(b.known, id)
	if rand.IntN(50) > 0 {
		c.Do(func() { _ = c.link.Completed(id) })
	}
}

func (b *inbox) connect(w *world, loops *sync.WaitGroup) *exchanging {
	c := &exchanging{newLooped(loops, nil), b}
	b.mu.Lock()
	b.present = c
	b.mu.Unlock()
	if _, _, err := w.manager.attachNow("d", &c.link, c, Options{ReceiveMaximum: 8}); err != nil {
		b.t.Error(err)
	}
	c.Do(func() { c.link.Flush(true) })
	return c
}

// Publishers of QoS 2 that are slowed down, and a client that connects again and again on other
// loops while the older ones still run: it sees each message once, in order.
func TestStressExactlyOnce(t *testing.T) {
	const publishers, messages = 3, 1000
	w := newWorld(t, Config{InFlight: 8}, store.Limits{Count: 30})
	b := &inbox{t: t, known: map[uint16]bool{}, seen: map[string]int{}}
	var loops, publishing sync.WaitGroup
	all := []*exchanging{b.connect(w, &loops)}
	if err := all[0].link.Subscribe("+", 2); err != nil {
		t.Fatal(err)
	}
	for p := range publishers {
		publishing.Go(func() {
			for n := 1; n <= messages; n++ {
				taken := make(chan error, 1)
				m := &message.Message{Topic: strconv.Itoa(p), Payload: strconv.AppendInt(nil, int64(n), 10), QoS: 2}
				got, err := w.router.PublishFor(m, router.Publisher{NoDeadline: true, Done: func(err error) { taken <- err }})
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
	for deadline, busy := time.After(30*time.Second), true; busy; {
		select {
		case <-done:
			busy = w.info("d").Queued > 0
		case <-deadline:
			t.Fatalf("%+v", w.info("d"))
		case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond): // not a wait for a state: how long a connection lasts
		}
		all = append(all, b.connect(w, &loops))
	}
	for _, c := range all {
		c.posts <- nil
	}
	loops.Wait()
	want := map[string]int{"0": messages, "1": messages, "2": messages}
	expect(t, "last seen", fmt.Sprint(b.seen), fmt.Sprint(want))
	expect(t, "drops", len(w.drops()), 0)
	t.Logf("%d connections", len(all))
}
