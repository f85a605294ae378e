package session

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// crowd is a group of devices, each with a loop of its own, that get messages and
// acknowledge them at once.
type crowd struct {
	*world
	loops sync.WaitGroup
	want  int
	all   chan struct{} // closed when so many messages have come

	mu   sync.Mutex
	seen map[uint64]bool
}

func (g *crowd) see(id uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen[id] {
		return
	}
	g.seen[id] = true
	if len(g.seen) == g.want {
		close(g.all)
	}
}

// come connects a device and returns how it goes.
func (g *crowd) come(device string) (leave func()) {
	var c *looped
	c = newLooped(&g.loops, func(m *message.Message, _ message.QoS) {
		g.see(m.ID)
		c.Do(func() { _ = c.link.Handle(ackOf(m.ID)) })
	})
	stay := time.Duration(rand.IntN(2)) * time.Hour
	if _, _, err := g.manager.attachNow(device, &c.link, c, Options{Expiry: &stay}); err != nil {
		g.t.Error(err)
	}
	if err := c.link.Subscribe(shared, 1); err != nil {
		g.t.Error(err)
	}
	c.Do(func() { c.link.Flush(true) })
	return func() {
		c.posts <- func() { g.manager.Detach(&c.link, "gone") }
		c.posts <- nil
	}
}

// Devices come and go, some for good, while publishers publish: nobody waits for somebody
// who waits for him, and no message is lost.
func TestStressShare(t *testing.T) {
	const publishers, each, devices = 3, 1000, 4
	g := &crowd{
		world: newWorld(t, Config{InFlight: 4}, store.Limits{Count: 20}),
		want:  publishers * each,
		all:   make(chan struct{}),
		seen:  make(map[uint64]bool),
	}
	leave := g.come("steady")
	var busy sync.WaitGroup
	for d := range devices {
		busy.Go(func() {
			for {
				select {
				case <-g.all:
					return
				default:
				}
				leave := g.come(string(rune('a' + d)))
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond) // not a wait for a state: how long it stays
				leave()
			}
		})
	}
	for range publishers {
		busy.Go(func() {
			for range each {
				taken := make(chan error, 1)
				m := &message.Message{Topic: "a", QoS: 1}
				got, err := g.router.Publish(m, func(err error) { taken <- err })
				if got.Later {
					err = <-taken
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	select {
	case <-g.all:
	case <-time.After(20 * time.Second):
		g.mu.Lock()
		defer g.mu.Unlock()
		t.Fatalf("%d of %d messages came, drops %v", len(g.seen), g.want, g.drops())
	}
	busy.Wait()
	leave()
	g.loops.Wait()
	if drops := g.drops(); len(drops) > 0 {
		t.Errorf("drops: %v", drops)
	}
}
