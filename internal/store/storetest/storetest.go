// Package storetest is the contract of store.Store as tests that every implementation runs.
package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// Open makes an empty store with the options; it lasts until the test ends.
type Open func(t *testing.T, o store.Options) store.Store

// Run tests the whole contract.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"Order":             testOrder,
		"Ack":               testAck,
		"Rewind":            testRewind,
		"Reopen":            testReopen,
		"Count":             testCount,
		"Bytes":             testBytes,
		"Age":               testAge,
		"ExpiredMakeRoom":   testExpiredMakeRoom,
		"Drops":             testDrops,
		"Records":           testRecords,
		"Retained":          testRetained,
		"RetainedExpiry":    testRetainedExpiry,
		"RetainedLimits":    testRetainedLimits,
		"RetainedReentrant": testRetainedReentrant,
		"Concurrent":        testConcurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	qos0 = message.AtMostOnce
	qos1 = message.AtLeastOnce
)

// msg makes an owned message.
func msg(topic, payload string) *message.Message {
	m := message.Message{Topic: topic, Payload: []byte(payload), Time: start.UnixMilli()}
	return m.Clone()
}

// numbered makes a message that states its number.
func numbered(n int) *message.Message { return msg("device/d/down", fmt.Sprint("payload ", n)) }

func expiring(topic, payload string, at time.Time) *message.Message {
	m := msg(topic, payload)
	m.Expiry = at.UnixMilli()
	return m
}

func queueOf(t *testing.T, s store.Store, device string) store.Queue {
	t.Helper()
	q, err := s.Queue(device)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func push(t *testing.T, q store.Queue, qos message.QoS, ms ...*message.Message) {
	t.Helper()
	for _, m := range ms {
		if err := q.Push(m, qos, start); err != nil {
			t.Fatal(err)
		}
	}
}

// wantNext takes messages and compares them, then wants no more of them.
func wantNext(t *testing.T, q store.Queue, now time.Time, want ...*message.Message) {
	t.Helper()
	for i, w := range want {
		m, _, ok := q.Next(now)
		if !ok || m.ID != w.ID || !m.Equal(w) {
			t.Fatalf("message %d: got %+v, want %+v", i, m, w)
		}
	}
	if m, _, ok := q.Next(now); ok {
		t.Fatalf("got %+v after all", m)
	}
}

func wantSize(t *testing.T, q store.Queue, n, inFlight int) {
	t.Helper()
	if q.Len() != n || q.InFlight() != inFlight {
		t.Fatalf("%d messages, %d in flight; want %d, %d", q.Len(), q.InFlight(), n, inFlight)
	}
	if n == 0 && q.Bytes() != 0 {
		t.Fatalf("no messages have %d bytes", q.Bytes())
	}
}

func numberedTo(n int) []*message.Message {
	all := make([]*message.Message, n)
	for i := range all {
		all[i] = numbered(i)
	}
	return all
}

func testOrder(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{}), "d")
	ms := numberedTo(100)
	bytes := 0
	for i, m := range ms {
		push(t, q, message.QoS(i%2), m)
		bytes += m.Size()
	}
	if q.Bytes() != bytes {
		t.Errorf("%d bytes, want %d", q.Bytes(), bytes)
	}
	wantSize(t, q, 100, 0)
	for i, want := range ms {
		m, qos, ok := q.Next(start)
		if !ok || m.ID != want.ID || qos != message.QoS(i%2) {
			t.Fatalf("message %d: %+v with QoS %d", i, m, qos)
		}
	}
	wantSize(t, q, 50, 50)
}

func testAck(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{}), "d")
	ms := numberedTo(4)
	push(t, q, qos1, ms...)
	if q.Ack(ms[0].ID) {
		t.Error("a message that was not sent is acknowledged")
	}
	wantNext(t, q, start, ms...)
	for _, i := range []int{2, 0, 3, 1} {
		if !q.Ack(ms[i].ID) || q.Ack(ms[i].ID) {
			t.Fatalf("message %d is not acknowledged once", i)
		}
	}
	wantSize(t, q, 0, 0)
	push(t, q, qos1, ms[0])
	wantNext(t, q, start, ms[0])
}

func testRewind(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{}), "d")
	ms := numberedTo(6)
	push(t, q, qos1, ms[:5]...)
	wantNext(t, q, start, ms[:5]...)
	push(t, q, qos1, ms[5])
	q.Ack(ms[1].ID)
	q.Ack(ms[3].ID)
	q.Rewind()
	wantSize(t, q, 4, 0)
	if q.Ack(ms[0].ID) {
		t.Error("what an old connection was sent is acknowledged")
	}
	wantNext(t, q, start, ms[0], ms[2], ms[4], ms[5])
	wantSize(t, q, 4, 4)
}

func testReopen(t *testing.T, open Open) {
	s := open(t, store.Options{})
	ms := numberedTo(3)
	push(t, queueOf(t, s, "d"), qos1, ms...)

	q := queueOf(t, s, "d") // the session is gone without a word
	wantNext(t, q, start, ms...)
	q.Ack(ms[0].ID)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}

	q = queueOf(t, s, "d")
	q.Rewind()
	wantNext(t, q, start, ms[1:]...)
	wantSize(t, queueOf(t, s, "other"), 0, 0)

	if err := s.Drop("d"); err != nil {
		t.Fatal(err)
	}
	q = queueOf(t, s, "d")
	wantSize(t, q, 0, 0)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	wantSize(t, queueOf(t, s, "d"), 0, 0)
}

