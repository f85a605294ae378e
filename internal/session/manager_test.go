package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

func TestSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Expiry: time.Minute, MaxExpiry: time.Hour})
		asked := map[string]time.Duration{
			"negative": -time.Second, "zero": 0, "half": time.Second / 2, "short": 30 * time.Second, "ages": 1000000 * time.Hour,
		}
		want := map[string]time.Duration{
			"negative": 0, "zero": 0, "half": time.Second, "short": 30 * time.Second, "default": time.Minute, "ages": time.Hour,
		}
		w.connect("default", Options{}).leave("reset")
		for device, d := range asked {
			w.connect(device, Options{Expiry: &d}).leave("reset")
		}
		begin := time.Now()
		for _, at := range []time.Duration{0, time.Second, 30 * time.Second, time.Minute, time.Hour} {
			for _, before := range []time.Duration{1, 0} {
				time.Sleep(time.Until(begin.Add(at - before)))
				synctest.Wait()
				for device, expiry := range want {
					if _, ok := w.manager.Get(device); ok != (time.Since(begin) < expiry) {
						t.Errorf("after %v there is %s: %t", time.Since(begin), device, ok)
					}
				}
			}
		}
		expect(t, "entries", len(w.manager.expirer.line), 0)
	})
}

func TestExpiryBeginsWithTheLastConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Expiry: time.Minute})
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		for range 3 {
			c.leave("reset")
			time.Sleep(50 * time.Second)
			c = w.connect("d", Options{})
			time.Sleep(time.Hour)
		}
		c.leave("reset")
		w.publish("a", "x", 1)
		time.Sleep(59 * time.Second)
		w.connect("d", Options{}).saw("hello resumed=true missed=0", "a=x qos 1")
		w.connect("d", Options{}).leave("reset")
		time.Sleep(61 * time.Second)
		expect(t, "ended", w.drops()["session_ended"], 1)
		expect(t, "routes", w.router.Stats().Subscriptions, 0)
		w.connect("d", Options{}).saw("hello resumed=false missed=0")
	})
}

func TestCleanSession(t *testing.T) {
	w := newWorld(t, Config{})
	for range 100 { // sessions that ended leave nothing behind
		c := w.connect("d", Options{Clean: true})
		c.saw("hello resumed=false missed=0")
		c.sub(1, 1, "a")
		c.leave("reset")
		w.publish("a", "x", 1)
	}
	expect(t, "entries", len(w.manager.expirer.line), 1)
	expect(t, "routes", w.router.Stats().Subscriptions, 1)
	old := w.connect("d", Options{})
	id := old.link.session.ID()
	c := w.connect("d", Options{Clean: true})
	c.saw("hello resumed=false missed=0")
	if id == c.link.session.ID() {
		t.Error("a clean session has the old one's id")
	}
	old.sub(2, 1, "b") // late
	expect(t, "routes", w.router.Stats().Subscriptions, 0)
	old.saw("hello resumed=true missed=0", "a=x qos 1", "close taken_over")
	expect(t, "ended", w.drops()["session_ended"], 100)
}

func TestMaxSessions(t *testing.T) {
	w := newWorld(t, Config{MaxSessions: 1})
	w.connect("d", Options{}).leave("reset")
	c := &conn{world: w}
	if _, _, err := w.manager.attachNow("e", &c.link, c, Options{}); !errors.Is(err, ErrTooManySessions) {
		t.Fatal(err)
	}
	w.manager.Detach(&c.link, "refused")
	w.connect("d", Options{Clean: true})
	n, online := w.manager.Count()
	expect(t, "sessions", n, 1)
	expect(t, "online", online, 1)
}

func TestList(t *testing.T) {
	w := newWorld(t, Config{})
	for i := range 600 {
		c := w.connect(fmt.Sprintf("a%03d", i), Options{})
		if i%300 != 0 {
			c.leave("reset")
		}
	}
	w.connect("b", Options{})
	for _, c := range []struct {
		prefix, after string
		state         devices.State
		limit         int
		want          []string
	}{
		{"", "", devices.AnyState, 2, []string{"a000", "a001"}},
		{"", "a599", devices.AnyState, 9, []string{"b"}},
		{"a", "a599", devices.AnyState, 9, nil},
		{"a", "a001", devices.AnyState, 2, []string{"a002", "a003"}},
		{"a", "", devices.Online, 9, []string{"a000", "a300"}},
		{"a29", "a298", devices.Away, 9, []string{"a299"}},
		{"b", "a", devices.Online, 1, []string{"b"}},
		{"b", "", devices.Away, 1, nil},
		{"", "", devices.AnyState, 0, nil},
	} {
		var got []string
		for _, i := range w.list(devices.Page{Prefix: c.prefix, After: c.after, State: c.state, Limit: c.limit}) {
			got = append(got, i.Device)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q", c, got)
		}
	}
	expect(t, "all", len(w.list(devices.Page{Limit: 1000})), 601)
}

