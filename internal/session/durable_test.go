package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// What publishers and devices were told is true of whatever a kill leaves, at every moment: a session that begins owns its queue.
func TestKilledAtEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		defer w.close()
		var c *client
		owed := []string{} // what was taken and not acknowledged
		publish := func(payload string, q message.QoS) func() {
			return func() {
				o := w.publish("a", payload, q)
				for range 2 { // not before a fence
					w.wantOwed(owed)
					synctest.Wait()
				}
				expect(t, payload, o.String(), "taken")
				owed = append(owed, payload)
			}
		}
		for _, step := range []func(){
			func() { c = w.client("d", Options{}) },
			func() { c.subscribe(filter("a", 2)); synctest.Wait(); c.saw(fresh) },
			publish("one", 1),
			publish("two", 2),
			func() { c.settle(); c.saw("a=one qos 1 id 1", "a=two qos 2 id 2") },
			publish("three", 2),
			func() { c.acked(1); owed = owed[1:] },
			func() { c.received(2, false, true); owed = owed[1:] },
			func() { c.leave("reset") },
			publish("four", 1),
			func() { c = w.client("d", Options{}) },
			func() { c.link.SubscribeEach(nil, nil) },
		} {
			step()
			synctest.Wait()
			w.wantOwed(owed)
		}
	})
}

// wantOwed kills the store, connects the device of each session that is found, and checks that it gets what it is owed, in order. What a
// publisher was not told yet may come too, and what the device has acknowledged lately comes again.
func (w *world) wantOwed(want []string) {
	w.t.Helper()
	for _, found := range w.store.(*storetest.OnJournal).Kill(w.t.(*testing.T)) {
		again := newWorldOn(w.t, w.config, found)
		got := []string{}
		if n, _ := again.manager.Count(); n > 0 {
			c := again.client("d", Options{})
			c.settle()
			got = append(got, c.owedTo()...)
		}
		again.close()
		left := want
		for _, m := range got {
			if len(left) > 0 && left[0] == m {
				left = left[1:]
			}
		}
		if len(left) > 0 {
			w.t.Fatalf("a kill leaves %q, want %q", got, want)
		}
	}
}

// owedTo are the payloads that the device saw.
func (c *client) owedTo() (all []string) {
	for _, line := range c.log {
		var name, payload string
		if n, _ := fmt.Sscanf(line, "a=%s qos", &payload); n == 1 {
			all = append(all, payload)
		} else if _, err := fmt.Sscanf(line, "%s", &name); err != nil {
			c.world.t.Errorf("the device saw %q", line)
		}
	}
	return all
}

// A session that ends with its connection, and one that has ended, leave nothing.
func TestKilledSessionsThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		defer w.close()
		none := time.Duration(0)
		short := w.client("short", Options{Expiry: &none})
		short.subscribe(filter("a", 1))
		expect(t, "QoS 1 to who does not stay", w.publish("a", "x", 1).String(), "taken") // without a fence
		w.client("left", Options{Expiry: &none}).leave("")
		kept := w.client("kept", Options{})
		kept.leave("")
		w.client("cleaned", Options{}).leave("")
		w.client("cleaned", Options{Clean: true, Expiry: &none})
		w.client("will", Options{Will: will(time.Hour)}).link.ForgetWill()
		changed := w.client("changed", Options{})
		expect(t, "expiry", changed.link.SetExpiry(2*time.Hour), true)

		w.manager.Close()
		again := w.restarted(Config{})
		defer again.close()
		var left []string
		for _, s := range again.manager.all() {
			left = append(left, s.device)
		}
		expect(t, "sessions", fmt.Sprint(left), "[changed kept will]")
		expect(t, "expiry", again.info("changed").Expiry, 2*time.Hour)
		if s := again.manager.session("will"); s.mqtt != nil {
			t.Errorf("a will that was forgotten: %+v", s.mqtt.will)
		}
	})
}

// A session that was to stay and is resumed by a connection with which it ends is over when the node is killed.
func TestKilledSessionThatStaysNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		none := time.Duration(0)
		w.connect("d", Options{}).leave("")
		w.connect("d", Options{Expiry: &none})
		again := w.restarted(Config{})
		defer again.close()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		n, _ := again.manager.Count()
		expect(t, "sessions", n, 0)
	})
}

