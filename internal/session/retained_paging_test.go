package session

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

// largeSize is the size of payloads that are on the medium alone.
const largeSize = 64 << 10

// pagedRetained is a slow store whose retained messages are read under the eyes of a test.
type pagedRetained struct {
	*storetest.Slow

	mu    sync.Mutex
	after func(*store.Page) // what happens to a page that was read; nil for nothing
}

func (p *pagedRetained) Read(page *store.Page) error {
	err := p.Slow.Read(page)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after != nil && len(page.Retained) > 0 {
		p.after(page)
	}
	return err
}

// newPagedWorld makes a world in which these topics have large retained messages, which are on the medium alone.
func newPagedWorld(t *testing.T, topics ...string) (*world, *pagedRetained) {
	t.Helper()
	return newPagedWorldOf(t, store.Limits{Bytes: 4 << 20}, topics...)
}

func newPagedWorldOf(t *testing.T, queue store.Limits, topics ...string) (*world, *pagedRetained) {
	t.Helper()
	account := new(message.Account)
	s := &pagedRetained{Slow: storetest.NewSlow(store.Options{Account: account, Queue: queue}, slow)}
	w := newWorldAround(t, Config{}, router.New(router.Config{Account: account, Read: s.Read}, s), s)
	for _, name := range topics {
		w.retain(name, large(name))
	}
	s.unloaded(t)
	return w, s
}

// unloaded lets what is retained leave memory.
func (p *pagedRetained) unloaded(t *testing.T) {
	t.Helper()
	settle()
	p.UnloadRetained()
	walk := store.Walk{Filter: "#"}
	found, _ := p.Retained(&walk, make([]store.Kept, 0, 1000), 1000, time.Now())
	for _, k := range found {
		if len(k.Payload) > 1<<10 {
			t.Fatalf("%s is in memory", k.Topic)
		}
	}
}

func large(text string) string { return text + strings.Repeat(".", largeSize-len(text)) }

// shorten makes the lines of c readable.
func (c *conn) shorten() []string {
	for i, line := range c.log {
		before, after, _ := strings.Cut(line, "...")
		c.log[i] = before + strings.TrimLeft(after, ".")
	}
	return c.log
}

// passAll lets pages be read until nothing comes any more, and acknowledges what comes.
func (w *world) passAll(c *conn) {
	w.t.Helper()
	for quiet := 0; quiet < 3; quiet++ {
		before := len(c.log)
		w.pass(c)
		for len(c.owed) > 0 {
			c.ack(0)
		}
		if len(c.log) > before {
			quiet = 0
		}
	}
}

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("r/%03d", i))
	}
	return all
}

// A device gets what is on the medium in the order of topics, with what is in memory between.
func TestReadsRetained(t *testing.T) {
	for qos := range message.QoS(2) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newPagedWorld(t, names(50)...)
				defer w.close()
				for i := 0; i < 50; i += 3 {
					w.retain(fmt.Sprintf("r/%03d", i), "small")
				}
				for i := 1; i < 50; i += 7 { // many in a page
					w.retain(fmt.Sprintf("r/%03d", i), strings.Repeat(".", 2<<10))
				}
				s.unloaded(t)
				c := w.connect("d", Options{})
				w.atOnce("subscribe", func() { c.sub(1, qos, "r/#", "r/+") })
				w.passAll(c)
				i := 0
				for _, line := range c.log {
					if strings.HasPrefix(line, fmt.Sprintf("r/%03d=", i)) {
						i++
					}
				}
				if i != 50 || len(c.log) != 52 {
					t.Errorf("%d came in order, %d lines in all", i, len(c.log))
				}
				if c.link.Searches() || w.manager.reads.n.Load() != 0 {
					t.Error("it searches still")
				}
			})
		})
	}
}

// What is replaced between the search and the reading comes once, as news; what is removed does not come.
func TestRetainedChangesWhileRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newPagedWorld(t, "r/a", "r/b", "r/c", "r/d")
		defer w.close()
		c := w.connect("d", Options{})
		changes := []func(){
			func() { w.retain("r/a", "new") },
			func() { w.retain("r/b", "") },
			func() { w.retain("r/c", large("new")) },
		}
		s.after = func(p *store.Page) {
			if len(changes) > 0 {
				changes[0]()
				changes = changes[1:]
			}
		}
		c.sub(1, 0, "r/#")
		w.passAll(c)
		c.shorten()
		c.saw("hello resumed=false missed=0", "ack 1", "r/a=new qos 0", "r/b= qos 0", "r/c=new qos 0", "r/d=r/d qos 0")
		expect(t, "drops", len(w.drops()), 0)
	})
}

