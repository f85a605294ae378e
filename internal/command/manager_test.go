package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

const hour = time.Hour

func exclusive(r *Request) { r.Exclusive = true }

func key(k string) func(*Request) { return func(r *Request) { r.Key = k } }

// A command is told when it is safe, waits for its device, is sent, and its answer is told when that is safe.
func TestLife(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		got := w.begin(Request{Device: "d", Method: "reboot"}, hour)
		select {
		case <-got:
			t.Fatal("told before it was safe")
		default:
		}
		w.medium.sync()
		c := (<-got).Command
		w.wants(c, "queued, attempts 0")
		expect(t, "taken", w.take(), "reboot")
		w.wants(c, "sent, attempts 1")
		expect(t, "awaited", w.manager.Answer("d", c.ID, []byte("ok"), "", wire.Error{}), true)
		w.wants(c, "sent, attempts 1") // the answer is not safe yet
		w.medium.sync()
		w.wants(c, "succeeded, attempts 1, ok")
		now, _ := w.manager.Get(c.ID)
		var states []State
		for _, e := range now.History {
			states = append(states, e.State)
		}
		expect(t, "history", fmt.Sprint(states), "[queued sent succeeded]")
		expect(t, "connection", now.History[1].Session, "s1")
		expect(t, "taken", w.take(), "")
		time.Sleep(24*hour + time.Second)
		w.wants(c, "forgotten")
		w.create("other", hour)
		expect(t, "left in the store", len(w.medium.safe), 2)
	})
}

// The promise to send a command is safe before it is sent, whether the device is there at the creation or comes later.
func TestPromise(t *testing.T) {
	for _, online := range []bool{false, true} {
		inWorld(t, Config{}, func(w *world) {
			if online {
				w.connect("d")
			}
			c := w.create("m", hour)
			s, ok := w.manager.Take("d")
			expect(t, "taken at once", ok, online)
			if !ok {
				w.wokenNow()
				expect(t, "before the fence", w.medium.pass(nil), true)
				expect(t, "woken by the fence", w.wokenNow(), "d")
				s, _ = w.manager.Take("d")
			}
			expect(t, "again", s.Again, false)
			w.restart() // before the node knows that it was written
			w.wants(c, "queued, attempts 0")
			expect(t, "after a restart", w.take(), "m-again")
		})
	}
}

// What may have been sent ends as unknown, what was not as expired or cancelled.
func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(w *world)
		state  string // "" is the word for how it ends
		late   bool   // an answer is kept
	}{
		{"queued", func(*world) {}, "", false},
		{"promised, and the device left", func(w *world) {
			w.manager.Take("d") // promises
			w.medium.sync()
			w.leave("d")
		}, "", false},
		{"promised, and the node ended in order", func(w *world) {
			w.manager.Take("d")
			w.leave("d")
			w.manager.Close()
			w.medium.sync()
			w.restart()
		}, "", false},
		{"promised, and the node died", func(w *world) {
			w.manager.Take("d")
			w.medium.sync()
			w.restart()
		}, "unknown", true},
		{"refused", func(w *world) {
			w.manager.Take("d")
			w.medium.sync()
			s, _ := w.manager.Take("d")
			w.manager.Refused(s, "no")
		}, "", false},
		{"in hand", func(w *world) {
			w.manager.Take("d")
			w.medium.sync()
			w.manager.Take("d")
		}, "unknown", true},
		{"in hand when the node died", func(w *world) {
			w.manager.Take("d")
			w.medium.sync()
			w.restart()
		}, "unknown", true},
		{"sent", func(w *world) { w.take() }, "unknown", true},
		{"sent and cut", func(w *world) { w.take(); w.leave("d") }, "unknown", true},
		{"sent, and the node died before it noted that", func(w *world) {
			w.manager.Take("d")
			w.medium.sync()
			s, _ := w.manager.Take("d")
			w.manager.Handed(s, "s1", 1)
			w.restart()
		}, "unknown", true},
	} {
		for _, how := range []string{"cancelled", "expired"} {
			t.Run(tt.name+" "+how, func(t *testing.T) {
				inWorld(t, Config{}, func(w *world) {
					c := w.create("m", hour)
					tt.before(w)
					if how == "expired" {
						time.Sleep(hour + time.Second)
					} else {
						go func() { _, _ = w.manager.Cancel(context.Background(), c.ID) }()
					}
					synctest.Wait()
					w.medium.sync()
					synctest.Wait()
					now, err := w.manager.Get(c.ID)
					if err != nil {
						t.Fatal(err)
					}
					want := tt.state
					if want == "" {
						want = how
					}
					expect(t, "state", now.State.String(), want)
					w.answer(c, "")
					w.answer(c, "busy")
					w.restart()
					now, _ = w.manager.Get(c.ID)
					expect(t, "state after an answer", now.State.String(), want)
					expect(t, "late", now.Late != nil, tt.late)
					if tt.late {
						expect(t, "the first answer", string(now.Late.Payload), "ok")
					}
					expect(t, "taken", w.take(), "")
				})
			})
		}
	}
}

