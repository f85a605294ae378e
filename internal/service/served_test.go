package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serving is a served service with what its devices were told.
type serving struct {
	*Served
	t    *testing.T
	next uint64

	mu      sync.Mutex
	replies map[uint64]*Reply
}

func newServing(t *testing.T, c Config) *serving {
	c.Serve = true
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return &serving{Served: newServed(c), t: t, replies: make(map[uint64]*Reply)}
}

// call begins a call that waits for a minute.
func (s *serving) call(method string) (id uint64, cancel func()) {
	s.next++
	id = s.next
	cancel = s.begin(&Call{Device: "d", Method: method, ID: id, Payload: []byte("1234")}, time.Minute, func(r *Reply) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.replies[id] != nil {
			s.t.Errorf("call %d was answered twice", id)
		}
		s.replies[id] = r
		s.info() // no lock is held
	})
	return id, cancel
}

func (s *serving) calls(n int) (last uint64) {
	for range n {
		last, _ = s.call("m")
	}
	return last
}

// told returns what the device of a call was told: "" as long as it waits, the payload, or the code of the refusal.
func (s *serving) told(id uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r := s.replies[id]; {
	case r == nil:
		return ""
	case r.Err.Code != "":
		return r.Err.Code
	default:
		return string(r.Payload)
	}
}

func (s *serving) want(id uint64, want string) {
	s.t.Helper()
	if got := s.told(id); got != want {
		s.t.Errorf("the device of call %d was told %q, want %q", id, got, want)
	}
}

func (s *serving) join(room int) *Backend {
	s.t.Helper()
	b, err := s.Join("b", room)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// take returns the ids of the calls that b can take at once.
func (s *serving) take(b *Backend) (ids []uint64) {
	calls, _ := b.taken(1000, 1<<20)
	for _, w := range calls {
		ids = append(ids, w.Call.ID)
	}
	return ids
}

func (s *serving) wantTaken(b *Backend, want ...uint64) {
	s.t.Helper()
	if got := s.take(b); !slices.Equal(got, want) {
		s.t.Errorf("the backend got %v, want %v", got, want)
	}
}

func (s *serving) answer(b *Backend, id uint64) {
	s.t.Helper()
	if err := b.Answer(id, &Reply{Payload: fmt.Append(nil, "answer ", id)}); err != nil {
		s.t.Errorf("answer to %d: %v", id, err)
	}
	s.want(id, fmt.Sprint("answer ", id))
}

func TestServedCallsGoToTheBackendWithTheMostRoom(t *testing.T) {
	s := newServing(t, Config{})
	small, large := s.join(1), s.join(4)
	s.calls(5)
	if got := s.take(small); len(got) != 1 {
		t.Errorf("the one with room for one got %v", got)
	}
	if got := s.take(large); len(got) != 4 {
		t.Errorf("the one with room for four got %v", got)
	}
	waits := s.calls(1)
	s.answer(large, s.busiest(large))
	s.wantTaken(large, waits)
	s.answer(large, waits)
}

func (s *Served) info() (i Info) {
	s.describe(&i)
	return i
}

// busiest returns a call that b has.
func (s *serving) busiest(b *Backend) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range b.open {
		return id
	}
	return 0
}

func TestServedEqualBackendsTakeTurns(t *testing.T) {
	s := newServing(t, Config{})
	a, b := s.join(8), s.join(8)
	got := make(map[*Backend]int)
	for range 8 {
		id := s.calls(1)
		for _, x := range []*Backend{a, b} {
			if len(s.take(x)) > 0 {
				got[x]++
				s.answer(x, id)
			}
		}
	}
	if got[a] != 4 || got[b] != 4 {
		t.Errorf("one got %d, the other %d calls", got[a], got[b])
	}
}

func TestServedLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{Waiting: 3, Concurrency: 2})
		s.calls(3)
		s.want(s.calls(1), Unavailable) // the line is full, and nobody serves
		b := s.join(10)
		s.wantTaken(b, 1, 2) // in order, as many as may be under way
		s.calls(2)
		s.want(s.calls(1), Busy)
		s.answer(b, 1)
		s.wantTaken(b, 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.want(2, Timeout) // it was sent
		s.want(3, Timeout)
		s.want(5, Busy) // it was not sent
		if i := s.info(); i.Waiting != 0 || i.Backends[0].UnderWay != 0 || i.Backends[0].Late == 0 {
			t.Errorf("%+v is left", i)
		}
	})
}

func TestServedNobodyServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{})
		late, early := s.calls(1), s.calls(1)
		time.Sleep(59 * time.Second)
		s.want(early, "")
		time.Sleep(time.Second)
		synctest.Wait()
		s.want(late, Unavailable)
		s.want(early, Unavailable)
	})
}

func TestServedBackendLeaves(t *testing.T) {
	s := newServing(t, Config{Idempotent: []string{"read"}, Retries: 1})
	a := s.join(10)
	done, _ := s.call("pay")
	read, _ := s.call("read")
	s.wantTaken(a, done, read)
	unsent, _ := s.call("pay")
	b := s.join(1)
	a.Leave()
	s.want(done, Failed) // it may have been done
	s.want(read, "")
	calls, _ := b.taken(10, 1000)
	if len(calls) != 1 || calls[0].Call.ID != read || !calls[0].Again {
		t.Fatalf("the other backend got %+v", calls)
	}
	if err := a.Answer(read, new(Reply)); !errors.Is(err, ErrNoCall) {
		t.Errorf("an answer of a backend that has left: %v", err)
	}
	s.answer(b, read)
	s.wantTaken(b, unsent)
	s.answer(b, unsent)
	a.Leave()
	if s.sent != 0 || s.line.Len() != 0 {
		t.Errorf("%+v is left", s.info())
	}
}

func TestServedRepeatsAreBounded(t *testing.T) {
	s := newServing(t, Config{Idempotent: []string{anyMethod}, Retries: 2})
	id := s.calls(1)
	for n := range 3 {
		s.want(id, "")
		b := s.join(1)
		calls, _ := b.taken(1, 1)
		if len(calls) != 1 || calls[0].Again != (n > 0) {
			t.Fatalf("backend %d got %+v", n, calls)
		}
		b.Leave()
	}
	s.want(id, Failed)
}

var errAny = errors.New("any error")

func TestServedAnswersCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{MaxAnswer: 10})
		a, b := s.join(10), s.join(10)
		id, cancel := s.call("m")
		got, other := a, b
		if s.served(b, id) {
			got, other = b, a
		}
		refused := func(b *Backend, why string) {
			t.Helper()
			if err := b.Answer(id, &Reply{Payload: []byte("x")}); !errors.Is(err, ErrNoCall) {
				t.Errorf("%s: %v", why, err)
			}
		}
		refused(got, "the call is not sent")
		s.wantTaken(got, id)
		refused(other, "another backend has the call")
		cancel()
		s.want(id, Canceled)
		refused(got, "the call is over")
		if _, ended := got.taken(1, 1); len(ended) != 1 || ended[0] != (Ended{id, Canceled}) {
			t.Errorf("ended: %v", ended)
		}
		cancel()
		time.Sleep(time.Hour)
		synctest.Wait()

		for _, c := range []struct {
			reply Reply
			err   error
			told  string
		}{
			{Reply{Payload: []byte("12345678901")}, ErrTooLarge, TooLarge},
			{Reply{ContentType: strings.Repeat("x", 257)}, errAny, InvalidAnswer},
			{Reply{ContentType: "text/plain\r\nx"}, errAny, InvalidAnswer},
			{Reply{Payload: []byte("no"), Err: Refusal{Code: "No Money"}}, nil, Failed},
			{Reply{Err: Refusal{Code: "no_money"}}, nil, "no_money"},
		} {
			id := s.calls(1)
			x := a
			if s.served(b, id) {
				x = b
			}
			s.wantTaken(x, id)
			if err := x.Answer(id, &c.reply); !errors.Is(err, c.err) && (!errors.Is(c.err, errAny) || err == nil) {
				t.Errorf("%+v: %v", c.reply, err)
			}
			s.want(id, c.told)
		}
	})
}

// served reports whether b has a call.
func (s *serving) served(b *Backend, id uint64) bool {
	s.Served.mu.Lock()
	defer s.Served.mu.Unlock()
	return b.open[id] != nil
}

