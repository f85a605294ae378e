package storetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

func queueOf(t *testing.T, s store.Store, device string) store.Queue {
	t.Helper()
	return s.Queue(device)
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

func testOrder(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{}), "d")
	ms := numberedTo(100)
	bytes := 0
	for i, m := range ms {
		push(t, q, message.QoS(i%3), m)
		bytes += m.Size()
	}
	if q.Bytes() != bytes {
		t.Errorf("%d bytes, want %d", q.Bytes(), bytes)
	}
	wantSize(t, q, 100, 0)
	for i, want := range ms {
		m, qos, ok := q.Next(start)
		if !ok || m.ID != want.ID || qos != message.QoS(i%3) {
			t.Fatalf("message %d: %+v with QoS %d", i, m, qos)
		}
	}
	wantSize(t, q, 66, 66)
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
	q.Close()

	q = queueOf(t, s, "d")
	q.Rewind()
	wantNext(t, q, start, ms[1:]...)
	wantSize(t, queueOf(t, s, "other"), 0, 0)

	s.Drop("d")
	q = queueOf(t, s, "d")
	wantSize(t, q, 0, 0)
	q.Close()
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

// The oldest QoS 0 message is dropped first, wherever it is between others.
func testDropOldestQoS0(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{}), "d")
	ms := numberedTo(7)
	for i, m := range ms {
		push(t, q, message.QoS(1-i%2), m) // odd ones have QoS 0
	}
	q.Next(start)
	for _, want := range []*message.Message{ms[1], ms[3]} {
		if m, ok := q.DropOldestQoS0(); !ok || m.ID != want.ID {
			t.Fatalf("dropped %+v, want %+v", m, want)
		}
	}
	if m, ok := q.DropOldest(); !ok || m.ID != ms[2].ID {
		t.Fatalf("dropped %+v, want the oldest that is left", m)
	}
	wantSize(t, q, 4, 1)
	wantNext(t, q, start, ms[4], ms[5], ms[6])
	if m, ok := q.DropOldestQoS0(); ok {
		t.Fatalf("dropped %+v, which has left", m)
	}
}

// A conflated message takes the place of the one before of its topic until that has left, and
// nobody else's.
func testConflate(t *testing.T, open Open) {
	q := queueOf(t, open(t, store.Options{Queue: store.Limits{Bytes: 20}}), "d")
	conflate := func(m, want *message.Message) {
		t.Helper()
		if old, err := q.Conflate(m, start); err != nil || old != want && (old == nil || want == nil || old.ID != want.ID) {
			t.Fatalf("in the place of %+v, %v; want %+v", old, err, want)
		}
	}
	plain, b := msg("a", "plain"), msg("b", "1")
	a1, a2, a3 := msg("a", "1"), msg("a", "22"), msg("a", "333")
	push(t, q, message.AtMostOnce, plain)
	conflate(a1, nil)
	conflate(b, nil)
	conflate(a2, a1)
	wantSize(t, q, 3, 0)
	if n := plain.Size() + a2.Size() + b.Size(); q.Bytes() != n {
		t.Errorf("%d bytes, want %d", q.Bytes(), n)
	}
	if _, err := q.Conflate(msg("a", strings.Repeat("x", 12)), start); !errors.Is(err, store.ErrFull) {
		t.Errorf("error %v of a message that does not fit", err)
	}
	if _, err := q.Conflate(msg("a", strings.Repeat("x", 20)), start); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("error %v of a message that never fits", err)
	}
	wantNext(t, q, start, plain, a2, b)
	conflate(a1, nil)
	push(t, q, qos1, plain)
	conflate(a3, nil) // not before what was published before it
	wantNext(t, q, start, a1, plain, a3)
	q.Ack(plain.ID)
	wantSize(t, q, 0, 0)
}