// After a cut, and after a restart, what was not answered is sent again, first and in order, and says so.
func TestAgain(t *testing.T) {
	for name, cut := range map[string]func(*world){"cut": func(w *world) { w.leave("d") }, "restart": (*world).restart} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{InFlight: 2}, func(w *world) {
				a, b, c := w.create("a", hour), w.create("b", hour), w.create("c", hour)
				expect(t, "taken", w.take(), "a b")
				w.answer(a, "")
				cut(w)
				expect(t, "taken", w.take(), "b-again c")
				w.answer(c, "busy")
				cut(w)
				expect(t, "taken", w.take(), "b-again")
				w.answer(b, "")
				w.wants(a, "succeeded, attempts 1, ok")
				w.wants(b, "succeeded, attempts 3, ok")
				w.wants(c, "failed, attempts 1, okbusy")
				expect(t, "a repeated answer", w.answer(a, ""), false)
			})
		})
	}
}

// Commands leave in order, as many as may be in flight, and an exclusive one alone.
func TestOrder(t *testing.T) {
	inWorld(t, Config{InFlight: 2}, func(w *world) {
		a, b := w.create("a", hour), w.create("b", hour)
		x := w.create("x", hour, exclusive)
		c, d, e := w.create("c", hour), w.create("d", hour), w.create("e", hour)
		expect(t, "window", w.take(), "a b")
		w.answer(b, "")
		expect(t, "an exclusive one waits", w.take(), "")
		w.answer(a, "")
		expect(t, "alone", w.take(), "x")
		go func() { _, _ = w.manager.Cancel(context.Background(), x.ID) }()
		synctest.Wait()
		expect(t, "woken", w.wokenNow() != "", true)
		w.medium.sync()
		expect(t, "the next ones", w.take(), "c d")
		w.answer(c, "")
		w.answer(d, "")
		expect(t, "the last one", w.take(), "e")
		w.answer(e, "")
		w.wants(x, "unknown, attempts 1")
	})
}

// What a connection refuses holds up nothing, is no attempt, and is offered again when the device has subscribed, or comes
// again.
func TestRefused(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		a, b := w.create("a", hour, exclusive), w.create("b", hour)
		w.manager.Take("d")
		w.medium.sync()
		s, _ := w.manager.Take("d")
		w.manager.Refused(s, "not subscribed")
		w.medium.sync()
		w.wants(a, "queued, attempts 0, held: not subscribed")
		expect(t, "the next one", w.take(), "b")
		w.answer(b, "")
		expect(t, "refused", w.take(), "")
		expect(t, "reconsidered", w.manager.Reconsider("d"), true)
		expect(t, "reconsidered", w.take(), "a")
		expect(t, "nothing is refused", w.manager.Reconsider("d"), false)
		w.leave("d")
		s, _ = w.manager.Take("d")
		expect(t, "again", s.Again, true)
		w.manager.Refused(s, "too large")
		w.leave("d")
		w.medium.sync()
		w.wants(a, "sent, attempts 1")
		expect(t, "on the next connection", w.take(), "a-again")
	})
}

// What the loop of an older connection says changes nothing about the present one.
func TestOlderLoop(t *testing.T) {
	inWorld(t, Config{InFlight: 1}, func(w *world) {
		a, _ := w.create("a", hour), w.create("b", hour)
		w.manager.Take("d")
		w.medium.sync()
		old, _ := w.manager.Take("d")
		w.leave("d")
		s, ok := w.manager.Take("d")
		expect(t, "taken on the next connection", ok && s.Again, true)
		w.manager.Refused(old, "no")
		w.medium.sync()
		w.wants(a, "queued, attempts 0")
		expect(t, "still in flight", w.take(), "")
		w.manager.Handed(s, "s1", 1)
		w.medium.sync()
		w.wants(a, "sent, attempts 1")
	})
}

