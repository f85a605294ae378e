package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

func open(t *testing.T, r *Router, c InboxConfig, q message.QoS, retained bool, filters ...string) *Inbox {
	t.Helper()
	return r.OpenInbox(c, filters, q, retained)
}

func (r *Router) send(name, payload string, q message.QoS, done func(error)) (later bool, err error) {
	got, err := r.Publish(&message.Message{Topic: name, Payload: []byte(payload), QoS: q}, done)
	return got.Later, err
}

// takes checks what one Take returns.
func (b *Inbox) takes(t *testing.T, missed uint64, want ...string) {
	t.Helper()
	batch, n, err := b.Take(t.Context(), nil)
	if err != nil || n != missed {
		t.Fatalf("missed %d, want %d: %v", n, missed, err)
	}
	if got := payloads(batch); !slices.Equal(got, want) {
		t.Errorf("took %q, want %q", got, want)
	}
}

func payloads(batch []*message.Message) (p []string) {
	for _, m := range batch {
		p = append(p, string(m.Payload))
	}
	return p
}

func TestInboxBounds(t *testing.T) {
	for name, c := range map[string]InboxConfig{"messages": {Messages: 2}, "bytes": {Bytes: 4}} {
		t.Run(name, func(t *testing.T) {
			r := newRouter()
			var a answers
			b := open(t, r, c, 1, false, "a", "+")
			for i, q := range []message.QoS{1, 0, 1, 0, 1} {
				later, err := r.send("a", fmt.Sprint(i), q, a.to(fmt.Sprint(i)))
				if later != (i == 2 || i == 4) || err != nil {
					t.Errorf("%d: later %t, %v", i, later, err)
				}
			}
			a.are(t)
			b.takes(t, 1, "0", "1")
			a.are(t, "2 <nil>", "4 <nil>")
			b.takes(t, 0, "2", "4")
			if got, want := r.dropped(), map[string]uint64{"backend_too_slow": 1}; !maps.Equal(got, want) {
				t.Errorf("drops %v", got)
			}
		})
	}
}

func TestInboxTakesOneOfAnySize(t *testing.T) {
	r := newRouter()
	b := open(t, r, InboxConfig{Bytes: 1}, 1, false, "a")
	if later, err := r.send("a", "large", 1, nil); later || err != nil {
		t.Fatal(err)
	}
	b.takes(t, 0, "large")
}

// Behind a full inbox and a full line a publisher is refused at once, and the reader is told.
func TestInboxRefusesAtOnce(t *testing.T) {
	r := New(Config{Waiting: WaitingConfig{Messages: 1}}, store.NewMemory(store.Options{}))
	var a answers
	b := open(t, r, InboxConfig{Messages: 1}, 1, false, "a")
	for i := range 4 {
		if _, err := r.send("a", fmt.Sprint(i), 1, a.to(fmt.Sprint(i))); (err != nil) != (i > 1) || err != nil && !errors.Is(err, ErrTooLate) {
			t.Errorf("%d: %v", i, err)
		}
	}
	a.are(t)
	b.takes(t, 2, "0")
	a.are(t, "1 <nil>")
	b.takes(t, 0, "1")
	if got, want := r.dropped(), map[string]uint64{"queue_full": 2}; !maps.Equal(got, want) {
		t.Errorf("drops %v", got)
	}
}

func TestInboxRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		var a answers
		b := open(t, r, InboxConfig{Messages: 1}, 1, false, "a")
		for i := range 3 {
			_, _ = r.send("a", fmt.Sprint(i), 1, a.to(fmt.Sprint(i)))
			time.Sleep(4 * time.Second)
		}
		time.Sleep(3 * time.Second) // 15 s after the first, 11 after the second
		synctest.Wait()
		a.are(t, "1 "+ErrTooLate.Error())
		b.takes(t, 1, "0")
		a.are(t, "2 <nil>")
		b.takes(t, 0, "2")
	})
}

func TestInboxRetained(t *testing.T) {
	r := newRouter()
	for _, name := range []string{"a/1", "a/2", "b"} {
		if _, err := r.Publish(&message.Message{Topic: name, Payload: []byte(name), Retain: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, r, InboxConfig{Messages: 1}, 1, true, "a/#", "a/1", "+")
	if _, err := r.send("b", "news", 1, nil); err != nil {
		t.Fatal(err)
	}
	b.takes(t, 0, "a/1", "a/2")
	batch, _, err := b.Take(t.Context(), nil)
	if err != nil || !slices.Equal(payloads(batch), []string{"b"}) {
		t.Errorf("%q, %v", payloads(batch), err)
	}
	b.takes(t, 0, "news")
	if !batch[0].Retain {
		t.Error("it does not say that it was retained")
	}
}

func TestInboxClose(t *testing.T) {
	r := newRouter()
	var a answers
	b := open(t, r, InboxConfig{Messages: 1}, 1, false, "a", "b")
	_, _ = r.send("a", "0", 1, a.to("0"))
	_, _ = r.send("b", "1", 1, a.to("1"))
	b.Close(nil)
	a.are(t, "1 <nil>") // as if it had left before
	if got := r.dropped(); !maps.Equal(got, map[string]uint64{"session_ended": 2}) {
		t.Errorf("drops %v", got)
	}
	if n := r.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions", n)
	}
	p := &Publication{done: a.to("late")}
	if err := b.Deliver((&message.Message{}).Clone(), 1, p); err != nil || p.claim != nil {
		t.Error(err)
	}
	for range 2 {
		if _, _, err := b.Take(t.Context(), nil); !errors.Is(err, ErrInboxClosed) {
			t.Error(err)
		}
	}
}

func TestInboxTakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newRouter(), InboxConfig{}, 1, false, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := b.Take(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		ended := make(chan error)
		go func() {
			_, _, err := b.Take(t.Context(), nil)
			ended <- err
		}()
		synctest.Wait()
		b.Close(nil)
		if err := <-ended; !errors.Is(err, ErrInboxClosed) {
			t.Error(err)
		}
	})
}

// A token may be there without a message: the room of that Take must not be used twice.
func TestInboxRoomIsUsedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		b := open(t, r, InboxConfig{}, 1, false, "a")
		room := make([]*message.Message, 0, 8)
		b.signal()
		taken := make(chan []*message.Message)
		go func() {
			batch, _, err := b.Take(t.Context(), room)
			if err != nil {
				t.Error(err)
			}
			taken <- batch
		}()
		synctest.Wait()
		_, _ = r.send("a", "0", 1, nil)
		batch := <-taken
		_, _ = r.send("a", "1", 1, nil)
		if got := payloads(batch); !slices.Equal(got, []string{"0"}) {
			t.Errorf("the batch became %q", got)
		}
		b.takes(t, 0, "1")
	})
}

// Many publishers that wait, one consumer: each publisher's messages arrive in order, all.
func TestInboxStress(t *testing.T) {
	const publishers, each = 4, 2000
	r := newRouter()
	b := open(t, r, InboxConfig{Messages: 16}, 1, false, "+")
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				done := make(chan error, 1)
				later, err := r.send(fmt.Sprint(p), fmt.Sprint(i), 1, func(err error) { done <- err })
				if later {
					err = <-done
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := map[string]int{}
	var batch []*message.Message
	for total := 0; total < publishers*each; total += len(batch) {
		var err error
		if batch, _, err = b.Take(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		for _, m := range batch {
			if string(m.Payload) != fmt.Sprint(next[m.Topic]) {
				t.Fatalf("%s: %s, want %d", m.Topic, m.Payload, next[m.Topic])
			}
			next[m.Topic]++
		}
	}
	wg.Wait()
}
