package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire"
)

func (c *client) released(id uint16, found bool) {
	c.world.t.Helper()
	expect(c.world.t, "found", c.link.Released(id), found)
}

func TestPublishOnce(t *testing.T) {
	w := newWorld(t, Config{})
	up := w.observe("up")
	c := w.client("d", Options{})
	c.pub(7, "up", "x", 2)
	c.pub(7, "up", "x", 2)
	c.saw(fresh, "rec 7", "rec 7")
	c.leave("reset")
	c = w.client("d", Options{})
	c.pub(7, "up", "x", 2)
	up.saw(t, "up=x qos 1")
	c.released(7, true)
	c.released(7, false)
	c.pub(7, "up", "y", 2) // another one
	c.saw(resumed, "rec 7", "rec 7")
	up.saw(t, "up=y qos 1")
}

func TestPublishOnceRefused(t *testing.T) {
	w := newWorld(t, Config{}, store.Limits{Bytes: 10})
	c := w.client("d", Options{})
	c.subscribe(filter("a", 2))
	for range 2 { // it is over: the identifier is free
		c.pub(7, "a", "more than ten bytes", 2)
		c.released(7, false)
	}
	c.saw(fresh, "rec 7too_large", "rec 7too_large")
}

// A publication that waits for room is answered once it has it, on whatever connection, and is
// never routed twice.
func TestPublishOnceWaits(t *testing.T) {
	w, s := full(t, Config{})
	c := w.client("d", Options{})
	c.pub(7, "a", "x", 2)
	c.pub(7, "a", "x", 2)
	c.pub(8, "free", "y", 1)
	c.saw(fresh)
	c.leave("reset")
	c = w.client("d", Options{})
	c.pub(7, "a", "x", 2)
	c.pub(7, "a", "x", 2)
	c.pub(8, "free", "y", 1)
	c.saw(resumed)
	s.ack(0)
	s.saw("a=x qos 1")
	c.saw("rec 7", "ack 8")
	s.ack(0)
	s.saw()
	c.leave("reset")
	c = w.client("d", Options{})
	c.pub(7, "a", "x", 2)
	c.saw(resumed, "rec 7")
	s.saw()
}

// A QoS 1 publication that waits is not routed again when the device repeats it, and is
// answered where it did.
func TestRepeatedWhileItWaits(t *testing.T) {
	w, s := full(t, Config{Unanswered: 2})
	again := &wire.Packet{Op: wire.Pub, ID: 7, Again: true, Message: message.Message{Topic: "a", Payload: []byte("x"), QoS: 1}}
	w.client("d", Options{NoRefusals: true}).pub(7, "a", "x", 1)
	var c *client
	for range 5 {
		c = w.client("d", Options{NoRefusals: true})
		c.handle(again)
	}
	expect(t, "waiting", w.info("subscriber").Waiting, 1)
	s.ack(0)
	s.saw("a=x qos 1")
	c.saw(resumed, "ack 7")
	s.ack(0)
	s.saw()
	c.handle(again) // that it was answered may be lost: at least once
	c.saw("ack 7")
	s.saw("a=x qos 1")
}

// One that is repeated on the connection on which it waits is answered once there, and those
// behind it too.
func TestRepeatedOnTheSameConnection(t *testing.T) {
	w, s := full(t, Config{})
	c := w.client("d", Options{})
	c.pub(7, "a", "x", 1)
	c.handle(&wire.Packet{Op: wire.Pub, ID: 7, Again: true, Message: message.Message{Topic: "a", Payload: []byte("x"), QoS: 1}})
	c.pub(8, "free", "y", 1)
	c.saw(fresh)
	s.ack(0)
	s.saw("a=x qos 1")
	c.saw("ack 7", "ack 8")
}

// What an older connection published with QoS 1 is not answered on a newer one that uses the
// identifier for another message.
func TestAnswersOfAnOlderConnection(t *testing.T) {
	w, s := full(t, Config{})
	c := w.client("d", Options{})
	c.pub(7, "a", "x", 1)
	c = w.client("d", Options{})
	c.pub(7, "a", "y", 1)
	s.ack(0)
	s.saw("a=x qos 1")
	c.saw(resumed)
	s.ack(0)
	s.saw("a=y qos 1")
	c.saw("ack 7")
}

// A patient device that is not read is stuck when messages wait for what it would acknowledge.
func TestStuck(t *testing.T) {
	for patient, want := range map[bool]bool{true: true, false: false} {
		w, _ := full(t, Config{Unanswered: 2})
		c := w.client("d", Options{NoRefusals: patient})
		c.subscribe(filter("d", 1))
		w.publish("d", "owed", 1)
		w.publish("d", "waits", 1)
		c.pub(1, "a", "x", 1)
		expect(t, "while it is read", c.link.Stuck(), false)
		c.pub(2, "a", "x", 1)
		expect(t, "not read", c.link.Stuck(), want)

		other := w.client("other", Options{NoRefusals: patient})
		other.pub(1, "a", "x", 1)
		other.pub(2, "a", "x", 1)
		expect(t, "nobody waits for it", other.link.Stuck(), false)
		w.client("d", Options{NoRefusals: patient})
		expect(t, "taken over", c.link.Stuck(), false)
	}
}

func TestReceiveMaximum(t *testing.T) {
	w := newWorld(t, Config{Unanswered: 2})
	publish := func(c *client, id uint64) error {
		return c.link.Handle(&wire.Packet{Op: wire.Pub, ID: id, Message: message.Message{Topic: "up", QoS: 2}})
	}
	for patient, want := range map[bool]error{false: wire.CloseReceiveMax, true: nil} {
		c := w.client("d", Options{Clean: true, NoRefusals: patient})
		for id := range uint64(2) {
			expect(t, "within", publish(c, 1+id), nil)
		}
		expect(t, "again", publish(c, 2), nil)
		if err := publish(c, 3); !errors.Is(err, want) {
			t.Errorf("patient %t: %v", patient, err)
		}
	}
}

