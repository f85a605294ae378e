package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// While devices come, go, share messages and have their sessions ended, and everybody publishes, whoever sums up the ledger sees
// accounts that balance, and no message disappears from the sum.
func TestStressLedger(t *testing.T) {
	const devices, rounds, messages = 8, 40, 25
	w := newWorld(t, Config{}, store.Limits{Count: 10})
	var loops, working sync.WaitGroup
	var published, taken atomic.Uint64
	for d := range devices {
		working.Go(func() {
			for range rounds {
				var c *looped
				c = newLooped(&loops, func(m *message.Message, q message.QoS) {
					if q > 0 && rand.IntN(4) > 0 {
						c.Do(func() { _ = c.link.Handle(ackOf(m.ID)) })
					}
				})
				attached := make(chan error)
				c.Do(func() {
					_, _, err := w.manager.attachNow(fmt.Sprint("d", d), &c.link, c, Options{Clean: rand.IntN(2) == 0})
					attached <- err
				})
				if err := <-attached; err != nil {
					t.Error(err)
				}
				c.Do(func() {
					for _, f := range []string{"a", "$share/g/a"} {
						if err := c.link.Subscribe(f, 1); err != nil {
							t.Error(err)
						}
					}
					c.link.Flush(true)
				})
				for range messages {
					c.Do(func() {
						published.Add(1)
						p := &wire.Packet{Op: wire.Pub, ID: 1, Message: message.Message{Topic: "a", Payload: []byte("x"), QoS: message.QoS(rand.IntN(2))}}
						if err := c.link.Handle(p); err != nil {
							t.Error(err)
						}
					})
				}
				left := make(chan struct{})
				c.Do(func() { w.manager.Detach(&c.link, "cut"); close(left) })
				<-left
				c.closed.Store(true)
				c.posts <- nil
			}
		})
	}
	working.Go(func() {
		for range rounds {
			in := w.router.OpenInbox(router.InboxConfig{Messages: 10}, []string{"$share/g/a", "a"}, 1, false)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // perhaps nobody publishes any more
			batch, _, err := in.Take(ctx, nil)
			cancel()
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			taken.Add(uint64(len(batch)))
			in.Close(nil)
		}
	})
	ended := make(chan struct{})
	go func() { working.Wait(); close(ended) }()
	var before ledger.Node
	sums := 0
	for done := false; !done; sums++ {
		select {
		case <-ended:
			w.manager.Close()
			done = true
		default:
		}
		now := w.ledger()
		if kinds := now.Unbalanced(); len(kinds) > 0 {
			t.Fatalf("%v do not balance: %+v", kinds, now)
		}
		got, had := now.Received(), before.Received()
		ups, had2 := now.Published(), before.Published()
		if got.Taken < had.Taken || ups.Published < had2.Published {
			t.Fatalf("messages disappeared: %+v after %+v; %+v after %+v", got, had, ups, had2)
		}
		before = *now
	}
	loops.Wait()
	if all := before.Received(); all.MovedIn != all.MovedOut {
		t.Errorf("%d moved in, %d moved out", all.MovedIn, all.MovedOut)
	}
	expect(t, "published", before.Published().Published, published.Load())
	for _, k := range before.Receivers {
		if k.Kind == "backends" {
			expect(t, "delivered to backends", k.Delivered, taken.Load())
		}
	}
	t.Logf("%d sums", sums)
}
