package ledger

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a receiver that a test changes.
type source struct {
	mu      sync.Mutex
	account Receiver
	sums    int
	slow    time.Duration
}

func (s *source) add(ctx context.Context, n *Node) error {
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums++
	n.AddReceiver("test", &s.account)
	return nil
}

func (s *source) set(r Receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account = r
}

// disk is what outlives a Keeper.
type disk struct {
	mu     sync.Mutex
	value  []byte
	writes int
}

func (d *disk) save(v []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.value, d.writes = slices.Clone(v), d.writes+1
}

func (d *disk) start(s *source) *Keeper {
	return Start(Options{Sources: []func(context.Context, *Node) error{s.add}, Saved: d.value, Save: d.save, Log: slog.New(slog.DiscardHandler)})
}

func sumOf(t *testing.T, k *Keeper) *Node {
	t.Helper()
	n, err := k.Sum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !n.Balances() {
		t.Errorf("%v do not balance", n.Unbalanced())
	}
	return n
}

// A life saves its ledger once a while if it has changed, and at its end; the next life goes on from there.
func TestKeeperSavesItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		s := new(source)
		k := d.start(s)
		s.set(Receiver{Taken: 5, Acknowledged: 2, Waiting: 3})
		time.Sleep(10 * every)
		synctest.Wait()
		if d.writes != 2 {
			t.Errorf("%d writes, want one at the start and one of the change", d.writes)
		}
		s.set(Receiver{Taken: 7, Acknowledged: 6, Waiting: 1})
		k.Close()

		s.set(Receiver{Found: 1, Waiting: 1})
		k = d.start(s)
		e := sumOf(t, k).Earlier
		if e.Lives != 1 || e.Killed != 0 || e.Unknown != 0 || e.Receivers.Taken != 7 || e.Carried != 1 {
			t.Errorf("after an end in order: %+v", e)
		}
		saved := time.Now()
		s.set(Receiver{Found: 1, Taken: 50, Acknowledged: 50, Waiting: 1})
		killed := &disk{value: d.value}
		k.Close() // too late: the process was killed
		time.Sleep(time.Second)

		s.set(Receiver{Found: 4, Waiting: 4})
		k = killed.start(s)
		defer k.Close()
		e = sumOf(t, k).Earlier
		if e.Lives != 2 || e.Killed != 1 || e.Unknown != -3 || e.Receivers.Taken != 7 || e.Carried != 4 {
			t.Errorf("after a kill: %+v", e)
		}
		if len(e.Gaps) != 1 || !e.Gaps[0].From.Equal(saved) || !e.Gaps[0].To.Equal(saved.Add(time.Second)) {
			t.Errorf("gaps %v, want one from %v", e.Gaps, saved)
		}
	})
}

// What waits for a node that has no ledger yet, or one that it cannot read, is not explained by guesses.
func TestKeeperBeginsAnew(t *testing.T) {
	for _, value := range []string{"", "{", `{"version":99}`} {
		synctest.Test(t, func(t *testing.T) {
			s := &source{account: Receiver{Found: 2, Waiting: 2}}
			k := (&disk{value: []byte(value)}).start(s)
			defer k.Close()
			if e := sumOf(t, k).Earlier; e.Lives != 0 || e.Unknown != -2 || e.Carried != 2 {
				t.Errorf("%q: %+v", value, e)
			}
		})
	}
	k := Start(Options{})
	defer k.Close()
	if n := sumOf(t, k); n.Earlier != nil {
		t.Errorf("a node that keeps nothing has earlier lives: %+v", n.Earlier)
	}
}

// Callers that come while a sum is made share the next one, and one that does not wait any more gets its error.
func TestKeeperShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		k := (&disk{}).start(s)
		defer k.Close()
		s.slow, s.sums = time.Second, 0
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() { sumOf(t, k) })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := k.Sum(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
		for range 20 {
			callers.Go(func() { sumOf(t, k) })
		}
		callers.Wait()
		if s.sums > 3 {
			t.Errorf("40 callers caused %d sums", s.sums)
		}
	})
}

// The accounts of receivers that have ended stay in the sum of their kind.
func TestBook(t *testing.T) {
	var b Book
	one, two := &fixed{Taken: 1, Delivered: 1}, &fixed{Taken: 2, Waiting: 2}
	b.Open("streams", one)
	b.Open("backends", two)
	b.Close(one)
	b.Close(one)
	n := new(Node)
	b.AddTo(n)
	if len(n.Receivers) != 2 || n.Receivers[0].Kind != "backends" || n.Received().Taken != 3 || n.Received().Waiting != 2 || !n.Balances() {
		t.Errorf("%+v", n)
	}
	two.Waiting = 0
	n = new(Node)
	if b.AddTo(n); !slices.Equal(n.Unbalanced(), []string{"backends"}) {
		t.Errorf("%v do not balance", n.Unbalanced())
	}
}

type fixed Receiver

func (f *fixed) Ledger() (r Receiver) {
	r.Add((*Receiver)(f))
	return r
}
