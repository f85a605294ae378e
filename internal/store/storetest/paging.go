package storetest

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// unload makes a queue let go of what it can, once all is on the medium.
func unload(t *testing.T, s store.Store, q store.Queue, keep int) {
	t.Helper()
	commit(t, s)
	for q.Unload(keep) {
		runtime.Gosched()
	}
}

// load loads a page, if there is one.
func load(t *testing.T, s store.Opener, q store.Queue, p *store.Page) (read bool) {
	t.Helper()
	if p == nil {
		return false
	}
	if err := s.Read(p); err != nil {
		t.Fatal(err)
	}
	if lost := q.Load(p); lost > 0 {
		t.Fatalf("%d of %d messages are lost", lost, len(p.Numbers))
	}
	return true
}

// loadAll loads all messages.
func loadAll(t *testing.T, s store.Opener, q store.Queue) {
	t.Helper()
	for load(t, s, q, q.NextPage(q.Len())) {
	}
}

// nextLoaded is Next that loads what it needs.
func nextLoaded(t *testing.T, s store.Opener, q store.Queue, now time.Time) (*message.Message, bool) {
	t.Helper()
	load(t, s, q, q.NextPage(0))
	m, _, ok := q.Next(now)
	return m, ok
}

// A queue is the same whether its messages are in memory or on the medium alone.
func testPaging(t *testing.T, open Open) {
	account := new(message.Account)
	s := open(t, store.Options{Account: account})
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	q := s.Queue("d")
	ms := numberedTo(300)
	push(t, q, qos1, ms[:100]...)
	for range 3 {
		q.Next(start)
	}
	push(t, q, qos2, ms[100:200]...)
	bytes := q.Bytes()
	unload(t, s, q, 10)
	push(t, q, qos1, ms[200:]...)
	unload(t, s, q, 10)
	wantSize(t, q, 300, 3)
	q.Rewind()
	unload(t, s, q, 0)
	wantSize(t, q, 300, 0)
	if want := bytes * 3 / 2; q.Bytes() < want {
		t.Errorf("%d bytes, want more than %d", q.Bytes(), want)
	}
	if kept, _ := account.Bytes(); q.NextPage(0) != nil && kept != 0 {
		t.Errorf("%d bytes are kept in memory", kept)
	}
	for i, want := range ms {
		m, ok := nextLoaded(t, s, q, start)
		if !ok || m.ID != want.ID || !m.Equal(want) {
			t.Fatalf("message %d: got %+v", i, m)
		}
		if i%2 == 0 && !q.Ack(m.ID) {
			t.Fatalf("message %d is not acknowledged", i)
		}
		if i%20 == 0 {
			unload(t, s, q, 5)
		}
	}
	wantSize(t, q, 150, 150)
	q.Rewind()
	unload(t, s, q, 0)
	for i := 1; i < 300; i += 2 {
		if m, ok := nextLoaded(t, s, q, start); !ok || m.ID != ms[i].ID || !q.Ack(m.ID) {
			t.Fatalf("message %d: got %+v", i, m)
		}
	}
	wantSize(t, q, 0, 0)
	if kept, _ := account.Bytes(); kept != 0 {
		t.Errorf("an empty queue keeps %d bytes", kept)
	}
}