func testCount(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{Queue: store.Limits{Count: 3}}), "d")
	ms := numberedTo(4)
	push(t, q, qos1, ms[:3]...)
	q.Next(start) // one in flight counts
	if err := q.Push(ms[3], qos1, start); !errors.Is(err, store.ErrFull) {
		t.Fatalf("error %v", err)
	}
	wantSize(t, q, 3, 1)
	q.Ack(ms[0].ID)
	push(t, q, qos1, ms[3])
	wantNext(t, q, start, ms[1:]...)
}

func testBytes(t *testing.T, open Open) {
	m := msg("t", strings.Repeat("x", 99)) // 100 bytes
	q := queueOf(t, open(t, store.Options{Queue: store.Limits{Bytes: 250}}), "d")
	push(t, q, qos1, m, m)
	if err := q.Push(m, qos1, start); !errors.Is(err, store.ErrFull) {
		t.Errorf("error %v", err)
	}
	if err := q.Push(msg("t", strings.Repeat("x", 250)), qos1, start); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	wantSize(t, q, 2, 0)
	push(t, q, qos1, msg("t", strings.Repeat("x", 49))) // fills it to the byte
	if q.Bytes() != 250 {
		t.Errorf("%d bytes", q.Bytes())
	}
}

func testAge(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{Queue: store.Limits{Age: time.Minute}}), "d")
	old, soon, kept := msg("a", "old"), expiring("a", "soon", start.Add(10*time.Second)), msg("a", "kept")
	old.Time -= time.Hour.Milliseconds() // a retained message ages from Push
	push(t, q, qos1, old, soon)
	if err := q.Push(kept, qos1, start.Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	wantNext(t, q, start.Add(59*time.Second), old, kept)
	q.Rewind()
	wantNext(t, q, start.Add(time.Minute), kept)
	if n := q.TakeExpired(); n != 2 {
		t.Errorf("%d expired, want 2", n)
	}
	if n := q.TakeExpired(); n != 0 {
		t.Errorf("%d expired are told twice", n)
	}
	if !q.Ack(kept.ID) { // in flight, it does not age
		t.Error("the message in flight is gone")
	}
}

func testExpiredMakeRoom(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{Queue: store.Limits{Count: 3}}), "d")
	sent, first, last := expiring("a", "sent", start.Add(time.Second)), msg("a", "first"), msg("a", "last")
	push(t, q, qos1, sent, first, expiring("a", "gone", start.Add(time.Second)))
	q.Next(start)
	now := start.Add(time.Second)
	if err := q.Push(last, qos1, now); err != nil {
		t.Fatal(err)
	}
	if n := q.TakeExpired(); n != 1 {
		t.Errorf("%d expired, want 1", n)
	}
	wantSize(t, q, 3, 1)
	wantNext(t, q, now, first, last)
	if !q.Ack(sent.ID) {
		t.Error("the message in flight is gone")
	}
}

func testDrops(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{}), "d")
	if _, ok := q.DropOldest(); ok || q.ShedQoS0() != 0 {
		t.Error("an empty queue drops something")
	}
	ms := numberedTo(6)
	for i, m := range ms {
		push(t, q, message.QoS(1-i%2), m) // even ones have QoS 1
	}
	q.Next(start)
	if m, ok := q.DropOldest(); !ok || m.ID != ms[1].ID {
		t.Fatalf("dropped %+v, want the oldest unsent", m)
	}
	if m, ok := q.DropOldest(); !ok || m.ID != ms[2].ID {
		t.Fatalf("dropped %+v, want the oldest unsent", m)
	}
	if n := q.ShedQoS0(); n != 2 {
		t.Fatalf("shed %d, want 2", n)
	}
	wantSize(t, q, 2, 1)
	wantNext(t, q, start, ms[4])
	if _, ok := q.DropOldest(); ok {
		t.Error("a message in flight is dropped")
	}
	q.Rewind()
	wantNext(t, q, start, ms[0], ms[4])
}

func testRecords(t *testing.T, open Open) {
	s := open(t, store.Options{})
	record := func(device string, missed uint64) *store.Record {
		return &store.Record{
			Device: device, Session: 7, Expiry: time.Hour, Left: start.UnixMilli(), Missed: missed,
			Subscriptions: []store.Subscription{{Filter: "a/#", QoS: qos1}, {Filter: "b", QoS: qos0}},
		}
	}
	for _, r := range []*store.Record{record("a", 1), record("b", 2), record("a", 3)} {
		if err := s.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Load("a")
	if want := record("a", 3); err != nil || fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("got %v, %v; want %v", r, err, want)
	}
	if r, err := s.Load("c"); r != nil || err != nil {
		t.Errorf("an unknown device has %v, %v", r, err)
	}
	if err := s.Drop("b"); err != nil {
		t.Fatal(err)
	}
	var devices []string
	err = s.Records(func(r *store.Record) bool {
		devices = append(devices, r.Device)
		return s.Save(record("later", 0)) == nil // yield may call the store
	})
	if err != nil || !slices.Contains(devices, "a") || slices.Contains(devices, "b") {
		t.Errorf("records of %q, %v", devices, err)
	}
	n := 0
	if err := s.Records(func(*store.Record) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d records after a stop at one, %v", n, err)
	}
}

