package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

// gated is a store whose messages a test reads: each call of Read waits for a send.
type gated struct {
	*storetest.OnJournal

	mu    sync.Mutex
	gates []chan error // of the calls, in order
}

// newGated has a session of d for which a message is on the medium alone.
func newGated(t *testing.T) *gated {
	g := &gated{OnJournal: storetest.NewOnJournal(store.Options{})}
	g.Save(&store.Record{Device: "d", Session: 1, Expiry: time.Hour})
	m := message.Message{Topic: "a", Payload: []byte("x")}
	q := g.Queue("d")
	if err := q.Push(m.Clone(), message.AtLeastOnce, time.Now()); err != nil {
		t.Fatal(err)
	}
	g.Commit(func(error) {})
	synctest.Wait()
	if q.Unload(0) || q.InMemory() > 0 {
		t.Fatal("the message is in memory")
	}
	return g
}

func (g *gated) Read(p *store.Page) error {
	gate := make(chan error)
	g.mu.Lock()
	g.gates = append(g.gates, gate)
	g.mu.Unlock()
	if err := <-gate; err != nil {
		return err
	}
	return g.OnJournal.Read(p)
}

// open lets the n-th call of Read go on, if there was one.
func (g *gated) open(n int, err error) {
	synctest.Wait()
	g.mu.Lock()
	var gate chan error
	if n < len(g.gates) {
		gate, g.gates[n] = g.gates[n], nil
	}
	g.mu.Unlock()
	if gate != nil {
		gate <- err
	}
	synctest.Wait()
}

// racer is one of two connections of a device that come while messages for it are read.
type racer struct {
	*conn
	turns    *turns // of its loop, which goes on when the connection has ended
	attached bool
	err      error
}

func (w *world) racer() *racer { return &racer{conn: &conn{world: w, room: -1}, turns: newTurns()} }

func (r *racer) Loop() *Loop { return r.turns.Loop }

func (r *racer) come() {
	r.world.manager.Attach("d", &r.link, r, Options{}, func(_ Attached, err error) {
		r.attached, r.err = err == nil, err
	})
	synctest.Wait()
}

func (r *racer) work() {
	for r.step() {
	}
	r.turns.turn()
}

// Of two connections the one that came last has the session, in whatever order their messages are read on workers and their loops go
// on, also when those of one of them cannot be read or it ends meanwhile: then the other one has it.
func TestNewestHasTheSessionWhileMessagesAreRead(t *testing.T) {
	for _, fails := range []string{"none", "the first", "the second", "the first ends", "the second ends"} {
		for _, order := range orders("a B A b x", []string{"aA", "bB", "xb"}) {
			synctest.Test(t, func(t *testing.T) {
				g := newGated(t)
				w := newWorldOn(t, Config{}, g)
				defer w.close()
				first, second := w.racer(), w.racer()
				errOf := func(who string) error {
					if fails == who {
						return errBroken
					}
					return nil
				}
				first.come()
				for _, event := range order {
					switch event {
					case 'x':
						second.come()
					case 'a':
						g.open(0, errOf("the first"))
					case 'b':
						g.open(1, errOf("the second"))
					case 'A':
						if fails == "the first ends" {
							first.leave("gone")
						}
						first.work()
					case 'B':
						if fails == "the second ends" {
							second.leave("gone")
						}
						second.work()
					}
				}
				first.work()
				second.work()
				saw := strings.Join(first.log, ", ")
				s := w.manager.session("d")
				has := "nobody"
				switch {
				case s == nil || s.link == nil:
				case s.link == &first.link:
					has = "first"
				case s.link == &second.link:
					has = "second"
				}
				want := "second"
				if second.err != nil || fails == "the second ends" {
					want = "first"
				}
				if fails == "the second ends" && (first.attached && saw != "" || errors.Is(first.err, ErrTakenOver)) {
					want = "nobody" // it was there before it ended
				}
				if has != want {
					t.Errorf("%s fails, %s: %s has the session; the first: %v, %q; the second: %v", fails, order, has, first.err, saw, second.err)
				}
				if want == "second" && !(errors.Is(first.err, ErrTakenOver) || errors.Is(first.err, ErrNotOpened) || saw == "close taken_over" || fails == "the first ends") {
					t.Errorf("%s fails, %s: the first is not told: %v, %q", fails, order, first.err, saw)
				}
				if n := len(w.manager.attempts.byDevice); n > 0 {
					t.Errorf("%s fails, %s: %d attempts are left", fails, order, n)
				}
			})
		}
	}
}

// orders returns all orders of events in which the first of each pair is before the second.
func orders(events string, pairs []string) (all []string) {
	var walk func(done string, left []string)
	walk = func(done string, left []string) {
		if len(left) == 0 {
			all = append(all, done)
			return
		}
		for i, next := range left {
			rest := append(append([]string{}, left[:i]...), left[i+1:]...)
			ok := true
			for _, pair := range pairs {
				ok = ok && !(pair[1:] == next && strings.Contains(fmt.Sprint(rest), pair[:1]))
			}
			if ok {
				walk(done+next, rest)
			}
		}
	}
	walk("", strings.Fields(events))
	return all
}