// list describes a page, whose devices have peers when they are on line.
func (w *world) list(p devices.Page) []devices.Info {
	w.t.Helper()
	list, err := w.local().List(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range list {
		if (i.Peer.Protocol != "") != i.Online {
			w.t.Errorf("%s has the peer %v", i.Device, i.Peer)
		}
	}
	return list
}

func (w *world) local() *Local {
	return w.manager.Local(func(_ context.Context, conns []Conn) []devices.Peer {
		peers := make([]devices.Peer, len(conns))
		for i, c := range conns {
			if c != nil {
				peers[i].Protocol = "json"
			}
		}
		return peers
	})
}

func (w *world) broadcast(m *message.Message, filter string) int {
	w.t.Helper()
	n, err := w.manager.Broadcast(w.t.Context(), m, filter)
	if err != nil {
		w.t.Error(err)
	}
	return n
}

// A context that ends ends the work.
func TestLocalUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := full(t, Config{})
		defer w.close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		n, err := w.local().Broadcast(ctx, &message.Message{Topic: "b", QoS: 1}, "")
		expect(t, "broadcast", fmt.Sprint(n, " ", err, " ", time.Since(begin)), "0 context deadline exceeded 1s")
		list, err := w.local().List(ctx, devices.Page{Limit: 9})
		expect(t, "list", fmt.Sprint(len(list), " ", err), "0 context deadline exceeded")
	})
}

func TestDisconnect(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.connect("d", Options{})
	expect(t, "disconnected", w.manager.Disconnect("d", wire.CloseKicked), true)
	c.saw("hello resumed=false missed=0", "close kicked")
	c.leave("kicked")
	expect(t, "away", w.manager.Disconnect("d", wire.CloseKicked), false)
	expect(t, "unknown", w.manager.Disconnect("e", wire.CloseKicked), false)
	if _, ok := w.manager.Get("e"); ok {
		t.Error("an unknown device has a session")
	}
	_, unknown := w.local().Disconnect(t.Context(), "e", wire.CloseKicked)
	_, away := w.local().Disconnect(t.Context(), "d", wire.CloseKicked)
	expect(t, "errors", fmt.Sprint(unknown, " ", away), fmt.Sprint(devices.ErrUnknown, " ", nil))
}

func TestBroadcast(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.connect("on", Options{})
	c.sub(1, 0, "news/+")
	none := w.connect("none", Options{})
	away := w.connect("away", Options{})
	away.sub(1, 1, "#")
	away.leave("reset")
	for i, b := range []struct {
		filter string
		qos    message.QoS
		want   int
	}{
		{"", 0, 2}, {"", 1, 3}, {"news/1", 1, 2}, {"news/#", 0, 1}, {"other", 1, 1},
	} {
		m := (&message.Message{Topic: "t", Payload: fmt.Append(nil, i), QoS: b.qos}).Clone()
		expect(t, fmt.Sprint("devices of ", i), w.broadcast(m, b.filter), b.want)
	}
	c.saw("hello resumed=false missed=0", "ack 1", "t=0 qos 0", "t=1 qos 1", "t=2 qos 1", "t=3 qos 0")
	none.saw("hello resumed=false missed=0", "t=0 qos 0", "t=1 qos 1")
	w.connect("away", Options{}).saw("hello resumed=true missed=0", "t=1 qos 1", "t=2 qos 1", "t=4 qos 1")
}

func TestBroadcastWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := full(t, Config{})
		broadcast := func() chan int {
			n := make(chan int, 1)
			go func() { n <- w.broadcast(&message.Message{Topic: "b", QoS: 1}, "") }()
			synctest.Wait()
			return n
		}
		n := broadcast()
		expect(t, "answers", len(n), 0)
		s.ack(0)
		s.saw("b= qos 1")
		expect(t, "devices", <-n, 1)
		from := time.Now()
		expect(t, "devices", <-broadcast(), 1)
		expect(t, "wait", time.Since(from), 10*time.Second)
		expect(t, "drops", w.drops()["queue_full"], 1)
	})
}

