package session

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

func TestPresence(t *testing.T) {
	w := newWorld(t, Config{})
	o := w.observe("$presence/+")
	c := w.connect("d", Options{})
	c.leave("heartbeat_lost")
	c = w.connect("d", Options{})
	w.connect("d", Options{Clean: true})
	c.leave("late")
	o.saw(t, "d true ", "d false heartbeat_lost", "d true ", "d false taken_over", "d true ")
}

func TestPresencePayload(t *testing.T) {
	w := newWorld(t, Config{})
	inbox := w.router.OpenInbox(router.InboxConfig{}, []string{"$presence/d"}, 1, false)
	defer inbox.Close(nil)
	from := time.Now().UnixMilli()
	c := w.connect("d", Options{})
	batch, _, err := inbox.Take(t.Context(), nil)
	if err != nil || len(batch) != 1 {
		t.Fatal(batch, err)
	}
	var e Presence
	if err := json.Unmarshal(batch[0].Payload, &e); err != nil {
		t.Fatal(err)
	}
	expect(t, "content type", batch[0].ContentType, message.JSON)
	if e.Time < from || e.Time > time.Now().UnixMilli() {
		t.Errorf("time %d", e.Time)
	}
	expect(t, "event", e, Presence{Device: "d", Online: true, Session: c.link.session.ID(), Time: e.Time})
}

// What nobody watches is not published.
func TestPresenceUnwatched(t *testing.T) {
	w := newWorld(t, Config{})
	w.connect("d", Options{}).leave("peer_closed")
	expect(t, "published", w.router.Stats().Published, 0)
}

// A session that watches presence gets the event of its own end of the line too, and of
// others in order.
func TestPresenceToASession(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.connect("watcher", Options{})
	c.sub(1, 1, "$presence/+")
	c.saw("hello resumed=false missed=0", "ack 1")
	w.connect("d", Options{}).leave("peer_closed")
	for c.step() {
	}
	expect(t, "events", len(c.log), 2)
	c.leave("reset")
	c = w.connect("watcher", Options{})
	for c.step() {
	}
	expect(t, "events and hello", len(c.log), 1+2+2)
}

// A receiver that is full gets presence events and wills when it has room, as any message.
func TestPresenceWaitsForRoom(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Count: 1})
	c := w.connect("watcher", Options{})
	c.sub(1, 1, "$presence/d", "will")
	c.saw(fresh, "ack 1")
	c.room = 0
	w.connect("d", Options{Will: will(0)}).leave("peer_gone")
	expect(t, "waiting", w.info("watcher").Waiting, 2)
	c.room = -1
	c.link.Flush(true)
	for len(c.owed) > 0 {
		c.ack(0)
	}
	var topics []string
	for _, line := range c.log {
		topics = append(topics, strings.Split(line, "=")[0])
	}
	expect(t, "came", fmt.Sprint(topics), "[$presence/d $presence/d will]")
	expect(t, "drops", len(w.drops()), 0)
}

// A network fails: whoever is told of one device's end publishes a few events, not those of all.
func TestNobodyPublishesForAll(t *testing.T) {
	const devices = 10 * backlogPart
	w := newWorld(t, Config{})
	o := w.observe("$presence/+")
	a := &w.manager.presence
	for i := range devices {
		c := &conn{world: w, room: -1}
		if _, _, err := w.manager.attachNow(fmt.Sprint("d", i), &c.link, c, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	a.wait()
	a.running = true // somebody publishes, and has not come so far
	var want []string
	for i := range devices {
		device := fmt.Sprint("d", i)
		s := w.manager.session(device)
		w.manager.Detach(s.link, "peer_reset")
		want = append(want, device+" false peer_reset")
	}
	a.running = false
	o.log = nil
	publishing := goroutine()
	publish := a.publish
	here := 0
	a.publish = func(m *message.Message, orphan string) error {
		if goroutine() == publishing {
			here++
		}
		return publish(m, orphan)
	}
	a.run()
	a.wait()
	if here > backlogPart {
		t.Errorf("one published %d events", here)
	}
	o.saw(t, want...)
}

// goroutine is the number of the one that calls.
func goroutine() string {
	var stack [64]byte
	return strings.Fields(string(stack[:runtime.Stack(stack[:], false)]))[1]
}

// Many goroutines come and go: each device's events alternate, and end as it is.
func TestPresenceAlternates(t *testing.T) {
	const devices, loops, rounds = 4, 4, 200
	w := newWorld(t, Config{})
	o := w.observe("$presence/+")
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for i := range rounds {
				c := &conn{world: w, room: -1}
				device := fmt.Sprint("d", i%devices)
				if _, _, err := w.manager.attachNow(device, &c.link, c, Options{Clean: i%5 == 0}); err != nil {
					t.Error(err)
					return
				}
				w.manager.Detach(&c.link, "")
			}
		})
	}
	wg.Wait()
	w.manager.presence.wait()
	online := map[string]string{}
	for _, line := range o.log {
		var device, state string
		if _, err := fmt.Sscan(line, &device, &state); err != nil {
			t.Fatal(err)
		}
		if last := online[device]; last == state || (last == "" && state == "false") {
			t.Fatalf("%s is told %s after %q", device, state, last)
		}
		online[device] = state
	}
	for device, state := range online {
		expect(t, device+" online", state, "false")
	}
}
