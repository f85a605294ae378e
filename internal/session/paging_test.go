package session

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire"
)

// settle lets messages become safe and leave memory.
func settle() {
	time.Sleep(slow + 3*unloadEvery)
	synctest.Wait()
}

// A device that was away for long gets all its messages in order, from the medium.
func TestPagedToWhoComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		w.away("d")
		const n = 300
		for i := range n {
			w.publish("d", fmt.Sprint(i), 1)
			if i == n/2 {
				settle()
			}
		}
		settle()
		if left := w.inMemory("d"); left > 0 {
			t.Errorf("%d messages are in memory", left)
		}
		expect(t, "queued", w.info("d").Queued, n+1)
		c := w.connectSlowly("d", Options{})
		want := []string{"hello resumed=true missed=0", "d=owed qos 1"}
		for i := range n {
			want = append(want, fmt.Sprintf("d=%d qos 1", i))
		}
		for range n {
			if most := w.manager.Config().InFlight + 2*pageForTest; w.inMemory("d") > most {
				t.Fatalf("%d messages are in memory", w.inMemory("d"))
			}
			if len(c.owed) == 0 {
				break
			}
			for len(c.owed) > 0 {
				c.ack(0)
			}
			w.pass(c)
		}
		c.saw(want...)
		expect(t, "queued", w.info("d").Queued, 0)
	})
}

const pageForTest = 64 // more than a page

// A device that does not acknowledge has no more in memory than it needs soon, and gets the rest when it does.
func TestPagedFromWhoIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		w.pass(c)
		want := []string{"hello resumed=false missed=0", "ack 1"}
		for i := range 400 {
			w.publish("a", fmt.Sprint(i), 1)
			want = append(want, fmt.Sprintf("a=%d qos 1", i))
		}
		w.pass(c)
		settle()
		if n := w.inMemory("d"); n > w.manager.Config().InFlight+keptMessages {
			t.Errorf("%d messages are in memory", n)
		}
		for len(c.owed) > 0 {
			for len(c.owed) > 0 {
				c.ack(0)
			}
			w.pass(c)
		}
		c.saw(want...)
	})
}

// What came by a share goes to another member when its member leaves or its session ends, also from the medium.
func TestPagedShares(t *testing.T) {
	const share = "$share/g/a"
	for name, ends := range map[string]func(*world, *conn){
		"expires": func(_ *world, c *conn) { time.Sleep(2 * time.Hour) },
		"begins again": func(w *world, c *conn) {
			again := &conn{world: w, room: -1}
			w.manager.Attach("one", &again.link, again, Options{Clean: true}, func(Attached, error) {})
			w.pass(again)
		},
		"leaves again": func(w *world, c *conn) { w.connectSlowly("one", Options{}).leave("reset") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSlowWorld(t)
				defer w.close()
				c := w.connect("one", Options{})
				c.sub(1, 1, share)
				w.pass(c)
				c.leave("reset")
				const n = 100
				for i := range n {
					w.publish("a", fmt.Sprint(i), 1)
				}
				settle()
				expect(t, "in memory", w.inMemory("one"), 0)
				day := 24 * time.Hour
				other := w.connect("other", Options{Expiry: &day})
				other.sub(1, 1, share)
				ends(w, c)
				settle()
				w.pass(other)
				for len(other.owed) > 0 {
					other.ack(0)
					w.pass(other)
				}
				if got := len(other.log) - 2; got != n {
					t.Errorf("another member got %d messages of %d", got, n)
				}
			})
		})
	}
}

// unreadable is a store whose messages cannot be read while it is broken.
type unreadable struct {
	*storetest.Slow
	broken, empty atomic.Bool
}

func (u *unreadable) Read(p *store.Page) error {
	if u.broken.Load() {
		return errBroken
	}
	err := u.Slow.Read(p)
	if u.empty.Load() {
		clear(p.Messages)
	}
	return err
}

// A device whose messages cannot be read is refused, or its connection closed, until they can be.
func TestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unreadable{Slow: storetest.NewSlow(store.Options{}, slow)}
		w := newWorldOn(t, Config{}, u)
		defer w.close()
		w.away("d")
		for i := range 100 {
			w.publish("d", fmt.Sprint(i), 1)
		}
		settle()
		u.broken.Store(true)
		c := &conn{world: w, room: -1}
		var refused error
		w.manager.Attach("d", &c.link, c, Options{}, func(_ Attached, err error) { refused = err })
		w.pass(c)
		if !errors.Is(refused, ErrNotOpened) || !errors.Is(refused, errBroken) {
			t.Errorf("the device is told %v", refused)
		}
		u.broken.Store(false)
		c = w.connectSlowly("d", Options{})
		u.broken.Store(true)
		for range 3 { // a page may be under way
			for len(c.owed) > 0 {
				c.ack(0)
			}
			w.pass(c)
		}
		expect(t, "the end", c.log[len(c.log)-1], "close "+wire.CloseInternal.Label)
		c.leave("closed")
		settle()
		u.broken.Store(false)
		if c = w.connectSlowly("d", Options{}); len(c.owed) == 0 {
			t.Error("nothing arrives any more")
		}
	})
}

// Messages that the disk has spoilt are counted, and those behind them arrive.
func TestSpoiltMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unreadable{Slow: storetest.NewSlow(store.Options{}, slow)}
		w := newWorldOn(t, Config{}, u)
		defer w.close()
		w.away("d")
		u.empty.Store(true)
		c := &conn{world: w, room: -1}
		w.manager.Attach("d", &c.link, c, Options{}, func(Attached, error) {})
		w.pass(c)
		w.publish("d", "new", 1)
		w.pass(c)
		c.saw("d=new qos 1")
		expect(t, "lost", w.drops()["lost"], 1)
	})
}