// Who does not wait for a broadcast is called once, when the last device has it.
func TestBroadcastThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := full(t, Config{})
		w.connect("other", Options{}).sub(1, 1, "b")
		answers := make(chan error, 10)
		begin := func(filter string) int {
			return w.manager.BroadcastThen(&message.Message{Topic: "b", QoS: 1}, filter, func(err error) { answers <- err })
		}
		expect(t, "devices", begin(""), 2)
		synctest.Wait()
		expect(t, "answers while one device has no room", len(answers), 0)
		s.ack(0)
		s.saw("b= qos 1")
		synctest.Wait()
		expect(t, "answers", len(answers), 1)
		expect(t, "answer", <-answers, nil)
		expect(t, "devices of a filter that nobody has", begin("c"), 0)
		expect(t, "answer", <-answers, nil)
		w.close()
		expect(t, "answers", len(answers), 0)
	})
}

// A broadcast that is refused for all devices says why, and reaches none.
func TestBroadcastThenRefused(t *testing.T) {
	w, account := newAccountedWorld(t, store.Limits{Count: 3})
	away := w.connect("away", Options{})
	away.sub(1, 1, "a")
	away.leave("")
	w.publish("a", "x", 1)
	owed, _ := account.Bytes()
	account.SetLimit(owed)
	answers := make(chan error, 2)
	n := w.manager.BroadcastThen(&message.Message{Topic: "b", QoS: 1}, "", func(err error) { answers <- err })
	expect(t, "devices", n, 0)
	if err := <-answers; !errors.Is(err, router.ErrQuota) {
		t.Error(err)
	}
	expect(t, "drops", w.drops()["quota"], 1)
	w.connect("away", Options{}).saw("hello resumed=true missed=0", "a=x qos 1")
}

func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newDurableWorld(t, Config{Expiry: time.Hour})
		c := before.connect("d", Options{})
		c.sub(1, 1, "a")
		id := c.link.session.ID()
		c.leave("reset")
		before.publish("a", "1", 1)
		second := before.connect("soon", Options{Expiry: new(time.Minute)})
		second.leave("reset")
		time.Sleep(2 * time.Minute)

		before.manager.Close()
		w := before.restarted(Config{})
		w.publish("a", "2", 1)
		synctest.Wait()
		sessions, online := w.manager.Count()
		expect(t, "sessions", sessions, 1) // the other's time was over
		expect(t, "online", online, 0)
		i := w.info("d")
		expect(t, "id", i.Session, id)
		expect(t, "queued", i.Queued, 2)
		expect(t, "away since", time.Since(i.Changed), 2*time.Minute)
		w.connect("d", Options{}).saw("hello resumed=true missed=0", "a=1 qos 1", "a=2 qos 1")
	})
}

// broken is a store that cannot be read.
type broken struct{ store.Opener }

var errBroken = errors.New("the disk is gone")

func (broken) Records(yield func(*store.Record) bool) error {
	yield(&store.Record{Device: "d", Subscriptions: []topic.Subscription{{Filter: "a"}}})
	return errBroken
}

func TestStoreCannotBeRead(t *testing.T) {
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	if _, err := NewManager(Config{}, r, memory, broken{memory}); !errors.Is(err, errBroken) {
		t.Errorf("some sessions are missing: %v", err)
	}
}

// What can never be taken is not counted as something that a full queue has no room for.
func TestTooLargeIsRefused(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Bytes: 10})
	w.retain("large", "more than ten bytes")
	c := w.connect("d", Options{})
	c.room = 0
	c.sub(1, 1, "large", "a")
	w.publish("a", "1", 0)
	w.publish("a", "more than ten bytes", 0)
	expect(t, "refused", w.drops()["refused"], 2)
	expect(t, "full", w.drops()["queue_full"], 0)
}

func TestConfigDefaults(t *testing.T) {
	c := Config{InFlight: 7}.WithDefaults()
	expect(t, "in flight", c.InFlight, 7)
	expect(t, "expiry", c.Expiry, time.Hour)
	expect(t, "depth", c.Topics, topic.Limits{}.WithDefaults())
}
