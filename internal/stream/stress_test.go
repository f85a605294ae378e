package stream

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
)

// TestManyAtOnce publishes from several goroutines while readers come, go, acknowledge and take over, in a directory. What was
// acknowledged comes in the order of its publisher, and what comes more than once was not acknowledged.
func TestManyAtOnce(t *testing.T) {
	const publishers, each = 4, 2000
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	c := Config{Filters: []string{"t/#"}, MaxBytes: 64 << 20, WhenFull: Refuse}
	set, err := Open(t.TempDir(), setting.Named[Config]{"s": c.WithDefaults()}, Options{
		Router: r, Store: memory, Log: quietLog, sizes: journal.Options{SegmentSize: 256 << 10, Pending: 32 << 10}, period: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := set.Get("s")
	var all, answers sync.WaitGroup
	var failed atomic.Int64
	for p := range publishers {
		all.Go(func() {
			for n := range each {
				answers.Add(1)
				m := &message.Message{Topic: fmt.Sprintf("t/%d", p), Payload: fmt.Appendf(nil, "%d", n), QoS: message.AtLeastOnce}
				done := func(err error) {
					if err != nil {
						failed.Add(1)
					}
					answers.Done()
				}
				result, err := r.Publish(m, done)
				if !result.Later {
					done(err)
				}
			}
		})
	}
	next := make(map[string]int) // of the consumer's next message, by topic
	for acknowledged := uint64(1); acknowledged <= publishers*each; {
		reader, err := s.Open("c", First)
		if err != nil {
			t.Fatal(err)
		}
		if got := reader.Place(); got != acknowledged {
			t.Fatalf("begins at %d, %d is acknowledged", got, acknowledged)
		}
		for range 10 {
			batch, missed, err := reader.Take(t.Context(), 100, 1<<20, nil)
			if err != nil || missed != 0 {
				t.Fatalf("missed %d, %v", missed, err)
			}
			for _, e := range batch {
				if n := numberOf(t, e); n != next[e.Message.Topic] || e.Place != acknowledged {
					t.Fatalf("%s: got %d at %d, want %d at %d", e.Message.Topic, n, e.Place, next[e.Message.Topic], acknowledged)
				}
				next[e.Message.Topic]++
				acknowledged++
			}
			s.Acknowledge("c", acknowledged, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
			s.Info()
			if acknowledged > publishers*each {
				break
			}
		}
		if acknowledged%3 == 0 { // otherwise the next one takes over
			reader.Close()
		}
	}
	all.Wait()
	answers.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d publications were refused", failed.Load())
	}
	if i := s.Info(); i.Consumers[0].Lag.Messages != 0 || i.Consumers[0].Missed != 0 {
		t.Errorf("%+v", i)
	}
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("c", First); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := r.Publish(&message.Message{Topic: "t/0", QoS: 1}, nil); err != nil {
		t.Errorf("a stream that has ended gets something: %v", err)
	}
}
