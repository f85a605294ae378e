package stream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
)

// onDisk opens a stream in a directory, and its router.
func onDisk(b *testing.B) (*router.Router, *Stream) {
	b.Helper()
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	c := Config{Filters: []string{"t/#"}, MaxBytes: 4 << 30}.WithDefaults()
	set, err := Open(b.TempDir(), setting.Named[Config]{"s": c}, Options{Router: r, Store: memory, Log: quietLog})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := set.Close(); err != nil {
			b.Error(err)
		}
	})
	return r, set.Get("s")
}

// BenchmarkRead has one consumer read a stream of messages of 128 bytes from its beginning and acknowledge each batch, over and
// over.
func BenchmarkRead(b *testing.B) {
	const messages = 1_000_000
	r, s := onDisk(b)
	var waiting sync.WaitGroup
	for range messages {
		waiting.Add(1)
		result, err := r.Publish(&message.Message{Topic: "t/meter-1", Payload: make([]byte, 128), QoS: message.AtLeastOnce, Source: "meter-1"}, func(err error) {
			if err != nil {
				b.Error(err)
			}
			waiting.Done()
		})
		if err != nil {
			b.Fatal(err)
		}
		if !result.Later {
			waiting.Done()
		}
		if s.Stats().Journal.Pending > 512<<10 {
			waiting.Wait() // the line is not what is measured
		}
	}
	waiting.Wait()
	n := 0
	b.ResetTimer()
	cpu := processTime()
	var room []Entry
	for n < b.N {
		if err := s.DeleteConsumer("c", func(error) {}); err != nil && !errors.Is(err, ErrConsumer) {
			b.Fatal(err)
		}
		reader, err := s.Open("c", First)
		if err != nil {
			b.Fatal(err)
		}
		for left := messages; left > 0; {
			batch, missed, err := reader.Take(context.Background(), 1000, 1<<20, room)
			if err != nil || missed > 0 {
				b.Fatalf("missed %d, %v", missed, err)
			}
			s.Acknowledge("c", reader.Place(), func(err error) {
				if err != nil {
					b.Error(err)
				}
			})
			n, left, room = n+len(batch), left-len(batch), batch
		}
	}
	took, cpu := b.Elapsed(), processTime()-cpu
	b.ReportMetric(float64(n)/took.Seconds(), "messages/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/1e3/float64(n), "cpu-us/message")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPublish has 1,000 publishers with one QoS 1 message of 128 bytes in flight each, to a stream on disk, and to an inbox
// in memory.
func BenchmarkPublish(b *testing.B) {
	b.Run("stream", func(b *testing.B) {
		r, _ := onDisk(b)
		benchmarkPublish(b, r)
	})
	b.Run("memory", func(b *testing.B) {
		r := router.New(router.Config{}, store.NewMemory(store.Options{}))
		inbox := r.OpenInbox(router.InboxConfig{}, []string{"t/#"}, message.AtLeastOnce, false)
		ctx, cancel := context.WithCancel(context.Background())
		var reader sync.WaitGroup
		reader.Go(func() {
			var room []*message.Message
			for ctx.Err() == nil {
				room, _, _ = inbox.Take(ctx, room)
			}
		})
		benchmarkPublish(b, r)
		cancel()
		reader.Wait()
		inbox.Close(nil)
	})
}

func benchmarkPublish(b *testing.B, r *router.Router) {
	const publishers = 1000
	var left atomic.Int64
	left.Store(int64(b.N))
	waits := make([][]time.Duration, publishers)
	var all sync.WaitGroup
	b.ResetTimer()
	cpu := processTime()
	for i := range publishers {
		all.Go(func() {
			m := &message.Message{Topic: "t/meter-1", Payload: make([]byte, 128), QoS: message.AtLeastOnce, Source: "meter-1"}
			answer := make(chan error, 1)
			done := func(err error) { answer <- err }
			for left.Add(-1) >= 0 {
				begun := time.Now()
				result, err := r.Publish(m, done)
				if result.Later {
					err = <-answer
				}
				if err != nil {
					b.Error(err)
					return
				}
				waits[i] = append(waits[i], time.Since(begun))
			}
		})
	}
	all.Wait()
	took, cpu := b.Elapsed(), processTime()-cpu
	sorted := slices.Sorted(slices.Values(slices.Concat(waits...)))
	n := float64(len(sorted))
	b.ReportMetric(n/took.Seconds(), "ack/s")
	b.ReportMetric(float64(sorted[len(sorted)/2].Microseconds())/1e3, "ms-p50")
	b.ReportMetric(float64(sorted[len(sorted)*99/100].Microseconds())/1e3, "ms-p99")
	b.ReportMetric(float64(cpu.Nanoseconds())/1e3/n, "cpu-us/ack")
	b.ReportMetric(0, "ns/op")
}

// processTime returns the processor time that the process has used.
func processTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
