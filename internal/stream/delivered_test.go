package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/journal/journaltest"
	"github.com/longline/longline/internal/message"
)

// answers notes which publications were answered.
type answers struct {
	mu  sync.Mutex
	all []string
}

func (a *answers) add(number int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := fmt.Sprint(number)
	if err != nil {
		text += " refused"
	}
	a.all = append(a.all, text)
}

// want waits until nothing happens any more, and compares.
func (a *answers) want(t *testing.T, what string, all ...string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.all, all) {
		t.Fatalf("%s: %q were answered, want %q", what, a.all, all)
	}
}

// publishLater publishes without waiting for the answer.
func (w *world) publishLater(a *answers, numbers ...int) {
	for _, n := range numbers {
		m := &message.Message{Topic: "t/a", Payload: fmt.Appendf(nil, "%0200d", n), QoS: message.AtLeastOnce}
		if result, err := w.router.Publish(m, func(err error) { a.add(n, err) }); !result.Later {
			a.add(n, err)
		}
	}
}

// With ack: delivered a publication is answered once all sinks of the stream are done with it.
func TestAckDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Ack: Delivered})
		var a answers
		w.publishLater(&a, 1, 2)
		a.want(t, "nobody knows the sinks")
		w.s.SetSinks([]string{"a", "b"})
		w.publishLater(&a, 3)
		w.s.Delivered("a", 4)
		w.s.Delivered("other", 4)
		a.want(t, "one sink is not done")
		if n := w.s.Stats().Undelivered; n != 3 {
			t.Error(n)
		}
		w.s.Delivered("b", 2)
		a.want(t, "both are done with one", "1")
		w.s.Delivered("b", 1)
		w.publishLater(&a, 4)
		w.s.SetSinks([]string{"a", "c"})
		a.want(t, "a new sink has told nothing", "1")
		w.s.Delivered("c", 9)
		a.want(t, "only what a is done with", "1", "2", "3")
		w.s.SetSinks([]string{"c"})
		a.want(t, "a has gone", "1", "2", "3", "4")
		if err := w.one(5, message.AtMostOnce); err != nil {
			t.Error(err)
		}
		w.publishLater(&a, 6)
		a.want(t, "a sink that is ahead", "1", "2", "3", "4", "6")
		w.s.SetSinks(nil)
		w.publishLater(&a, 7)
		a.want(t, "no sink", "1", "2", "3", "4", "6")
	})
}

// What cannot be made safe is refused at once, and holds nothing up.
func TestAckDeliveredOnAFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Ack: Delivered})
		var a answers
		w.s.SetSinks([]string{"a"})
		w.publishLater(&a, 1)
		synctest.Wait()
		var fails atomic.Bool
		fails.Store(true)
		w.disk.Fail(func(journaltest.Step) error {
			if fails.Load() {
				return errors.New("I/O error")
			}
			return nil
		}, journaltest.Forgotten)
		w.publishLater(&a, 2)
		a.want(t, "the disk fails", "2 refused")
		fails.Store(false)
		time.Sleep(10 * time.Second)
		w.publishLater(&a, 3)
		w.s.Delivered("a", 2)
		a.want(t, "one is delivered", "2 refused", "1")
		w.s.Delivered("a", 3) // the place of 2 is that of 3 now
		a.want(t, "all are delivered", "2 refused", "1", "3")
		if n := w.s.Stats().Undelivered; n != 0 {
			t.Error(n)
		}
	})
}

// What a publisher waits for is not dropped, neither for room nor for its age: a sink that comes back would pass over it.
func TestAckDeliveredStays(t *testing.T) {
	for _, when := range []string{DropOldest, Refuse} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{Ack: Delivered, WhenFull: when, MaxBytes: 4 * 8 << 10, MaxAge: time.Minute})
				var a answers
				w.s.SetSinks([]string{"a"})
				r := w.open("a", First)
				for n := range 500 {
					w.publishLater(&a, n)
					time.Sleep(time.Second)
				}
				synctest.Wait()
				if len(a.all) == 0 || len(a.all) == 500 || slices.ContainsFunc(a.all, func(s string) bool { return !strings.HasSuffix(s, " refused") }) {
					t.Fatalf("%q were answered", a.all)
				}
				waiting := w.s.Stats().Undelivered
				got, missed := w.rest(r)
				if missed != 0 || len(got) != waiting || waiting != 500-len(a.all) {
					t.Fatalf("%d wait, %d were refused, the sink got %d and missed %d", waiting, len(a.all), len(got), missed)
				}
				a.all = nil
				w.s.Acknowledge("a", r.Place(), func(error) {})
				w.s.Delivered("a", r.Place())
				synctest.Wait()
				if len(a.all) != waiting {
					t.Fatalf("%d were answered, want %d", len(a.all), waiting)
				}
				time.Sleep(time.Minute)
				a.all = nil
				w.publishLater(&a, 1000) // there is room again
				synctest.Wait()
				w.s.Delivered("a", w.s.End())
				a.want(t, "there is room again", "1000")
			})
		})
	}
}

// What cannot be read any more is refused: sinks pass over it.
func TestAckDeliveredSpoilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Ack: Delivered})
		var a answers
		w.s.SetSinks([]string{"a"})
		for n := range 20 {
			w.publishLater(&a, n)
			synctest.Wait()
		}
		for name, size := range w.disk.Sizes() {
			for at := 3 * 512; at < size; at += 5 * 512 {
				w.disk.Flip(name, at+200, 3)
			}
		}
		got, missed := w.rest(w.open("", First))
		w.s.Delivered("a", 21)
		synctest.Wait()
		refused := slices.DeleteFunc(slices.Clone(a.all), func(s string) bool { return !strings.HasSuffix(s, " refused") })
		if missed == 0 || len(refused) != int(missed) || len(a.all) != 20 || len(got) != 20-int(missed) {
			t.Fatalf("the sink missed %d, %q were answered", missed, a.all)
		}
	})
}

// So many publications wait, and no more.
func TestMostUndelivered(t *testing.T) {
	u := &undelivered{line: make([]*waiter, mostUndelivered)}
	if err := u.append(nil, nil, nil); !errors.Is(err, errUndelivered) {
		t.Error(err)
	}
}

// At the end of the node nobody is told anything about what is not delivered: it is in the stream.
func TestAckDeliveredAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Ack: Delivered})
		var a answers
		w.s.SetSinks([]string{"a"})
		w.publishLater(&a, 1)
		w.restart()
		a.want(t, "the node has ended")
		if got, _ := w.rest(w.open("", First)); !slices.Equal(got, []int{1}) {
			t.Error(got)
		}
	})
}
