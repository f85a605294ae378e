package limit

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// door records which connections were accepted, and when.
type door struct {
	t     *testing.T
	rate  *Rate
	begin time.Time

	mu   sync.Mutex
	came []string
	at   []time.Duration
}

// open returns a door in a synctest bubble, whose clock advances only when all goroutines wait.
func open(t *testing.T, c RateConfig) *door {
	return &door{t: t, rate: NewRate(c.WithDefaults()), begin: time.Now()}
}

// enter asks for a turn for who, and fails the test if it is refused.
func (d *door) enter(class Class, who string) *Place {
	d.t.Helper()
	come := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.came, d.at = append(d.came, who), append(d.at, time.Since(d.begin))
	}
	p, err := d.rate.Enter(class, come)
	if err != nil {
		d.t.Fatalf("%s: %v", who, err)
	}
	if p == nil {
		come()
	}
	return p
}

// expect lets time pass and checks that these were accepted meanwhile.
func (d *door) expect(who ...string) {
	d.t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.came, who) {
		d.t.Errorf("came %q, want %q", d.came, who)
	}
}

func TestRatePaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 10, Burst: 2})
		for _, who := range []string{"a", "b", "c", "d"} {
			d.enter(New, who)
		}
		d.expect("a", "b", "c", "d")
		want := []time.Duration{0, 0, 100 * time.Millisecond, 200 * time.Millisecond}
		if !slices.Equal(d.at, want) {
			t.Errorf("came at %v, want %v", d.at, want)
		}
		if s := d.rate.Stats(); s.AtOnce != 2 || s.Late != 2 || s.Waiting != [classes]int{} {
			t.Errorf("%+v", s)
		}
	})
}

func TestRateTakesResumedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 1, Burst: 1})
		d.enter(New, "first")
		d.enter(New, "new 1")
		d.enter(New, "new 2")
		d.enter(Resumed, "resumed 1")
		d.enter(Resumed, "resumed 2")
		if w := d.rate.Stats().Waiting; w[Resumed] != 2 || w[New] != 2 {
			t.Errorf("%v wait", w)
		}
		d.expect("first", "resumed 1", "resumed 2", "new 1", "new 2")
	})
}

// No connection overtakes those in the line, not even at the moment at which the bucket fills.
func TestRateKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 1, Burst: 1})
		d.enter(Resumed, "a")
		d.enter(Resumed, "b")
		d.rate.timer.Stop() // as if it fired late
		time.Sleep(time.Second)
		d.enter(Resumed, "c")
		d.rate.call()
		d.expect("a", "b", "c")
	})
}

func TestRateLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 1, Burst: 1})
		d.enter(New, "a")
		gone := d.enter(New, "gone")
		b := d.enter(New, "b")
		gone.Leave()
		gone.Leave()
		d.expect("a", "b")
		if d.at[1] != time.Second {
			t.Errorf("b came at %v: who left took a turn", d.at[1])
		}
		b.Leave() // after its turn
		if s := d.rate.Stats(); s.Left != 1 || s.Late != 1 {
			t.Errorf("%+v", s)
		}
		d.enter(New, "c") // an empty line delays nobody
		alone := d.enter(New, "alone")
		alone.Leave()
		d.enter(New, "d")
		d.expect("a", "b", "c", "d")
	})
}

func TestRateUnlimited(t *testing.T) {
	r := NewRate(RateConfig{}.WithDefaults())
	for range 1000 {
		if p, err := r.Enter(New, nil); p != nil || err != nil {
			t.Fatal(p, err)
		}
	}
}

// retry asks for a turn that must be refused.
func (d *door) retry(class Class) time.Duration {
	d.t.Helper()
	_, err := d.rate.Enter(class, func() { d.t.Error("the refused was called") })
	var busy *Busy
	if !errors.As(err, &busy) {
		d.t.Fatalf("not refused: %v", err)
	}
	return busy.RetryAfter
}

func TestRateLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 1, Burst: 1, Line: 4})
		d.enter(New, "a")
		d.enter(New, "b")
		d.enter(New, "c")
		d.retry(New) // half of the line
		d.enter(Resumed, "d")
		d.enter(Resumed, "e")
		d.retry(Resumed)
		if s := d.rate.Stats(); s.SentAway != 2 {
			t.Errorf("%+v", s)
		}
		d.expect("a", "d", "e", "b", "c")
	})
}

func TestRetryAfterGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 10, Burst: 1, Line: 40, MaxRetry: time.Minute})
		for range 41 {
			d.enter(Resumed, "x")
		}
		// The line takes 4 s; each refused connection is promised a turn a tenth of a second later.
		for i := range 1000 {
			exact := min(4*time.Second+time.Duration(i+1)*100*time.Millisecond, time.Minute)
			if got := d.retry(Resumed); got < exact*3/4 || got > exact {
				t.Fatalf("the %dth is told %v, not a quarter or less below %v", i, got, exact)
			}
		}
		time.Sleep(50 * time.Second) // the line is empty again
		for range 41 {
			d.enter(New, "y")
			if d.rate.Stats().Waiting[New] == 20 {
				break
			}
		}
		if got := d.retry(New); got < 7*time.Second || got > 11*time.Second {
			t.Errorf("after 50 s of the minute that was promised: %v", got)
		}
	})
}

func TestRetryAfterIsASecondAtLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, RateConfig{PerSecond: 1000, Burst: 1, Line: 1})
		d.enter(Resumed, "a")
		d.enter(Resumed, "b")
		for range 100 {
			if got := d.retry(Resumed); got != time.Second {
				t.Fatal(got)
			}
		}
	})
}

// Every turn is given once, whatever the order of entering and leaving.
func TestRateUnderRace(t *testing.T) {
	r := NewRate(RateConfig{PerSecond: 100_000, Burst: 1, Line: 1000}.WithDefaults())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				called := make(chan struct{})
				p, err := r.Enter(Class(i%2), func() { close(called) }) // twice would panic
				if err != nil || p == nil {
					continue
				}
				if i%4 == 0 {
					p.Leave()
					continue
				}
				<-called
			}
		})
	}
	all.Wait()
	if s := r.Stats(); s.AtOnce+s.Late+s.Left+s.SentAway != 1600 {
		t.Errorf("%+v are not 1600", s)
	}
}
