package session

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// live is the live heap in bytes.
func live() int {
	runtime.GC()
	runtime.GC() // what the first one moved out of pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// idle attaches n devices, each subscribed to its own topics, and returns their links.
func idle(t testing.TB, w *world, n int, c Conn) []Link {
	links := make([]Link, n)
	for i := range links {
		device := fmt.Sprintf("device-%06d", i)
		if _, _, err := w.manager.attachNow(device, &links[i], c, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := links[i].Subscribe("device/"+device+"/#", 1); err != nil {
			t.Fatal(err)
		}
	}
	return links
}

// An idle session costs at most 424 bytes: itself, its subscription, its places in the
// registry and in the index, its id and its filter, and the link in its connection, which holds
// its permissions. MQTT has 96 more.
func TestMemoryOfAnIdleSession(t *testing.T) {
	const n = 20_000
	for name, c := range map[string]struct {
		conn Conn
		most int
	}{"JSON": {&quiet{}, 424}, "MQTT": {&quietClient{}, 520}} {
		w := newWorld(t, Config{})
		before := live()
		links := idle(t, w, n, c.conn)
		per := (live() - before) / n
		t.Logf("%s: %d B a session: %d itself, %d its link", name, per, unsafe.Sizeof(Session{}), unsafe.Sizeof(Link{}))
		if per > c.most {
			t.Errorf("%s: %d B, want at most %d", name, per, c.most)
		}
		runtime.KeepAlive(links)
		runtime.KeepAlive(w)
	}
}

// Where the bytes of an idle session are.
func BenchmarkMemory(b *testing.B) {
	const n = 100_000
	devices := make([]string, n)
	filters := make([]string, n)
	for i := range n {
		devices[i] = fmt.Sprintf("device-%06d", i)
		filters[i] = "device/" + devices[i] + "/#"
	}
	measure := func(name string, build func() any) {
		b.Run(name, func(b *testing.B) {
			var per float64
			for b.Loop() {
				before := live()
				kept := build()
				per = float64(live()-before) / n
				runtime.KeepAlive(kept)
			}
			b.ReportMetric(per, "B/session")
			b.ReportMetric(0, "ns/op")
		})
	}
	measure("all", func() any {
		w := newWorld(b, Config{})
		return []any{w, idle(b, w, n, &quiet{})}
	})
	measure("strings", func() any {
		all := make([]string, 0, 2*n)
		for i := range n {
			all = append(all, strings.Clone(devices[i]), strings.Clone(filters[i]))
		}
		return all
	})
	measure("index", func() any {
		x := topic.NewIndex[*Session]()
		for i := range n {
			x.Subscribe(filters[i], nil, 1)
		}
		return x
	})
	measure("subscriptions", func() any {
		all := make([][]topic.Subscription, n)
		for i := range n {
			all[i] = append(all[i], topic.Subscription{Filter: filters[i], QoS: 1})
		}
		return all
	})
}

// One QoS 1 message to a device that acknowledges it at once.
func BenchmarkDownlink(b *testing.B) {
	for _, q := range []message.QoS{0, 1} {
		b.Run(fmt.Sprint("qos=", q), func(b *testing.B) {
			w := newWorld(b, Config{})
			var devices atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				c := &quiet{}
				if _, _, err := w.manager.attachNow(fmt.Sprint("d", devices.Add(1)), &c.link, c, Options{}); err != nil {
					b.Fatal(err)
				}
				m := (&message.Message{Topic: "a", Payload: make([]byte, 128), QoS: q}).Clone()
				ack := &wire.Packet{Op: wire.Ack, ID: m.ID}
				for pb.Next() {
					_ = c.link.session.Deliver(m, q, new(router.Publication))
					c.link.Flush(true)
					if q > 0 {
						_ = c.link.Handle(ack)
					}
				}
			})
		})
	}
}

// The way up: a device publishes, nobody is interested.
func BenchmarkUplink(b *testing.B) {
	w := newWorld(b, Config{})
	c := &quiet{}
	if _, _, err := w.manager.attachNow("d", &c.link, c, Options{}); err != nil {
		b.Fatal(err)
	}
	p := &wire.Packet{Op: wire.Pub, ID: 1}
	p.Message.Topic, p.Message.Payload, p.Message.QoS = "device/d/telemetry", make([]byte, 128), 1
	b.ReportAllocs()
	for b.Loop() {
		_ = c.link.Handle(p)
	}
}