// A message that cannot be read is dropped and counted, and those behind it come. It is there for the next subscription.
func TestUnreadableRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newPagedWorld(t, "r/a", "r/b", "r/c")
		defer w.close()
		s.after = func(p *store.Page) {
			for i, k := range p.Retained {
				if k.Topic == "r/b" {
					p.Messages[i] = nil
					p.Fail(i, errBroken)
				}
			}
		}
		c := w.connect("d", Options{})
		c.sub(1, 0, "r/#")
		w.passAll(c)
		c.shorten()
		c.saw("hello resumed=false missed=0", "ack 1", "r/a=r/a qos 0", "r/c=r/c qos 0")
		expect(t, "unreadable", w.drops()["unreadable"], 1)
		down, _ := w.manager.session("d").ledger()
		expect(t, "taken", down.Taken, uint64(3))
		expect(t, "delivered", down.Delivered, uint64(2))
		s.after = nil
		c.sub(2, 0, "r/b")
		w.passAll(c)
		c.shorten()
		c.saw("ack 2", "r/b=r/b qos 0")
	})
}

// A message that the disk has spoilt is counted as lost, and retained no more.
func TestLostRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newPagedWorld(t, "r/a", "r/b", "r/c")
		defer w.close()
		s.after = func(p *store.Page) {
			if p.Retained[0].Topic == "r/b" {
				p.Messages[0] = nil
			}
		}
		c := w.connect("d", Options{})
		c.sub(1, 0, "r/#")
		w.passAll(c)
		c.shorten()
		c.saw("hello resumed=false missed=0", "ack 1", "r/a=r/a qos 0", "r/c=r/c qos 0")
		expect(t, "lost", w.drops()["lost"], 1)
		left, err := w.router.ListRetained(t.Context(), "#", "", 9, func(store.Kept) bool { return true })
		if err != nil || len(left) != 2 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// Many devices that subscribe at once have a bounded number of bytes under way, and all get everything.
func TestManyReadRetained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = readAtOnceBytes/largeSize + 30
		w, s := newPagedWorld(t, "r/a", "r/b")
		defer w.close()
		s.after = func(*store.Page) {
			w.manager.reads.mu.Lock()
			defer w.manager.reads.mu.Unlock()
			if n := w.manager.reads.bytes; n > readAtOnceBytes {
				t.Errorf("%d bytes are read at once", n)
			}
		}
		all := make([]*conn, devices)
		for i := range all {
			all[i] = w.connect(fmt.Sprint("d", i), Options{})
			all[i].sub(1, 0, "r/#")
		}
		left := devices
		for range 1000 {
			left = 0
			for _, c := range all {
				for c.step() {
				}
				if len(c.log) < 4 {
					left++
				}
			}
			if left == 0 {
				break
			}
			time.Sleep(unloadEvery)
			synctest.Wait()
		}
		expect(t, "devices that wait", left, 0)
		expect(t, "reads", w.manager.reads.n.Load(), 0)
	})
}

// While messages in flight leave no room in the queue, nothing is read: the device may take as long as it likes to acknowledge them.
func TestNoReadingForAFullQueue(t *testing.T) {
	for name, queue := range map[string]store.Limits{"bytes": {Bytes: 7 * largeSize / 2}, "messages": {Count: 3}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newPagedWorldOf(t, queue, names(6)...)
				defer w.close()
				reads := 0
				s.after = func(*store.Page) { reads++ }
				c := w.connect("d", Options{})
				c.sub(1, 1, "r/#")
				for range 10 {
					w.pass(c)
				}
				before := reads
				for range 10 {
					w.pass(c)
				}
				expect(t, "reads while nothing changes", reads-before, 0)
				expect(t, "in flight", len(c.owed), 3)
				w.passAll(c)
				c.shorten()
				c.saw("hello resumed=false missed=0", "ack 1", "r/000=r/000 qos 1", "r/001=r/001 qos 1", "r/002=r/002 qos 1",
					"r/003=r/003 qos 1", "r/004=r/004 qos 1", "r/005=r/005 qos 1")
			})
		})
	}
}

// While memory is short nothing is read, and the search goes on when there is room.
func TestRetainedWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := newPagedWorld(t, "r/a")
		defer w.close()
		w.router.Account().SetLimit(1)
		c := w.connect("d", Options{})
		c.sub(1, 0, "r/#")
		w.passAll(c)
		c.saw("hello resumed=false missed=0", "ack 1")
		w.router.Account().SetLimit(0)
		w.passAll(c)
		c.shorten()
		c.saw("r/a=r/a qos 0")
	})
}

// A connection that ends while a page is read leaves nothing behind, and the next one of the session goes on.
func TestConnectionEndsWhileRetainedAreRead(t *testing.T) {
	for name, change := range map[string]func(*conn){
		"leaves":      func(c *conn) { c.leave("reset") },
		"unsubscribe": func(c *conn) { c.unsub(2, "r/#") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newPagedWorld(t, "r/a", "r/b")
				defer w.close()
				c := w.connect("d", Options{})
				w.pass(c)
				s.after = func(*store.Page) {
					s.after = nil
					change(c)
				}
				c.sub(1, 1, "r/#")
				w.passAll(c)
				expect(t, "reads", w.manager.reads.n.Load(), 0)
				if name == "leaves" {
					c = w.connect("d", Options{})
					w.passAll(c)
					c.shorten()
					c.saw("hello resumed=true missed=0", "r/a=r/a qos 1", "r/b=r/b qos 1")
					return
				}
				c.saw("hello resumed=false missed=0", "ack 1", "ack 2")
			})
		})
	}
}
