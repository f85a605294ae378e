package session

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

func TestPublish(t *testing.T) {
	w := newWorld(t, Config{})
	o := w.observe("#")
	c := w.connect("d", Options{})
	c.pub(0, "a", "0", 0)
	c.pub(1, "a", "1", 1)
	c.saw("hello resumed=false missed=0", "ack 1")
	o.saw(t, "a=0 qos 0", "a=1 qos 1")
	expect(t, "messages up", w.info("d").Traffic.UplinkMessages, 2)
	expect(t, "bytes up", w.info("d").Traffic.UplinkBytes, 2)
}

// What becomes of a message is told to its trace, and by its origin how it came.
func TestOrigin(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := newWorld(t, Config{})
	got := w.router.OpenInbox(router.InboxConfig{}, []string{"#", PresencePrefix + "#"}, 1, false)
	last := will(0)
	last.Message.Properties = []message.Property{{Key: message.Traceparent, Value: trace}}
	c := w.connect("d", Options{Will: last})
	c.handle(&wire.Packet{Op: wire.Pub, Message: message.Message{Topic: "a", Properties: last.Message.Properties}})
	c.pub(0, "a", "no trace", 0)
	c.leave("reset")
	var list []string
	for len(list) < 5 {
		messages, _, err := got.Take(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			list = append(list, fmt.Sprint(m.Topic, " ", m.Origin.Via, " ", m.Trace))
		}
	}
	expect(t, "origins", fmt.Sprint(list), fmt.Sprint([]string{
		PresencePrefix + "d gateway <nil>", "a device " + trace, "a device <nil>",
		PresencePrefix + "d gateway <nil>", "will will " + trace,
	}))
}

func TestPublishToItself(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.connect("d", Options{})
	c.sub(1, 1, "a")
	c.handle(pubExpiring("a", "0", 1, time.Hour))
	c.saw("hello resumed=false missed=0", "ack 1", "ack 1", "a=0 qos 1")
	expect(t, "source", c.last.Source, "d")
	if in := time.Until(time.UnixMilli(c.last.Expiry)); in > time.Hour || in < 59*time.Minute {
		t.Errorf("expires in %v", in)
	}
}

func TestPublishRefused(t *testing.T) {
	w := newWorld(t, Config{})
	o := w.observe("$presence/+")
	c := w.connect("d", Options{})
	c.pub(1, "$presence/d", "{}", 1)
	c.pub(0, "$presence/d", "{}", 0)
	c.saw("hello resumed=false missed=0", "ack 1 not_allowed")
	o.saw(t, "d true ")
	expect(t, "drops", w.drops()["not_allowed"], 2)

	for _, p := range []*wire.Packet{
		{Op: wire.Pub, Message: message.Message{Topic: "a/+"}},
		{Op: wire.Pub},
		{Op: wire.Hello},
		{Op: wire.Msg},
		{Op: wire.Call},
	} {
		if err := c.link.Handle(p); !errors.Is(err, wire.CloseContract) {
			t.Errorf("%s %q: %v", p.Op, p.Message.Topic, err)
		}
	}
}

// A topic beyond the node's bounds is refused; the connection goes on.
func TestTopicsBeyondBounds(t *testing.T) {
	w := newWorld(t, Config{Topics: topic.Limits{Depth: 2}})
	c := w.connect("d", Options{})
	c.pub(1, "a/b/c", "x", 1)
	c.pub(0, "a/b/c", "x", 0)
	c.pub(2, "a/b", "x", 1)
	c.saw("hello resumed=false missed=0", "ack 1 invalid_topic", "ack 2")
	expect(t, "drops", w.drops()["invalid_topic"], 2)
}

func TestRetainedBeyondTheStore(t *testing.T) {
	s := store.NewMemory(store.Options{Retained: store.RetainedLimits{Count: 1}})
	w := newWorldOn(t, Config{}, s)
	w.retain("a", "kept")
	c := w.connect("d", Options{})
	c.handle(&wire.Packet{Op: wire.Pub, ID: 1, Message: message.Message{Topic: "b", Payload: []byte("x"), QoS: 1, Retain: true}})
	c.handle(&wire.Packet{Op: wire.Pub, Message: message.Message{Topic: "b", Payload: []byte("x"), Retain: true}})
	c.saw("hello resumed=false missed=0", "ack 1 not_retained")
	expect(t, "drops", w.drops()["refused"], 2)
}