// A device never sees a QoS 2 message under an identifier that a kill makes the node forget: another message would get it, which the device would
// take for a repetition and drop. What comes behind the message waits for the same fence, and keeps its place.
func TestIdentifiersAreSafeBeforeTheyAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		c := &client{&conn{world: w, room: -1}}
		w.manager.Attach("d", &c.link, c, Options{}, func(Attached, error) {})
		w.pass(c.conn)
		c.subscribe(filter("#", 2))
		w.pass(c.conn)
		c.log = nil

		for _, q := range []message.QoS{1, 2, 1, 0, 2} {
			w.publish(fmt.Sprint("q", q), "x", q)
		}
		c.saw("q1=x qos 1 id 1")
		w.publish("q0", "late", 0) // does not overtake them
		c.saw()
		w.pass(c.conn) // the fence of both, and then that of what came meanwhile
		c.saw("q2=x qos 2 id 2", "q1=x qos 1 id 3", "q0=x qos 0", "q2=x qos 2 id 4", "q0=late qos 0")

		c.acked(1)
		c.acked(3)
		c.room = 1
		w.publish("a", "1", 2)
		w.publish("b", "2", 2)
		c.saw()
		w.pass(c.conn)
		c.saw("a=1 qos 2 id 5")
		c.room = -1
		c.link.Flush(false)
		c.saw("b=2 qos 2 id 6")

		w.publish("a", "never sent", 2)
		c.saw()
		c.leave("reset")
		w.pass(c.conn)
		c.saw() // the fence was of an older connection
	})
}

// While the store refuses fences, QoS 2 messages wait; they are sent when it is well.
func TestIdentifiersWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := &refusingStore{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{}, failing)
		defer w.close()
		c := w.client("d", Options{})
		c.subscribe(filter("#", 2))
		c.settle()
		c.saw(fresh)
		failing.err.Store(true)
		w.publish("a", "1", 2)
		c.settle()
		time.Sleep(2 * guardAgain)
		c.settle()
		c.saw()
		failing.err.Store(false)
		time.Sleep(guardAgain)
		c.settle()
		c.saw("a=1 qos 2 id 1")
	})
}

// What a device is told about a store that fails names no file of the node.
func TestDevicesAreNotToldPaths(t *testing.T) {
	err := fmt.Errorf("%w: journal: allocate /var/lib/longline/journal/1.segment: no space left on device", router.ErrStore)
	if got := refusal(err); got.Code != CodeInternal || strings.Contains(got.Reason, "/var") {
		t.Errorf("refusal %+v", got)
	}
}

// refusingStore refuses fences while err is set.
type refusingStore struct {
	*storetest.OnJournal
	err atomic.Bool
}

func (s *refusingStore) Commit(done func(error)) {
	s.OnJournal.Commit(func(err error) {
		if s.err.Load() {
			err = errors.New("the disk is full")
		}
		done(err)
	})
}

const slow = 200 * time.Millisecond

// newSlowWorld makes a world, in a bubble, on a store that takes its time.
func newSlowWorld(t *testing.T) *world {
	return newWorldOn(t, Config{}, storetest.NewSlow(store.Options{}, slow))
}

// atOnce checks that f takes no time.
func (w *world) atOnce(what string, f func()) {
	w.t.Helper()
	from := time.Now()
	if f(); time.Since(from) > 0 {
		w.t.Errorf("%s took %v", what, time.Since(from))
	}
}

// away makes the session of a device that is away and has a message on the medium alone.
func (w *world) away(device string) {
	w.t.Helper()
	c := w.connect(device, Options{})
	c.sub(1, 1, device)
	w.pass(c)
	c.leave("reset")
	w.publish(device, "owed", 1)
	time.Sleep(slow + 2*unloadEvery)
	synctest.Wait()
	if n := w.inMemory(device); n > 0 {
		w.t.Fatalf("%s has %d messages in memory", device, n)
	}
}

// inMemory is how many messages of a device are in memory.
func (w *world) inMemory(device string) int {
	s := w.manager.session(device)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		return 0
	}
	return s.queue.InMemory()
}