func TestIdempotency(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		first := w.begin(Request{Device: "d", Method: "m", Key: "k"}, hour)
		second := w.begin(Request{Device: "d", Method: "m", Key: "k"}, 2*hour)
		w.medium.sync()
		a, b := <-first, <-second
		expect(t, "the same", a.ID, b.ID)
		expect(t, "existed", a.existed || !b.existed, false)
		for _, r := range []Request{
			{Device: "e", Method: "m", Key: "k"}, {Device: "d", Method: "n", Key: "k"},
			{Device: "d", Method: "m", Key: "k", Payload: []byte("x")}, {Device: "d", Method: "m", Key: "k", Exclusive: true},
		} {
			if got := <-w.begin(r, hour); !errors.Is(got.err, ErrKeyUsed) {
				t.Errorf("%+v: %v", r, got.err)
			}
		}
		w.restart()
		again := w.begin(Request{Device: "d", Method: "m", Key: "k"}, hour)
		w.medium.sync()
		expect(t, "after a restart", (<-again).ID, a.ID)
		time.Sleep(hour + 24*hour + time.Second)
		w.medium.sync()
		expect(t, "a new one", w.create("other", hour, key("k")).ID != a.ID, true)
	})
}

// Who does not wait is answered once, when the command is safe, and without the manager's lock: then the device is woken, whose session may have asked
// for the lock.
func TestCreateThen(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		ask := func(r Request) chan error {
			answers := make(chan error, 2)
			w.manager.CreateThen(&r, hour, func(err error) {
				if !w.manager.mu.TryLock() {
					t.Error("answered with the lock")
				} else {
					w.manager.mu.Unlock()
				}
				answers <- err
			})
			return answers
		}
		one := Request{Device: "d", Method: "a", Key: "k"}
		first, again := ask(one), ask(one)
		expect(t, "answers before it is safe", len(first)+len(again), 0)
		expect(t, "woken before it is safe", w.wokenNow(), "")
		if err := <-ask(Request{Device: "d", Method: "b", Key: "k"}); !errors.Is(err, ErrKeyUsed) {
			t.Error(err)
		}
		w.medium.sync()
		expect(t, "answers", len(first)+len(again), 2)
		expect(t, "answer", errors.Join(<-first, <-again), nil)
		expect(t, "woken", w.wokenNow(), "d d")
		expect(t, "answer to what is safe", <-ask(one), nil)
		expect(t, "woken", w.wokenNow(), "d")
		other := ask(Request{Device: "d", Method: "b"})
		w.medium.pass(errDisk)
		if err := <-other; !errors.Is(err, ErrStore) || !errors.Is(err, errDisk) {
			t.Error(err)
		}
		w.medium.fail(errDisk)
		if err := <-ask(Request{Device: "d", Method: "c"}); !errors.Is(err, ErrStore) {
			t.Error(err)
		}
		expect(t, "woken for nothing", w.wokenNow(), "")
		expect(t, "created", w.manager.Stats().Created, 2)
		expect(t, "refused", w.manager.Stats().Refused, 3)
	})
}

func TestBounds(t *testing.T) {
	inWorld(t, Config{PerDevice: 2, Max: 3, MaxPayload: 10}, func(w *world) {
		a := w.create("a", hour)
		w.create("b", hour)
		if got := <-w.begin(Request{Device: "d", Method: "c"}, hour); !errors.Is(got.err, ErrDeviceFull) {
			t.Error(got.err)
		}
		w.create("c", hour, func(r *Request) { r.Device = "e" })
		if got := <-w.begin(Request{Device: "f", Method: "c"}, hour); !errors.Is(got.err, ErrFull) {
			t.Error(got.err)
		}
		w.take()
		w.manager.Answer("d", a.ID, make([]byte, 11), "text/"+strings.Repeat("x", 5000), wire.Error{})
		w.medium.sync()
		now, _ := w.manager.Get(a.ID)
		expect(t, "omitted", now.Answer.Omitted, 11)
		expect(t, "type", len(now.Answer.ContentType), maxText)
		s := w.manager.Stats()
		expect(t, "refused", s.Refused, 2)
		expect(t, "omitted", s.Omitted, 1)
		expect(t, "kept", s.States[Queued]+s.States[Sent]+s.States[Succeeded], 3)
	})
	inWorld(t, Config{MaxBytes: 3000}, func(w *world) {
		w.create("a", hour)
		w.create("b", hour)
		if got := <-w.begin(Request{Device: "d", Method: "c"}, hour); !errors.Is(got.err, ErrFull) {
			t.Error(got.err)
		}
	})
}

