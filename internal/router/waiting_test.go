package router

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
)

// waits is the publication of a message that may wait so long, 0 for ever.
func waits(wait time.Duration) *Publication { return &Publication{wait: wait} }

// A line that fills and empties has one timer, which is stopped while it is empty.
func TestWaitingHasOneTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		w := newRouter().NewWaiting(func() { calls++ })
		for range 100 {
			w.Add(&message.Message{}, 1, waits(time.Second))
			w.Admit(nil, func(Held) error { return nil })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls != 0 {
			t.Errorf("late was called %d times for nobody", calls)
		}
	})
}

// late is a receiver that has no room, and notes how long after the beginning messages are overdue.
type late struct {
	*Waiting
	begin time.Time
	mu    sync.Mutex
	after []time.Duration
}

// newLate begins now.
func newLate() *late {
	r := &late{begin: time.Now()}
	r.Waiting = newRouter().NewWaiting(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for range r.Overdue(time.Now()) {
			r.after = append(r.after, time.Since(r.begin))
		}
	})
	return r
}

// Each is overdue at its own deadline, also when those before it left.
func TestWaitingOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLate()
		r.mu.Lock()
		for i := range 4 {
			r.Add(&message.Message{}, 1, waits(time.Duration(i+1)*time.Second))
		}
		first := true
		r.Admit(nil, func(Held) error {
			if first {
				first = false
				return nil
			}
			return ErrFull
		})
		r.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.after) != 3 || r.after[0] != 2*time.Second || r.after[2] != 4*time.Second {
			t.Errorf("overdue after %v", r.after)
		}
		if r.Len() != 0 {
			t.Errorf("%d are left", r.Len())
		}
	})
}

// A long line is not looked through for each deadline in it.
func TestWaitingOverdueInGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *Waiting
		var mu sync.Mutex // the receiver's
		looks := 0
		w = newRouter().NewWaiting(func() {
			mu.Lock()
			defer mu.Unlock()
			looks++
			now := time.Now()
			for _, claim := range w.Overdue(now) {
				if by := now.Sub(claim.Deadline); by < 0 || by > overduePause {
					t.Errorf("refused %v after the deadline", by)
				}
			}
		})
		mu.Lock()
		for i := range 10_000 {
			w.Add(&message.Message{}, 1, waits(time.Second+time.Duration(i)*100*time.Microsecond))
		}
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.Len() != 0 || looks > int(time.Second/overduePause)+1 {
			t.Errorf("%d wait after %d looks", w.Len(), looks)
		}
	})
}

// A patient one has no deadline, and those behind it keep theirs.
func TestWaitingPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan bool, 1)
		w := newRouter().NewWaiting(func() { late <- true })
		patient, timed, last := waits(0), waits(time.Second), waits(0)
		for _, p := range []*Publication{patient, timed, last} {
			w.Add(&message.Message{}, 1, p)
		}
		<-late
		if got := w.Overdue(time.Now()); len(got) != 1 || got[0] != timed.claim {
			t.Errorf("late are %v", got)
		}
		if got := w.Take(3); len(got) != 2 || got[0].Claim != patient.claim || got[1].Claim != last.claim {
			t.Errorf("%v wait", got)
		}
	})
}

// One that joins with a deadline before that of others, because it waited elsewhere, keeps it.
func TestWaitingOverdueOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLate()
		r.mu.Lock()
		for _, seconds := range []time.Duration{10, 2, 4, 1} {
			r.Add(&message.Message{}, 1, waits(seconds*time.Second))
		}
		r.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 10 * time.Second}
		if !slices.Equal(r.after, want) {
			t.Errorf("overdue after %v, want %v", r.after, want)
		}
	})
}

// What comes when the line is too long does not join it, and what leaves makes room, by
// whatever way.
func TestWaitingBounds(t *testing.T) {
	m := func(payload string) *message.Message {
		return &message.Message{Payload: []byte(payload), Delivery: &message.Delivery{Share: "s"}}
	}
	for name, test := range map[string]struct {
		config WaitingConfig
		joins  []string
		joined []bool
	}{
		"messages":    {WaitingConfig{Messages: 2}, []string{"", "", ""}, []bool{true, true, false}},
		"bytes":       {WaitingConfig{Bytes: 4}, []string{"12", "123", "12", ""}, []bool{true, false, true, true}},
		"one of any":  {WaitingConfig{Bytes: 4}, []string{"12345", ""}, []bool{true, false}},
		"the default": {WaitingConfig{}, []string{"", string(make([]byte, 64<<20)), "1"}, []bool{true, true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(Config{Waiting: test.config}, nil).NewWaiting(func() {})
			for how, leave := range map[string]func(){
				"admitted": func() { w.Admit(nil, func(Held) error { return nil }) },
				"taken":    func() { w.Take(9) },
				"overdue":  func() { w.Overdue(time.Now().Add(time.Hour)) },
				"given":    func() { w.Admit(nil, func(Held) error { return ErrGiven }) },
			} {
				for i, payload := range test.joins {
					if got := w.Add(m(payload), 1, waits(time.Minute)); got != test.joined[i] {
						t.Errorf("before being %s, %d joined: %t", how, i, got)
					}
				}
				leave()
				if w.Len() != 0 || w.bytes != 0 {
					t.Errorf("after being %s, %d messages and %d bytes are left", how, w.Len(), w.bytes)
				}
			}
		})
	}
}