// full is a subscriber to a with a queue of one, which is taken.
func full(t testing.TB, c Config) (*world, *conn) {
	w := newWorld(t, c, store.Limits{Count: 1})
	s := w.connect("subscriber", Options{})
	s.sub(1, 1, "a")
	expect(t, "first", w.publish("a", "first", 1).String(), "taken")
	s.saw("hello resumed=false missed=0", "ack 1", "a=first qos 1")
	return w, s
}

func TestPublishersWait(t *testing.T) {
	w, s := full(t, Config{Unanswered: 3})
	c := w.connect("d", Options{})
	c.pub(1, "a", "1", 1)
	c.pub(2, "free", "2", 1) // its receivers have it, but answers keep their order
	w.publish("a", "0", 0)
	c.saw("hello resumed=false missed=0")
	expect(t, "waiting", w.info("subscriber").Waiting, 1)
	expect(t, "QoS 0 does not wait", w.drops()["queue_full"], 1)
	c.pub(3, "a", "3", 1)
	c.saw("reading false")

	s.ack(0)
	s.saw("a=1 qos 1")
	c.saw("ack 1", "ack 2", "reading true")
	s.ack(0)
	s.saw("a=3 qos 1")
	c.saw("ack 3")
	c.pub(4, "free", "4", 1)
	c.saw("ack 4")
	s.ack(0)
	s.saw()
	expect(t, "waiting", w.info("subscriber").Waiting, 0)
	w.holdsNoQueue(s)
}

func TestPublishersWaitForSeveral(t *testing.T) {
	w, s := full(t, Config{})
	second := w.connect("second", Options{})
	second.sub(1, 1, "a", "b")
	w.publish("b", "x", 1)
	o := w.observe("a")
	p := w.publish("a", "y", 1)
	o.saw(t, "a=y qos 1") // the others need not wait
	for _, c := range []*conn{s, second} {
		expect(t, "publisher", p.String(), "waits")
		for c.step() {
		}
		c.ack(0)
	}
	expect(t, "publisher", p.String(), "taken")
}

func TestSubscriberLeavesWhilePublishersWait(t *testing.T) {
	zero := time.Duration(0)
	for name, leave := range map[string]func(*world, *conn){
		"detach":  func(_ *world, s *conn) { s.leave("reset") },
		"discard": func(w *world, _ *conn) { w.connect("subscriber", Options{Clean: true}) },
		"end": func(w *world, _ *conn) {
			w.connect("subscriber", Options{Expiry: &zero}).leave("reset")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := full(t, Config{})
			p := w.publish("a", "1", 1)
			expect(t, "publisher", p.String(), "waits")
			leave(w, s)
			expect(t, "publisher", p.String(), "taken")
			if name == "detach" {
				expect(t, "overflow", w.drops()["queue_overflow"], 1)
				w.connect("subscriber", Options{}).saw("hello resumed=true missed=1", "a=1 qos 1")
			} else {
				expect(t, "ended", w.drops()["session_ended"], 2)
			}
		})
	}
}

func TestTakeoverKeepsPublishersWaiting(t *testing.T) {
	w, _ := full(t, Config{})
	p := w.publish("a", "1", 1)
	s := w.connect("subscriber", Options{})
	s.saw("hello resumed=true missed=0", "a=first qos 1")
	expect(t, "publisher", p.String(), "waits")
	s.ack(0)
	s.saw("a=1 qos 1")
	expect(t, "publisher", p.String(), "taken")
}

func TestPublishersAreRefusedAfterMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := full(t, Config{Unanswered: 2})
		c := w.connect("d", Options{})
		c.pub(1, "a", "1", 1)
		time.Sleep(4 * time.Second)
		c.pub(2, "a", "2", 1)
		time.Sleep(6*time.Second - 1)
		synctest.Wait()
		c.saw("hello resumed=false missed=0", "reading false")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		c.saw("ack 1 queue_full", "reading true")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		c.saw("ack 2 queue_full")
		expect(t, "drops", w.drops()["queue_full"], 2)
		s.ack(0)
		s.saw()
		expect(t, "waiting", w.info("subscriber").Waiting, 0)
	})
}

