package router

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
)

// A line that fills and empties has one timer, which is stopped while it is empty.
func TestWaitingHasOneTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Waiting
		calls := 0
		late := func() { calls++ }
		for range 100 {
			ticket := newTicket(func(error) {}, time.Now().Add(time.Second))
			w.Add(&message.Message{}, 1, ticket, late)
			w.Admit(func(*message.Message, message.QoS) error { return nil })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls != 0 {
			t.Errorf("late was called %d times for nobody", calls)
		}
	})
}

// Each is overdue at its own deadline, also when those before it left.
func TestWaitingOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Waiting
		var mu sync.Mutex // the receiver's
		begin := time.Now()
		var late []time.Duration
		tell := func() {
			mu.Lock()
			defer mu.Unlock()
			for range w.Overdue(time.Now()) {
				late = append(late, time.Since(begin))
			}
		}
		mu.Lock()
		for i := range 4 {
			ticket := newTicket(func(error) {}, begin.Add(time.Duration(i+1)*time.Second))
			w.Add(&message.Message{}, 1, ticket, tell)
		}
		first := true
		w.Admit(func(*message.Message, message.QoS) error {
			if first {
				first = false
				return nil
			}
			return ErrFull
		})
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(late) != 3 || late[0] != 2*time.Second || late[2] != 4*time.Second {
			t.Errorf("overdue after %v", late)
		}
		if n := len(w.Clear()); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// A patient one has no deadline, and those behind it keep theirs.
func TestWaitingPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Waiting
		late := make(chan bool, 1)
		tell := func() { late <- true }
		patient, timed, last := newTicket(nil, time.Time{}), newTicket(nil, deadline(time.Second)), newTicket(nil, time.Time{})
		for _, ticket := range []*Ticket{patient, timed, last} {
			w.Add(&message.Message{}, 1, ticket, tell)
		}
		<-late
		if got := w.Overdue(time.Now()); len(got) != 1 || got[0] != timed {
			t.Errorf("late are %v", got)
		}
		if got := w.Clear(); !slices.Equal(got, []*Ticket{patient, last}) {
			t.Errorf("%v wait", got)
		}
	})
}

// One that joins with a deadline before that of others, because it waited elsewhere, keeps it.
func TestWaitingOverdueOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Waiting
		var mu sync.Mutex // the receiver's
		begin := time.Now()
		var late []time.Duration
		tell := func() {
			mu.Lock()
			defer mu.Unlock()
			for range w.Overdue(time.Now()) {
				late = append(late, time.Since(begin))
			}
		}
		mu.Lock()
		for _, seconds := range []time.Duration{10, 2, 4, 1} {
			w.Add(&message.Message{}, 1, newTicket(nil, begin.Add(seconds*time.Second)), tell)
		}
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 10 * time.Second}
		if !slices.Equal(late, want) {
			t.Errorf("overdue after %v, want %v", late, want)
		}
	})
}
