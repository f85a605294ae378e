package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
)

func newMessage() *message.Message {
	m := message.Message{Topic: "t", Payload: []byte("p")}
	return m.Clone()
}

// TestQueueMemory lets QoS 0 pass by a message that is never acknowledged: the gaps that
// they leave must not add up, and an empty queue keeps nothing.
func TestQueueMemory(t *testing.T) {
	s, now := NewMemory(Options{}), time.Now()
	q := &queue{store: s}
	stuck := newMessage()
	for i := range 10_000 {
		qos, m := message.AtMostOnce, newMessage()
		if i == 0 {
			qos, m = message.AtLeastOnce, stuck
		}
		if err := q.Push(m, qos, now); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := q.Next(now); got != m {
			t.Fatalf("got %v, want %v", got, m)
		}
	}
	if cap(q.entries) > 8 {
		t.Errorf("one message takes room for %d", cap(q.entries))
	}
	for range 100 {
		if err := q.Push(newMessage(), message.AtMostOnce, now); err != nil {
			t.Fatal(err)
		}
	}
	q.ShedQoS0()
	q.Ack(stuck.ID)
	if cap(q.entries) > fewEntries {
		t.Errorf("no message takes room for %d", cap(q.entries))
	}
}

// TestMemoryForgets checks that closed queues and dropped devices cost nothing.
func TestMemoryForgets(t *testing.T) {
	s := NewMemory(Options{})
	q := s.Queue("empty")
	q.Close()
	kept := s.Queue("kept")
	_ = kept.Push(newMessage(), message.AtLeastOnce, time.Now())
	kept.Close()
	if len(s.queues) != 1 {
		t.Errorf("%d queues, want the one with contents", len(s.queues))
	}
	s.Save(&Record{Device: "kept"})
	s.Drop("kept")
	if len(s.queues)+len(s.records) != 0 {
		t.Errorf("%d queues, %d records of a dropped device", len(s.queues), len(s.records))
	}
}

// TestCloseAfterDrop checks that an old session cannot close the queue of a new one.
func TestCloseAfterDrop(t *testing.T) {
	s := NewMemory(Options{})
	old := s.Queue("d")
	s.Drop("d")
	q := s.Queue("d")
	_ = q.Push(newMessage(), message.AtLeastOnce, time.Now())
	old.Close()
	if again := s.Queue("d"); again.Len() != 1 {
		t.Error("the queue of the new session is gone")
	}
}

// TestRetainedBytes checks that the sum of bytes follows every way out.
func TestRetainedBytes(t *testing.T) {
	now := time.Now()
	r := newRetained(Options{}.WithDefaults(), log{}, nil)
	m := message.Message{Topic: "t", Payload: []byte("payload"), Expiry: now.Add(time.Second).UnixMilli()}
	for range 2 {
		if err := r.put(m.Clone(), now); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes != m.Size() {
		t.Errorf("%d bytes, want %d", r.bytes, m.Size())
	}
	for i := range 2 * expireAtOnce {
		another := message.Message{Topic: fmt.Sprint(i), Payload: m.Payload, Expiry: m.Expiry}
		if err := r.put(another.Clone(), now); err != nil {
			t.Fatal(err)
		}
	}
	last := message.Message{Topic: "last"}
	for range 3 {
		if err := r.put(&last, now.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes != 0 || r.byTopic.Len() != 0 || r.byExpiry.Len() != 0 {
		t.Errorf("left after expiry: %d bytes, %d topics, %d that expire", r.bytes, r.byTopic.Len(), r.byExpiry.Len())
	}
}

func BenchmarkQueue(b *testing.B) {
	q, now := &queue{store: NewMemory(Options{})}, time.Now()
	m := newMessage()
	b.ReportAllocs()
	for b.Loop() {
		_ = q.Push(m, message.AtLeastOnce, now)
		q.Next(now)
		q.Ack(m.ID)
	}
}