// connectSlowly is connect for a device that has a message on the medium alone.
func (w *world) connectSlowly(device string, o Options) *conn {
	w.t.Helper()
	c := &conn{world: w, room: -1}
	attached := false
	w.atOnce("attach", func() {
		w.manager.Attach(device, &c.link, c, o, func(a Attached, err error) {
			attached = err == nil
			c.log = append(c.log, fmt.Sprintf("hello resumed=%t missed=%d", a.Resumed, a.Missed))
			c.link.Flush(true)
		})
	})
	if info, _ := w.manager.Get(device); attached || info.Online {
		w.t.Errorf("%s is attached before its message is read", device)
	}
	w.pass(c)
	if !attached {
		w.t.Fatalf("%s is not attached", device)
	}
	return c
}

// pass lets a fence pass, or a page be read.
func (w *world) pass(c *conn) {
	time.Sleep(slow)
	synctest.Wait()
	w.atOnce("a turn", func() {
		for c.step() {
		}
	})
}

// Nothing that is called on a loop or with a lock held waits for a store that takes its time; what says that something is safe does.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		w.away("d")
		c := w.connectSlowly("d", Options{})
		c.saw("hello resumed=true missed=0", "d=owed qos 1")
		c.ack(0)

		w.atOnce("subscribe", func() { c.sub(1, 1, "a") })
		c.saw()
		w.pass(c)
		c.saw("ack 1")

		var one *outcome
		w.atOnce("publish", func() { one = w.publish("a", "1", 1) })
		c.saw("a=1 qos 1") // the device need not wait
		expect(t, "before the fence", one.String(), "waits")
		w.pass(c)
		expect(t, "behind the fence", one.String(), "taken")
		expect(t, "QoS 0", w.publish("a", "0", 0).String(), "taken")
		c.saw("a=0 qos 0")

		w.atOnce("a retained one", func() { one = w.publishRetained("b", "kept") })
		expect(t, "retained, before the fence", one.String(), "waits")
		w.pass(c)
		expect(t, "retained, behind the fence", one.String(), "taken")

		w.atOnce("unsubscribe", func() { c.unsub(2, "a") })
		c.pub(3, "nobody", "x", 1) // what concerns no store is answered at once
		c.saw("ack 3")
		w.pass(c)
		c.saw("ack 2")
		w.atOnce("acknowledge", func() { c.ack(0) })
		w.atOnce("detach", func() { c.leave("reset") })
	})
}

func (w *world) publishRetained(name, payload string) *outcome {
	o := new(outcome)
	m := &message.Message{Topic: name, Payload: []byte(payload), QoS: 1, Retain: true}
	if r, err := w.router.Publish(m, o.set); !r.Later {
		o.set(err)
	}
	return o
}

// A message that had to wait for room is taken once it is safe in the queue.
func TestSlowStoreWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOn(t, Config{}, storetest.NewSlow(store.Options{Queue: store.Limits{Count: 1}}, slow))
		defer w.close()
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		w.pass(c)
		c.saw("hello resumed=false missed=0", "ack 1")
		w.publish("a", "1", 1)
		second := w.publish("a", "2", 1)
		w.pass(c)
		c.saw("a=1 qos 1")
		expect(t, "without room", second.String(), "waits")
		c.ack(0)
		c.saw("a=2 qos 1")
		expect(t, "before the fence", second.String(), "waits")
		w.pass(c)
		expect(t, "behind the fence", second.String(), "taken")
	})
}

// A QoS 2 identifier is safe before PUBREC says so, and its release before PUBCOMP does.
func TestSlowStoreExactlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		c := &client{&conn{world: w, room: -1}}
		w.manager.Attach("d", &c.link, c, Options{}, func(Attached, error) {})
		c.pub(7, "up", "x", 2)
		c.pub(7, "up", "x", 2) // again
		c.saw()
		w.pass(c.conn)
		c.saw("rec 7") // one fence for the receivers and the identifier
		c.pub(7, "up", "x", 2)
		c.saw("rec 7") // what was answered is safe
		released := false
		expect(t, "known", c.link.Released(7), true)
		c.link.WhenSafe(func() { released = true })
		c.saw()
		expect(t, "before the fence", released, false)
		w.pass(c.conn)
		expect(t, "behind the fence", released, true)
	})
}