func TestServedBackendThatDoesNotAnswerGetsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServing(t, Config{EjectAfter: 2, EjectFor: 10 * time.Minute})
		dead, alive := s.join(4), s.join(4)
		lost := 0
		for range 20 {
			id := s.calls(1)
			s.take(dead)
			if len(s.take(alive)) > 0 {
				s.answer(alive, id)
				continue
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			s.want(id, Timeout)
			lost++
		}
		if lost != 2 {
			t.Errorf("%d calls were lost, want 2", lost)
		}
		s.calls(8) // it gets one when nobody else has room, and more once it answers
		got := s.take(dead)
		if len(got) != 1 {
			t.Fatalf("it got %v", got)
		}
		s.answer(dead, got[0])
		if got = s.take(dead); len(got) != 3 {
			t.Errorf("then it got %v", got)
		}
		for id := range dead.open {
			s.answer(dead, id)
		}
		alive.Leave()
		dead.Leave()
	})
}

func TestServedTake(t *testing.T) {
	s := newServing(t, Config{})
	b := s.join(10)
	type result struct {
		calls []Work
		err   error
	}
	results := make(chan result)
	take := func(ctx context.Context) {
		go func() {
			calls, _, err := b.Take(ctx, 2, 9)
			results <- result{calls, err}
		}()
	}
	take(t.Context())
	s.calls(1)
	if r := <-results; r.err != nil || len(r.calls) != 1 || r.calls[0].Left <= 0 {
		t.Errorf("Take returned %+v", r)
	}
	s.calls(5)
	for _, want := range []int{2, 2, 1} { // by count, and by size
		take(t.Context())
		if r := <-results; len(r.calls) != want {
			t.Errorf("Take returned %d calls, want %d", len(r.calls), want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	take(ctx)
	cancel()
	if r := <-results; !errors.Is(r.err, context.Canceled) {
		t.Errorf("Take returned %+v", r)
	}
}

func TestServedClose(t *testing.T) {
	s := newServing(t, Config{})
	b := s.join(1)
	s.calls(2)
	s.wantTaken(b, 1)
	s.close()
	s.want(2, Unavailable)
	s.want(s.calls(1), Unavailable)
	s.answer(b, 1)
	if _, err := s.Join("", 1); !errors.Is(err, ErrServedClosed) {
		t.Errorf("Join: %v", err)
	}
}

func TestServedFind(t *testing.T) {
	s := newServing(t, Config{})
	a, b := s.join(1), s.join(1)
	if s.Find(a.Key()) != a || s.Find(b.Key()) != b || s.Find("") != nil {
		t.Error("a backend is not found by its key")
	}
	a.Leave()
	if s.Find(a.Key()) != nil {
		t.Error("a backend that has left is found")
	}
	for range maxBackends - 1 {
		s.join(1)
	}
	if _, err := s.Join("", 1); !errors.Is(err, ErrBackends) {
		t.Errorf("one backend too many: %v", err)
	}
}

// TestServedStress has devices, backends that come and go, and answers at the same time: each call is answered once.
func TestServedStress(t *testing.T) {
	c := Config{Serve: true, Idempotent: []string{"read"}, Waiting: 100}.WithDefaults()
	s := newServed(c)
	var devices, backends sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		backends.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				b, err := s.Join("", 1+n%8)
				if err != nil {
					t.Error(err)
					return
				}
				for range 50 {
					calls, _, err := b.Take(ctx, 3, 100)
					for i, w := range calls {
						if i < 2 { // some are never answered
							_ = b.Answer(w.Call.ID, &Reply{Payload: []byte(w.Call.Device)}) // it may be over
						}
					}
					if err != nil {
						break
					}
				}
				b.Leave()
			}
		})
	}
	for d := range 8 {
		devices.Go(func() {
			device := fmt.Sprint(d)
			for n := range 500 {
				told := make(chan *Reply, 2)
				id := uint64(n*8 + d)
				cancel := s.begin(&Call{Device: device, Method: []string{"read", "pay"}[n%2], ID: id}, 20*time.Millisecond, func(r *Reply) { told <- r })
				if n%7 == 0 {
					cancel()
				}
				r := <-told
				if r.Err.Code == "" && string(r.Payload) != device {
					t.Errorf("device %s got the answer of %s", device, r.Payload)
				}
				cancel()
				if len(told) > 0 {
					t.Error("a call was answered twice")
				}
			}
		})
	}
	devices.Wait()
	stop()
	backends.Wait()
	if i := s.info(); s.sent != 0 || i.Waiting != 0 || len(i.Backends) != 0 {
		t.Errorf("%+v is left", i)
	}
}
