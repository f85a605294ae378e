package router

import (
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
			w.Admit(func(*message.Message, message.QoS) bool { return true })
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
		w.Admit(func(*message.Message, message.QoS) (take bool) {
			take, first = first, false
			return take
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