// Ended commands do not take the place of open ones: beyond their own bounds the oldest are forgotten, also after a restart.
func TestEndedGiveWay(t *testing.T) {
	for name, config := range map[string]Config{"number": {Max: 2, MaxEnded: 3}, "bytes": {MaxBytes: 3000, MaxEndedBytes: 4500}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, config, func(w *world) {
				waiting := w.create("waiting", 10*hour, func(r *Request) { r.Device = "other" })
				var all []uint64
				for n := range 6 {
					c := w.create("m", hour, key(fmt.Sprint(n)))
					all = append(all, c.ID)
					w.take()
					w.manager.Answer("d", c.ID, []byte("ok"), "", wire.Error{})
					w.medium.sync()
				}
				check := func(oldest int) {
					t.Helper()
					for n, id := range all {
						if _, err := w.manager.Get(id); (err == nil) != (n >= oldest) {
							t.Errorf("%d: %v", n, err)
						}
					}
					if _, err := w.manager.Get(waiting.ID); err != nil {
						t.Errorf("the open one: %v", err)
					}
				}
				check(3)
				s := w.manager.Stats()
				expect(t, "forgotten", s.Forgotten, 3)
				expect(t, "kept", s.States[Succeeded], 3)
				expect(t, "the key of one that is kept", w.create("m", hour, key("3")).ID, all[3])
				w.restart()
				check(3)
				expect(t, "bytes", w.manager.Stats().Kept, s.Kept)
			})
		})
	}
}

// A history is bounded, and keeps the beginning and the end.
func TestHistory(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		c := w.create("m", hour)
		for range 20 {
			w.take()
			w.leave("d")
		}
		w.medium.sync()
		w.restart()
		now, _ := w.manager.Get(c.ID)
		h := now.History
		expect(t, "events", len(h), maxHistory)
		expect(t, "first", fmt.Sprint(h[0].State, h[1].Attempt, h[2].Attempt), "queued 1 11")
		expect(t, "last", h[maxHistory-1].Attempt, 20)
		expect(t, "attempts", now.Attempts, 20)
	})
}

var errDisk = errors.New("no space left")

// While the store fails, nothing is created and nothing is sent; when it works again, all goes on, and nothing was told that
// was not safe.
func TestStoreFails(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		a := w.create("a", hour)
		got := w.begin(Request{Device: "d", Method: "b", Key: "k"}, hour)
		w.medium.pass(errDisk)
		if err := (<-got).err; !errors.Is(err, ErrStore) || !errors.Is(err, errDisk) {
			t.Error(err)
		}
		expect(t, "it is not kept", w.manager.keys["k"] == nil, true)
		w.medium.fail(errDisk)
		if got := <-w.begin(Request{Device: "d", Method: "c"}, hour); !errors.Is(got.err, ErrStore) {
			t.Error(got.err)
		}
		expect(t, "taken while it fails", w.take(), "")
		w.wokenNow()
		w.medium.fail(nil)
		time.Sleep(retryWait + time.Second)
		expect(t, "woken", w.wokenNow(), "d")
		expect(t, "taken", w.take(), "a")
		w.manager.Answer("d", a.ID, nil, "", wire.Error{})
		expect(t, "the fence of the answer", w.medium.pass(errDisk), true)
		w.wants(a, "sent, attempts 1")
		time.Sleep(retryWait + time.Second)
		w.medium.sync()
		w.wants(a, "succeeded, attempts 1, ")
		w.restart()
		w.wants(a, "succeeded, attempts 1, ")
		expect(t, "kept", w.manager.Stats().States[Queued], 0)
	})
}