// A publisher that can be told no refusal waits as long as the receiver's session lives.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := full(t, Config{Unanswered: 2, AckTimeout: 2 * time.Hour})
		c := w.client("d", Options{NoRefusals: true})
		c.pub(1, "a", "1", 1)
		c.pub(2, "a", "2", 2)
		time.Sleep(time.Hour)
		synctest.Wait()
		c.saw(fresh, "reading false")
		s.ack(0)
		s.saw("a=1 qos 1")
		c.saw("ack 1", "reading true")
		w.connect("subscriber", Options{Clean: true})
		c.saw("rec 2")
		expect(t, "waiting", c.link.session.mqtt.waiting, 0)
	})
}

// It cannot have more wait for ever by connecting again.
func TestPatienceHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := full(t, Config{Unanswered: 2})
		for range 5 {
			c := w.client("d", Options{NoRefusals: true})
			c.pub(1, "a", "1", 1)
			c.pub(2, "a", "2", 1)
		}
		expect(t, "waiting", w.info("subscriber").Waiting, 10)
		time.Sleep(time.Hour)
		synctest.Wait()
		expect(t, "waiting for ever", w.info("subscriber").Waiting, 2)
	})
}

// The answer to what the device published on an older connection does not answer what it publishes again on a newer
// one after that: the new publication has its own.
func TestAnswerBeforeTheRepetition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := full(t, Config{})
		defer w.close()
		w.client("d", Options{}).pub(7, "a", "x", 2)
		c := w.client("d", Options{})
		time.Sleep(11 * time.Second) // longer than it may wait
		synctest.Wait()
		c.pub(7, "a", "x", 2)
		c.saw(resumed)
		s.ack(0)
		s.saw("a=x qos 1")
		c.saw("rec 7")
		c.released(7, true)
	})
}

// A kill that leaves the identifier of a QoS 2 publication leaves its message at every receiver. The receivers and the identifier
// wait for one fence.
func TestKilledBetweenReceiversAndIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		defer w.close()
		for _, device := range []string{"one", "two"} {
			w.client(device, Options{}).subscribe(filter("a", 2))
		}
		c := w.client("d", Options{})
		synctest.Wait()
		s := w.store.(*storetest.OnJournal)
		fences := s.Fences()
		c.pub(7, "a", "x", 2)
		kept := 0
		for _, left := range s.Kill(t) {
			received, messages := 0, 0
			for _, device := range []string{"one", "two"} {
				messages += left.Queue(device).Len()
			}
			_ = left.Records(func(r *store.Record) bool { received += len(r.Received); return true })
			if received == 1 && messages != 2 {
				t.Errorf("the identifier is kept, and %d of 2 messages", messages)
			}
			kept = max(kept, received)
		}
		expect(t, "kept in the end", kept, 1)
		expect(t, "fences", s.Fences()-fences, 1)
		synctest.Wait()
		c.saw(fresh, "rec 7")
	})
}

// A publication that cannot be made safe is refused, and its identifier is free: what comes under it next is another message.
func TestIdentifierOfAnUnsafePublication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broke{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{}, b)
		defer w.close()
		w.client("sub", Options{}).subscribe(filter("a", 2))
		c := w.client("d", Options{})
		c.pub(7, "a", "x", 2)
		synctest.Wait()
		c.saw(fresh, "rec 7internal")
		c.released(7, false)
		_ = b.Records(func(r *store.Record) bool { expect(t, "received by "+r.Device, len(r.Received), 0); return true })
	})
}

// A device of 3.1.1 may leave all identifiers unreleased. They take little, and count in the account until they are released, or
// the session ends.
func TestReceivedIdentifiersCount(t *testing.T) {
	for name, end := range map[string]func(c *client){
		"released":   func(c *client) { releaseAll(c) },
		"ended":      func(c *client) { c.world.connect("d", Options{Clean: true}) },
		"JSON":       func(c *client) { c.world.connect("d", Options{}) },
		"none in it": func(c *client) { releaseAll(c); c.leave("reset"); c.world.manager.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			w, account := newAccountedWorld(t, store.Limits{})
			c := w.client("d", Options{NoRefusals: true})
			for id := uint64(1); id < 1<<16; id += eachOf { // one in each page of the set
				c.pub(id, "up", "", 2)
			}
			if owed, _ := account.Bytes(); owed != 16<<10 {
				t.Errorf("%d bytes are owed", owed)
			}
			end(c)
			if owed, _ := account.Bytes(); owed != 0 {
				t.Errorf("%d bytes are owed in the end", owed)
			}
		})
	}
}

const eachOf = 64

func releaseAll(c *client) {
	for id := 1; id < 1<<16; id += eachOf {
		c.released(uint16(id), true)
	}
}

// A device that uses an identifier for two publications at a time gets the answer to each when that has it.
func TestOneIdentifierTwice(t *testing.T) {
	w, s := full(t, Config{})
	other := w.connect("other", Options{})
	other.sub(1, 1, "b")
	w.publish("b", "first", 1) // its queue is full as well
	c := w.connect("d", Options{})
	c.pub(7, "a", "x", 1)
	c.pub(7, "b", "y", 1)
	other.saw("hello resumed=false missed=0", "ack 1", "b=first qos 1")
	other.ack(0)
	other.saw("b=y qos 1")
	c.saw("hello resumed=false missed=0") // it is not the turn of y, and x has nobody yet
	s.ack(0)
	s.saw("a=x qos 1")
	c.saw("ack 7", "ack 7")
}