// A device cannot have more wait for a receiver by connecting again: the line has a bound,
// beyond which it is refused at once, one too that would wait for ever: there nothing is taken behind the first refusal.
func TestPublishersAreRefusedAtOnce(t *testing.T) {
	const unanswered, line = 40, 64 // MiB by default
	payload := string(make([]byte, 1<<20-len("a")))
	for _, patient := range []bool{false, true} {
		t.Run(fmt.Sprint("patient=", patient), func(t *testing.T) {
			w, s := full(t, Config{Unanswered: unanswered})
			var c *client
			for range 2 {
				c = w.client("d", Options{NoRefusals: patient})
				for id := range uint64(unanswered - 1) {
					c.pub(id, "a", payload, 1)
				}
			}
			expect(t, "waiting", w.info("subscriber").Waiting, line)
			sent := 2 * (unanswered - 1)
			if patient {
				sent = line + 1
			}
			expect(t, "drops", w.drops()["queue_full"], uint64(sent-line))
			w.connect("subscriber", Options{Clean: true}) // lets go of those that wait
			want := []string{resumed}
			for id := range sent - (unanswered - 1) {
				refused := ""
				if unanswered-1+id >= line {
					refused = " queue_full"
				}
				want = append(want, fmt.Sprint("ack ", id, refused))
			}
			c.saw(want...)
			s.saw("close taken_over")
		})
	}
}

// A line that fills and empties often keeps one timer: the deadline is that of the message
// that waits, not of one before.
func TestDeadlineOfALaterLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := full(t, Config{})
		for range 9 {
			p := w.publish("a", "x", 1)
			time.Sleep(time.Second)
			s.ack(0)
			s.saw("a=x qos 1")
			expect(t, "publisher", p.String(), "taken")
		}
		p := w.publish("a", "x", 1)
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		expect(t, "publisher", p.String(), "waits")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		expect(t, "publisher", p.String(), router.ErrTooLate.Error())
	})
}

func TestAnswersStopWithTheConnection(t *testing.T) {
	w, s := full(t, Config{})
	c := w.connect("d", Options{})
	c.pub(1, "a", "1", 1)
	c.leave("reset")
	s.ack(0)
	s.saw("a=1 qos 1")
	c.saw("hello resumed=false missed=0")
}

func TestAcknowledgeDoesNotAllocate(t *testing.T) {
	w := newWorld(t, Config{})
	c := &quiet{}
	if _, _, err := w.manager.attachNow("d", &c.link, c, Options{}); err != nil {
		t.Fatal(err)
	}
	p := &wire.Packet{Op: wire.Pub, ID: 1, Message: message.Message{Topic: "a", Payload: []byte("x"), QoS: 1}}
	n := testing.AllocsPerRun(1000, func() { _ = c.link.Handle(p) })
	if n > 1 { // what the answer needs, if it has to wait
		t.Errorf("%v allocations", n)
	}
	p.Message.QoS = 0
	if n := testing.AllocsPerRun(1000, func() { _ = c.link.Handle(p) }); n > 0 {
		t.Errorf("%v allocations with QoS 0", n)
	}
}

// quiet is a connection that forgets.
type quiet struct{ link Link }

var quietLoop = NewLoop(0, func(func()) bool { return true })

func (*quiet) Wake()                                   {}
func (*quiet) Close(*wire.Close)                       {}
func (*quiet) Do(func()) bool                          { return true }
func (*quiet) Room() bool                              { return true }
func (*quiet) Send(*message.Message, message.QoS) bool { return true }
func (*quiet) Answer(*wire.Packet)                     {}
func (*quiet) Loop() *Loop                             { return quietLoop }
func (*quiet) SetReading(bool)                         {}
func (*quiet) Acks() bool                              { return true }
func (*quiet) Call(*wire.Packet) string                { return "" }
func (*quiet) Reply(*wire.Packet) (e wire.Error)       { return e }

// quietClient is a quiet one with packet identifiers.
type quietClient struct{ quiet }

func (*quietClient) SendPacket(*message.Message, message.QoS, uint16, bool) bool { return true }
func (*quietClient) Release(uint16)                                              {}