// The bounds hold for what is on the medium alone, and what leaves the queue there is gone.
func testPagingBounds(t *testing.T, open Open) {
	s := open(t, store.Options{Queue: store.Limits{Count: 10, Age: time.Minute}})
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	q := s.Queue("d")
	ms := numberedTo(20)
	soon := expiring("a", "soon", start.Add(time.Second))
	push(t, q, qos1, append(append(ms[:5:5], soon), ms[5:9]...)...)
	unload(t, s, q, 0)
	if err := q.Push(ms[9], qos1, start); err == nil {
		t.Fatal("a full queue takes more")
	}
	if _, ok := q.DropOldest(); !ok {
		t.Fatal("nothing is dropped")
	}
	push(t, q, qos1, ms[9])
	if err := q.Push(ms[10], qos1, start.Add(time.Second)); err != nil || q.TakeExpired() != 1 {
		t.Fatalf("what has expired is not replaced: %v", err)
	}
	old := q.NextPage(100)
	unload(t, s, q, 0)
	if old != nil {
		if err := s.Read(old); err != nil {
			t.Fatal(err)
		}
	}
	q.DropOldest()
	q.Load(&store.Page{}) // of another queue
	if old != nil && q.Load(old) != 0 {
		t.Error("what was dropped is missed")
	}
	for i := 2; i <= 10; i++ {
		if m, ok := nextLoaded(t, s, q, start); !ok || m.ID != ms[i].ID {
			t.Fatalf("message %d: got %+v", i, m)
		}
	}
	q.Rewind()
	unload(t, s, q, 0)
	later := start.Add(time.Minute)
	if m, ok := nextLoaded(t, s, q, later); !ok || m.ID != ms[10].ID || q.TakeExpired() != 8 {
		t.Errorf("got %+v after the others have expired", m)
	}
}

// Identifiers stay with their messages, whether these are in memory or not.
func testPagingPackets(t *testing.T, open Open) {
	s := open(t, store.Options{})
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	q := s.Queue("d")
	ms := numberedTo(100)
	push(t, q, qos2, ms[:50]...)
	push(t, q, qos1, ms[50:]...)
	for i := range 60 {
		if p, ok := q.NextPacket(start, uint16(i)); !ok || p.ID != uint16(i+1) {
			t.Fatal("nothing is sent")
		}
	}
	q.Rewind()
	unload(t, s, q, 0)
	for range 2 { // they were received, perhaps
		if _, ok := q.DropOldest(); !ok {
			t.Fatal("nothing is dropped")
		}
	}
	for q.NextPage(0) != nil {
		load(t, s, q, q.NextPage(0))
	}
	if id, ok := q.NextRelease(start); !ok || id != 1 {
		t.Errorf("%d is to be released", id)
	}
	unload(t, s, q, 5)
	for i := 2; i < 100; i++ {
		load(t, s, q, q.NextPage(0))
		p, ok := q.NextPacket(start, 60+uint16(max(0, i-60)))
		if !ok || p.Message.ID != ms[i].ID || p.ID != uint16(i+1) || p.Again != (i < 60) {
			t.Fatalf("message %d: got %+v", i, p)
		}
	}
}

// What came by a share is found on the medium.
func testPagingShares(t *testing.T, open Open) {
	s := open(t, store.Options{})
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	q := s.Queue("d")
	var want []string
	for i := range 200 {
		m := numbered(i)
		if i%3 == 0 {
			m = m.With(&message.Delivery{Share: fmt.Sprint("$share/g/", i)})
			want = append(want, m.Delivery.Share)
		}
		push(t, q, qos1, m)
	}
	unload(t, s, q, 0)
	load(t, s, q, q.SharedPage())
	if q.SharedPage() != nil {
		t.Error("there are more")
	}
	var got []string
	n := q.Remove(func(m *message.Message, _ message.QoS) (string, bool) {
		if m.Delivery == nil {
			return "", false
		}
		got = append(got, m.Delivery.Share)
		return "", true
	}, start)
	if n != len(want) || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found %d, %v", n, got)
	}
	wantSize(t, q, 200-n, 0)
}

// A long queue leaves memory and comes back in parts, and keeps its order.
func testPagingMany(t *testing.T, open Open) {
	s := open(t, store.Options{Queue: store.Limits{Count: 10_000}})
	s.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	q := s.Queue("d")
	ms := numberedTo(store.UnloadAtOnce + 300)
	for i, m := range ms {
		push(t, q, qos1, m)
		if i%100 == 0 {
			q.Unload(0) // what is on the medium by now
		}
	}
	unload(t, s, q, 0)
	for i, want := range ms {
		if m, ok := nextLoaded(t, s, q, start); !ok || m.ID != want.ID || !q.Ack(m.ID) {
			t.Fatalf("message %d: got %+v", i, m)
		}
	}
	wantSize(t, q, 0, 0)
}