// A device whose answers wait for the store is not read for ever.
func TestSlowStoreIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		c := w.connect("d", Options{})
		c.saw("hello resumed=false missed=0")
		most := w.manager.Config().Unanswered
		for i := range most {
			c.sub(uint64(i), 1, fmt.Sprint(i))
		}
		c.saw("reading false")
		w.pass(c)
		if !slices.Contains(c.log, "reading true") || len(c.log) != most+1 {
			t.Errorf("the device saw %q", c.log)
		}
		if c.link.answers != nil {
			t.Error("answers are left")
		}
	})
}

// A connection that ends while messages of its device are read is let go, and one that comes meanwhile is not.
func TestEndedWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		w.away("d")
		gone := &conn{world: w, room: -1}
		w.manager.Attach("d", &gone.link, gone, Options{}, func(Attached, error) { t.Error("it is attached") })
		gone.mu.Lock()
		gone.ended = true
		gone.mu.Unlock()
		w.connectSlowly("d", Options{}).saw("hello resumed=true missed=0", "d=owed qos 1")
		_, online := w.manager.Count()
		expect(t, "online", online, 1)
	})
}

// Devices that leave together do not wait for each other.
func TestManyLeaveAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		var all []*conn
		for i := range 100 {
			w.away(fmt.Sprint("d", i))
			c := &conn{world: w, room: -1}
			w.manager.Attach(fmt.Sprint("d", i), &c.link, c, Options{}, func(Attached, error) {})
			all = append(all, c)
		}
		time.Sleep(100 * slow / readAtOnce)
		for _, c := range all {
			w.pass(c)
		}
		_, online := w.manager.Count()
		expect(t, "online", online, 100)
		w.atOnce("100 detaches", func() {
			for _, c := range all {
				c.leave("reset")
			}
		})
	})
}

// broke is a store whose fences fail, and that knows it when told is set.
type broke struct {
	*storetest.OnJournal
	told error
}

func (*broke) Commit(done func(error)) { go done(errBroken) }
func (b *broke) Err() error            { return b.told }

// What cannot be made safe is not acknowledged.
func TestFenceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broke{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{}, b)
		defer w.close()
		c := w.connect("d", Options{})
		c.sub(1, 1, "a")
		synctest.Wait()
		c.saw("hello resumed=false missed=0", "close "+wire.CloseInternal.Label)
		o := w.publish("a", "x", 1)
		synctest.Wait()
		expect(t, "outcome", o.String(), errBroken.Error())
		b.told = errBroken
		o = w.publish("a", "x", 1)
		expect(t, "outcome when the store knows", o.String(), router.ErrStore.Error()+": "+errBroken.Error())
		expect(t, "the store", w.manager.StoreErr(), errBroken)
	})
}

// A store that fails gets no subscriptions, each of which it would keep in memory until it is well.
func TestSubscribeWhileStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broke{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{}, b)
		defer w.close()
		c, none := w.connect("d", Options{}), time.Duration(0)
		short := w.connect("short", Options{Expiry: &none})
		b.told = errBroken
		had := b.Len()
		for i := range 100 {
			c.sub(uint64(i), 1, fmt.Sprint(i))
			results := make([]wire.Error, 1)
			c.link.SubscribeEach([]topic.Subscription{filter("each", 1)}, results)
			expect(t, "each", results[0].Code, CodeInternal)
			c.link.UnsubscribeEach([]string{"each", fmt.Sprint(i)}, make([]bool, 2))
		}
		expect(t, "operations", b.Len()-had, 0)
		expect(t, "what the device saw", c.log[1], "ack 0 "+CodeInternal)
		short.sub(1, 1, "a") // nothing of it is stored
		synctest.Wait()
		short.saw("hello resumed=false missed=0", "ack 1")
		b.told = fmt.Errorf("%w: full", store.ErrNoRoom)
		c.sub(1, 1, "a") // a store without room keeps it
		expect(t, "operations without room", b.Len()-had, 1)
	})
}

// The answer to a subscription comes before its messages, also when it waits for the store.
func TestSlowStoreAnswersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSlowWorld(t)
		defer w.close()
		w.retain("a", "old")
		c := w.connect("d", Options{})
		c.saw("hello resumed=false missed=0")
		c.sub(1, 1, "a")
		w.publish("a", "new", 1)
		c.saw()
		w.pass(c)
		c.saw("ack 1", "a=old qos 1", "a=new qos 1")
	})
}
