//go:build servers || long

package stores

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/redis"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/test/servers"
)

// spent is the processor time of this process and of a Redis.
type spent struct{ own, redis time.Duration }

func spentUntilNow(b *testing.B, s *servers.Server) spent {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	var redis float64
	for line := range strings.Lines(servers.RedisCLI(b, s, "info", "cpu")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key == "used_cpu_sys" || key == "used_cpu_user" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			redis += n
		}
	}
	return spent{time.Duration(u.Utime.Nano() + u.Stime.Nano()), time.Duration(redis * float64(time.Second))}
}

// measure reports what each of n operations of f costs.
func measure(b *testing.B, s *servers.Server, n int, f func()) {
	before, begin := spentUntilNow(b, s), time.Now()
	f()
	took, after := time.Since(begin), spentUntilNow(b, s)
	each := float64(n) * float64(time.Microsecond)
	b.ReportMetric(float64(n)/took.Seconds(), "1/s")
	b.ReportMetric(float64(after.own-before.own)/each, "us/op-gateway")
	b.ReportMetric(float64(after.redis-before.redis)/each, "us/op-redis")
	b.ReportMetric(0, "ns/op")
}

// abreast calls f for 0 to n-1; some calls are under way at a time. Each calls done.
func abreast(n, some int, f func(i int, done func())) {
	var all sync.WaitGroup
	room := make(chan struct{}, some)
	for i := range n {
		room <- struct{}{}
		all.Add(1)
		f(i, func() {
			<-room
			all.Done()
		})
	}
	all.Wait()
}

func deviceNames(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("device-%07d", i)
	}
	return all
}

func benchServer(b *testing.B) *servers.Server {
	return servers.Redis(b, "--appendonly", "no")
}

func claimAll(b *testing.B, n *node, devices []string) {
	abreast(len(devices), 1000, func(i int, done func()) {
		n.Store.Claim(devices[i], func(_ redis.Claimed, err error) {
			if err != nil {
				b.Error(err)
			}
			done()
		})
	})
}

const benchDevices = 100_000

// BenchmarkClaim is a storm of devices that connect: new ones, those that this node had, and those that another had, with a record and ten messages.
func BenchmarkClaim(b *testing.B) {
	server := benchServer(b)
	client := clientOf(b, server.Address())
	devices := deviceNames(benchDevices)
	a := newNode(b, client, store.Options{})
	other := openNode(b, client, a.options, a.prefix, "other/22", storetest.NewOnJournal(a.options))
	b.Run("new", func(b *testing.B) { measure(b, server, len(devices), func() { claimAll(b, a, devices) }) })
	b.Run("again", func(b *testing.B) { measure(b, server, len(devices), func() { claimAll(b, a, devices) }) })
	b.Run("end", func(b *testing.B) {
		measure(b, server, len(devices), func() {
			for _, d := range devices {
				a.Disown(d)
			}
			if err := a.commit(); err != nil {
				b.Fatal(err)
			}
		})
	})
	few := devices[:20_000]
	claimAll(b, a, few)
	m := benchMessage()
	for _, d := range few {
		a.Store.Save(&store.Record{Device: d, Session: 1, Expiry: time.Hour})
		q := a.Store.Queue(d)
		for range 10 {
			if err := q.Push(m, message.AtLeastOnce, now); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := a.commit(); err != nil {
		b.Fatal(err)
	}
	b.Run("moved", func(b *testing.B) { measure(b, server, len(few), func() { claimAll(b, other, few) }) })
}

func benchMessage() *message.Message {
	m := message.Message{Topic: "device/1234567/commands/set", Payload: make([]byte, 200), Time: now.UnixMilli()}
	return m.Clone()
}

// BenchmarkWrite is messages of QoS 1 that are pushed, and removed when they are safe, for many devices.
func BenchmarkWrite(b *testing.B) {
	server := benchServer(b)
	n := newNode(b, clientOf(b, server.Address()), store.Options{})
	devices := deviceNames(10_000)
	claimAll(b, n, devices)
	queues := make([]store.Queue, len(devices))
	for i, d := range devices {
		n.Store.Save(&store.Record{Device: d, Session: 1, Expiry: time.Hour})
		queues[i] = n.Store.Queue(d)
	}
	if err := n.commit(); err != nil {
		b.Fatal(err)
	}
	m := benchMessage()
	for _, some := range []int{1, 100, 5000} {
		b.Run(fmt.Sprintf("%d at a time", some), func(b *testing.B) {
			count := min(200_000, 20_000*some)
			measure(b, server, count, func() {
				abreast(count, some, func(i int, done func()) {
					q := queues[i%len(queues)]
					if err := q.Push(m, message.AtLeastOnce, now); err != nil {
						b.Error(err)
					}
					n.Store.Commit(func(error) { done() })
					if i >= some {
						before := queues[(i-some)%len(queues)]
						if m, _, ok := before.Next(now); ok {
							before.Ack(m.ID)
						}
					}
				})
			})
		})
	}
}

// BenchmarkIdle is what a device takes in memory that is claimed and has nothing.
func BenchmarkIdle(b *testing.B) {
	server := benchServer(b)
	n := newNode(b, clientOf(b, server.Address()), store.Options{})
	devices := deviceNames(benchDevices)
	memory := func() (own, redis float64) {
		time.Sleep(5 * time.Second) // what was answered lately is kept to be written again
		n.begin(b, "busy")
		n.push(b, "busy", "1")
		if err := n.commit(); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for line := range strings.Lines(servers.RedisCLI(b, server, "info", "memory")) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
				redis, _ = strconv.ParseFloat(value, 64)
			}
		}
		return float64(m.HeapAlloc), redis
	}
	own, redis := memory()
	claimAll(b, n, devices)
	own2, redis2 := memory()
	b.ReportMetric((own2-own)/benchDevices, "B/device-gateway")
	b.ReportMetric((redis2-redis)/benchDevices, "B/device-redis")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(devices)
}