// With a store in memory the same happens, at once.
func TestInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, medium: newMedium(), online: make(map[string]bool)}
		w.manager = Open(Config{}, store.NewMemory(store.Options{}), nil, nil)
		w.manager.Start(w)
		defer w.manager.Close()
		c := w.create("m", hour)
		expect(t, "taken", w.take(), "m")
		w.wants(c, "sent, attempts 1")
		expect(t, "awaited", w.answer(c, ""), true)
		w.wants(c, "succeeded, attempts 1, ok")
		d := w.create("m", hour)
		now, err := w.manager.Cancel(context.Background(), d.ID)
		if err != nil || now.State != Cancelled {
			t.Errorf("%+v, %v", now, err)
		}
	})
}

// What others say of a command changes nothing.
func TestAnswersThatAreNone(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		c := w.create("m", hour)
		expect(t, "before it was sent", w.answer(c, ""), false)
		w.take()
		expect(t, "of another device", w.manager.Answer("e", c.ID, nil, "", wire.Error{}), false)
		expect(t, "of no command", w.manager.Answer("d", c.ID+1, nil, "", wire.Error{}), false)
		w.wants(c, "sent, attempts 1")
	})
}

func TestList(t *testing.T) {
	inWorld(t, Config{PerDevice: 1000}, func(w *world) {
		on := func(device string) func(*Request) { return func(r *Request) { r.Device = device } }
		for i := range 600 {
			w.create(fmt.Sprint(i), hour, on([]string{"a", "b", "c"}[i%3]))
		}
		one := w.create("one", hour)
		w.take()
		pages := func(p Page) (n, rounds int) {
			for {
				list, next, err := w.manager.List(context.Background(), p)
				if err != nil {
					t.Fatal(err)
				}
				n, rounds = n+len(list), rounds+1
				if p.After = next; next == (Position{}) {
					return n, rounds
				}
			}
		}
		for _, tt := range []struct {
			page      Page
			n, rounds int
		}{
			{Page{Limit: 1000}, 601, 1},
			{Page{Limit: 100}, 601, 7},
			{Page{Device: "b", Limit: 100}, 200, 2},
			{Page{Device: "nobody", Limit: 100}, 0, 1},
			{Page{State: Sent, Limit: 100}, 1, 1},
			{Page{State: Failed, Limit: 100}, 0, 1},
		} {
			if n, rounds := pages(tt.page); n != tt.n || rounds != tt.rounds {
				t.Errorf("%+v: %d in %d pages, want %d in %d", tt.page, n, rounds, tt.n, tt.rounds)
			}
		}
		list, _, _ := w.manager.List(context.Background(), Page{State: Sent, Limit: 1})
		expect(t, "found", list[0].ID, one.ID)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := w.manager.List(ctx, Page{State: Failed, Limit: 1}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A watcher sees each command's last state, in the order of the changes, and goes on from a place, also after a restart.
func TestChanged(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		var place uint64
		see := func(device string) string {
			var all []string
			for more := true; more; {
				var list []*Command
				list, place, more = w.manager.Changed(device, AnyState, place, 1)
				for _, c := range list {
					all = append(all, c.Method+" "+c.State.String())
				}
			}
			return strings.Join(all, ", ")
		}
		a := w.create("a", hour)
		w.create("b", hour, func(r *Request) { r.Device = "e" })
		expect(t, "all", see(""), "a queued, b queued")
		w.manager.Take("d") // promises, which backends do not see
		w.medium.sync()
		expect(t, "a promise", see(""), "")
		waited := make(chan error)
		go func() { waited <- w.manager.Wait(context.Background(), place) }()
		synctest.Wait()
		w.take()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		w.answer(a, "")
		expect(t, "only the last state", see(""), "a succeeded")
		w.restart()
		expect(t, "nothing new", see(""), "")
		w.create("c", hour)
		expect(t, "after a restart", see(""), "c queued")
		place = 0
		expect(t, "of one device", see("e"), "b queued")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.manager.Wait(ctx, place+1_000_000); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// What cannot be read in the store is counted, and the rest is there.
func TestRestoreWhatIsSpoilt(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		a, b, c := w.create("a", hour), w.create("b", hour), w.create("c", hour)
		w.medium.safe[keyOf(a.ID, lifeWord)] = []byte{recordVersion, 0xff}
		delete(w.medium.safe, keyOf(b.ID, requestWord))
		w.medium.safe["nonsense"] = nil
		w.medium.safe[keyOf(c.ID+1, requestWord)] = w.medium.safe[keyOf(c.ID, requestWord)] // the node died before it was created
		w.restart()
		w.wants(a, "forgotten")
		w.wants(b, "forgotten")
		w.wants(c, "queued, attempts 0")
		expect(t, "lost", w.manager.Stats().Lost, 3)
	})
}

func TestRecord(t *testing.T) {
	r := &Request{Device: "d", Method: "m", Payload: []byte("p"), ContentType: "t", Key: "k", Exclusive: true, Created: 1, Expires: 2}
	got, err := parseRequest(appendRequest(nil, r))
	if err != nil || !got.same(r) || got.Key != r.Key || got.Created != 1 || got.Expires != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	c := &Command{Status: Status{State: Unknown, attempt: possible, late: true}, Place: 5, Attempts: 2, Ended: 9,
		Answer: &Answer{Payload: []byte("x"), ContentType: "t", Time: 3}, Late: &Answer{Err: wire.Error{Code: "c", Reason: "r"}, Time: 4, Omitted: 7},
		History: []Event{{State: Queued, Time: 1}, {State: Sent, Time: 2, Attempt: 1, Session: "s", Since: 6}}}
	first := appendLife(nil, c)
	life, err := parseLife(first)
	if err != nil || !bytes.Equal(appendLife(nil, life), first) || life.State != Unknown || !life.late || !life.mayBeAtDevice() {
		t.Errorf("%+v, %v", life, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRequest(nil, &Request{Device: "d", Method: "m", Payload: []byte("p")}))
	f.Add(appendLife(nil, &Command{Status: Status{State: Sent}, History: []Event{{State: Queued}}, Answer: &Answer{}}))
	f.Fuzz(func(t *testing.T, p []byte) {
		if r, err := parseRequest(p); err == nil {
			again, err := parseRequest(appendRequest(nil, r))
			if err != nil || !again.same(r) {
				t.Errorf("%+v became %+v, %v", r, again, err)
			}
		}
		if c, err := parseLife(p); err == nil {
			first := appendLife(nil, c)
			again, err := parseLife(first)
			if err != nil || !bytes.Equal(appendLife(nil, again), first) {
				t.Errorf("%+v became %+v, %v", c, again, err)
			}
		}
	})
}

// A device may connect and leave with many open commands at little cost.
func BenchmarkTake(b *testing.B) {
	m := Open(Config{PerDevice: 100}, store.NewMemory(store.Options{}), nil, nil)
	m.Start(&world{})
	defer m.Close()
	for range 100 {
		if _, _, err := m.Create(b.Context(), &Request{Device: "d", Method: "m"}, hour); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for {
			s, ok := m.Take("d")
			if !ok {
				break
			}
			m.Handed(s, "s", 1)
		}
		m.Cut("d")
	}
}

// Backends that do not wait for the store, while that hangs or fails, leave a bounded number of requests behind.
func TestRequestsThatAreNotWaitedFor(t *testing.T) {
	inWorld(t, Config{}, func(w *world) {
		a, open := w.create("a", hour, key("k")), w.create("b", hour)
		left, cancel := context.WithCancel(context.Background())
		cancel()
		unsafe := func() (changes, waiting int) {
			w.manager.mu.Lock()
			defer w.manager.mu.Unlock()
			return len(w.manager.unsafe), w.manager.waiting
		}
		again := &Request{Device: "d", Method: "a", Payload: []byte("p"), Key: "k"}
		for range 3 * mostWaiting { // of what is safe already
			if _, _, err := w.manager.Create(left, again, hour); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		changes, waiting := unsafe()
		expect(t, "wait for what is safe", changes+waiting, 0)
		var last error
		for range 3 * mostWaiting { // the fence of the first one does not pass
			_, last = w.manager.Cancel(left, a.ID)
		}
		expect(t, "the last is refused", errors.Is(last, ErrBusy), true)
		_, waiting = unsafe()
		expect(t, "wait for what is not safe", waiting, mostWaiting)
		_, last = w.manager.Cancel(left, open.ID)
		expect(t, "one that is open is refused", errors.Is(last, ErrBusy), true)
		for range 5 {
			w.medium.pass(errDisk)
			time.Sleep(retryWait + time.Second)
		}
		changes, waiting = unsafe()
		expect(t, "kept after failures", changes+waiting, 0) // it is with the fence
		w.medium.sync()
		w.wants(a, "cancelled, attempts 0")
		w.wants(open, "queued, attempts 0")
	})
}