func retain(t *testing.T, s store.Store, ms ...*message.Message) {
	t.Helper()
	for _, m := range ms {
		if err := s.Retain(m, start); err != nil {
			t.Fatal(err)
		}
	}
}

// wantRetained compares the payloads that a filter finds.
func wantRetained(t *testing.T, s store.Store, now time.Time, filter string, want ...string) {
	t.Helper()
	var got []string
	err := s.Retained(filter, now, func(m *message.Message) bool {
		got = append(got, string(m.Payload))
		return true
	})
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("filter %q: got %q, %v; want %q", filter, got, err, want)
	}
}

func testRetained(t *testing.T, open Open) {
	s := open(t, store.Options{})
	retain(t, s, msg("a/b", "0"), msg("a/c", "2"), msg("a", "3"), msg("$x/b", "4"), msg("a/b", "1"))
	wantRetained(t, s, start, "a/b", "1")
	wantRetained(t, s, start, "a/+", "1", "2")
	wantRetained(t, s, start, "a/#", "1", "2", "3")
	wantRetained(t, s, start, "#", "1", "2", "3")
	wantRetained(t, s, start, "$x/#", "4")
	wantRetained(t, s, start, "nothing")
	retain(t, s, msg("a/b", ""), msg("nothing", ""))
	wantRetained(t, s, start, "#", "2", "3")
}

func testRetainedExpiry(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{Count: 2}})
	retain(t, s, expiring("a", "1", start.Add(time.Second)), msg("b", "2"))
	wantRetained(t, s, start, "#", "1", "2")
	now := start.Add(time.Second)
	wantRetained(t, s, now, "#", "2")
	retain(t, s, expiring("c", "3", start.Add(time.Minute))) // in the place of the first
	wantRetained(t, s, now, "#", "2", "3")

	now = start.Add(time.Minute) // now without a look that finds the third
	if err := s.Retain(msg("d", "4"), now); err != nil {
		t.Fatal(err)
	}
	wantRetained(t, s, now, "#", "2", "4")
	if err := s.Retain(expiring("d", "5", now), now); err != nil {
		t.Fatal(err)
	}
	wantRetained(t, s, now, "#", "2") // too late itself, it only removes
}

func testRetainedLimits(t *testing.T, open Open) {
	s := open(t, store.Options{Retained: store.RetainedLimits{Count: 2, Bytes: 20}})
	refused := func(m *message.Message, limit string) {
		t.Helper()
		err := s.Retain(m, start)
		if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), limit) {
			t.Errorf("error %v does not name the limit of %s", err, limit)
		}
	}
	retain(t, s, msg("a", "1"), msg("b", "2"))
	refused(msg("c", "3"), "2 retained messages")
	refused(msg("b", strings.Repeat("x", 19)), "20 bytes")
	wantRetained(t, s, start, "#", "1", "2")
	retain(t, s, msg("b", strings.Repeat("x", 17))) // fills it to the byte
	refused(msg("a", "11"), "20 bytes")
	retain(t, s, msg("b", "2"), msg("a", "11"))
	wantRetained(t, s, start, "#", "11", "2")
}

func testRetainedReentrant(t *testing.T, open Open) {
	s := open(t, store.Options{})
	retain(t, s, msg("a", "1"), msg("b", "2"))
	n := 0
	err := s.Retained("+", start, func(m *message.Message) bool {
		n++
		return s.Retain(msg(m.Topic, ""), start) == nil && n < 1
	})
	if err != nil || n != 1 {
		t.Errorf("%d yielded after a stop at one, %v", n, err)
	}
}

// testConcurrent gives the race detector what sessions of different devices do.
func testConcurrent(t *testing.T, open Open) {
	s := open(t, store.Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			device := fmt.Sprint("device-", g)
			for i := range 50 {
				if err := session(s, device, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantRetained(t, s, start, "+/last", "49", "49", "49", "49")
}

// session is one short life of a device's session.
func session(s store.Store, device string, i int) error {
	q, err := s.Queue(device)
	if err != nil {
		return err
	}
	m := numbered(i)
	if err := q.Push(m, qos1, start); err != nil {
		return err
	}
	if got, _, ok := q.Next(start); !ok || got.ID != m.ID || !q.Ack(m.ID) {
		return fmt.Errorf("%s got %v of another", device, got)
	}
	return errors.Join(
		q.Close(),
		s.Save(&store.Record{Device: device}),
		s.Retain(msg(device+"/last", fmt.Sprint(i)), start),
		s.Retained("+/last", start, func(*message.Message) bool { return true }),
		s.Records(func(*store.Record) bool { return true }),
		s.Drop(device),
	)
}
