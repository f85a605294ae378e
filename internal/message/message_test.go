package message

import (
	"sync"
	"testing"
	"time"
	"unsafe"
)

func borrowed(buf []byte) *Message {
	text := func(from, to int) string { return unsafe.String(&buf[from], to-from) }
	return &Message{
		Topic:       text(0, 3),
		Payload:     buf[3:8],
		ContentType: text(8, 10),
		Properties:  []Property{{text(10, 11), text(11, 12)}},
		Source:      "device",
		Time:        7,
		Expiry:      9,
		QoS:         AtLeastOnce,
		Retain:      true,
		Kept:        true,

		PayloadFormat: 1,
		Request:       &Request{ResponseTopic: text(12, 13), CorrelationData: buf[13:14]},
	}
}

func TestCloneOutlivesTheBuffer(t *testing.T) {
	buf := []byte("a/bhellottkvrc")
	c := borrowed(buf).Clone()
	for i := range buf {
		buf[i] = '!'
	}
	want := borrowed([]byte("a/bhellottkvrc"))
	if !c.Equal(want) || c.Source != "device" || !c.Kept || c.Time != 7 || c.Expiry != 9 {
		t.Errorf("the clone became %+v", c)
	}
	if cap(c.Payload) != len(c.Payload) {
		t.Error("appending to the payload would write over its neighbours")
	}
}

func TestCloneAllocatesTwice(t *testing.T) {
	m := &Message{Topic: "device/1/telemetry", Payload: make([]byte, 100), ContentType: JSON, Source: "1"}
	if n := testing.AllocsPerRun(100, func() { m.Clone() }); n != 2 {
		t.Errorf("%v allocations, want the struct and its bytes", n)
	}
}

func TestExpired(t *testing.T) {
	now := time.UnixMilli(1000)
	for expiry, want := range map[int64]bool{0: false, 999: true, 1000: true, 1001: false} {
		if got := (&Message{Expiry: expiry}).Expired(now); got != want {
			t.Errorf("expiry %d at 1000: %v", expiry, got)
		}
	}
}

func TestEqual(t *testing.T) {
	base := func() *Message { return borrowed([]byte("a/bhellottkvrc")) }
	for what, change := range map[string]func(*Message){
		"topic":      func(m *Message) { m.Topic = "x" },
		"payload":    func(m *Message) { m.Payload = []byte("x") },
		"type":       func(m *Message) { m.ContentType = "x" },
		"qos":        func(m *Message) { m.QoS = AtMostOnce },
		"retain":     func(m *Message) { m.Retain = false },
		"properties": func(m *Message) { m.Properties = nil },
	} {
		m := base()
		change(m)
		if m.Equal(base()) {
			t.Errorf("another %s is taken for equal", what)
		}
	}
	if m := base(); !m.Equal(base()) {
		t.Error("equal messages differ")
	}
}

// An empty property, two bytes on the wire, counts too: queues are bounded
// by the sum of sizes.
func TestSize(t *testing.T) {
	m := borrowed([]byte("a/bhellottkvrc"))
	if got, want := m.Size(), len("a/bhellottkvrc")+int(unsafe.Sizeof(Property{})); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	m = &Message{Properties: make([]Property, 100_000)}
	if least := 100_000 * int(unsafe.Sizeof(Property{})); m.Size() < least {
		t.Errorf("%d bytes, occupies %d", m.Size(), least)
	}
}

type form struct {
	class int
	mu    sync.Mutex
	calls int
}

func (f *form) Class() int { return f.class }

func (f *form) Encode(m *Message) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return append([]byte{byte(f.class)}, m.Payload...)
}

func TestEncodedOncePerClass(t *testing.T) {
	m := (&Message{Topic: "t", Payload: []byte("p")}).Clone()
	a, b := &form{class: 1}, &form{class: 2}
	for range 3 {
		if string(m.Encoded(a)) != "\x01p" || string(m.Encoded(b)) != "\x02p" {
			t.Fatal("a class got another's form")
		}
	}
	if a.calls != 1 || b.calls != 1 {
		t.Errorf("encoded %d and %d times", a.calls, b.calls)
	}
	if first, again := m.Encoded(a), m.Encoded(a); &first[0] != &again[0] {
		t.Error("the form is not shared")
	}
}

// The encoded form of a message that only one place keeps is in memory only while it is being sent.
func TestEncodedForOneIsNotKept(t *testing.T) {
	m := (&Message{Topic: "t", Payload: []byte("p")}).Clone()
	a, f := new(Account), &form{class: 1}
	for _, c := range []struct{ holders, encoded int }{{1, 2}, {2, 3}} {
		m.Hold(a)
		m.Encoded(f)
		m.Encoded(f)
		if f.calls != c.encoded {
			t.Errorf("with %d that keep it: encoded %d times, want %d", c.holders, f.calls, c.encoded)
		}
	}
}

func TestEncodedFromManyGoroutines(t *testing.T) {
	m := (&Message{Topic: "t", Payload: []byte("p")}).Clone()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if got := m.Encoded(&form{class: i % 3}); got[0] != byte(i%3) {
				t.Errorf("class %d got %v", i%3, got)
			}
		})
	}
	wg.Wait()
}

func BenchmarkClone(b *testing.B) {
	m := &Message{Topic: "device/m-7/telemetry", Payload: make([]byte, 128), ContentType: JSON, Source: "m-7", Time: 1 << 40, QoS: AtLeastOnce}
	b.ReportAllocs()
	for b.Loop() {
		m.Clone()
	}
}

func BenchmarkNextID(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			NextID()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				NextID()
			}
		})
	})
}
