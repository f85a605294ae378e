package router

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/longline/longline/internal/message"
)

// Backends come and go while publishers publish to their share: each message comes to one of
// them, once.
func TestShareLosesNothing(t *testing.T) {
	const publishers, messages, workers = 3, 1500, 3
	r := newRouter()
	filter := "$share/g/+"
	seen := newTally(publishers * messages)
	steady := r.OpenInbox(InboxConfig{Messages: 5}, []string{filter}, 1, false)
	var publishing, working sync.WaitGroup
	done := make(chan struct{})
	for range workers {
		working.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					work(t, r, filter, seen)
				}
			}
		})
	}
	consumed := make(chan struct{})
	go func() {
		defer close(consumed)
		for {
			batch, _, err := steady.Take(t.Context(), nil)
			if err != nil {
				return
			}
			seen.add(batch)
		}
	}()
	for p := range publishers {
		publishing.Go(func() { publishAll(t, r, strconv.Itoa(p), messages) })
	}
	publishing.Wait()
	close(done)
	working.Wait()
	<-seen.all
	steady.Close(nil)
	<-consumed
	seen.onceEach(t)
	if drops := r.dropped(); len(drops) > 0 {
		t.Errorf("drops %v", drops)
	}
	if s := r.Stats(); s.Subscriptions != 0 || len(r.shares.byFilter) != 0 {
		t.Errorf("left %+v", s)
	}
}

// work is one backend's stay: it takes a few batches and leaves, at times with messages that
// it has taken and not done.
func work(t *testing.T, r *Router, filter string, seen *tally) {
	b := r.OpenInbox(InboxConfig{Messages: 1 + rand.IntN(5)}, []string{filter}, 1, false)
	var unread []*message.Message
	for range rand.IntN(4) {
		select {
		case <-b.ready:
		default:
			continue
		}
		batch, _, _ := b.take(nil)
		n := rand.IntN(len(batch) + 1)
		seen.add(batch[:n])
		if unread = batch[n:]; len(unread) > 0 {
			break
		}
	}
	b.Close(unread)
}

func publishAll(t *testing.T, r *Router, name string, messages int) {
	for n := range messages {
		taken := make(chan error, 1)
		later, err := r.send(name, strconv.Itoa(n), 1, func(err error) { taken <- err })
		if later {
			err = <-taken
		}
		if err != nil {
			t.Errorf("publisher %s: %v", name, err)
			return
		}
	}
}

// tally counts how often each message came.
type tally struct {
	want int
	all  chan struct{} // closed when so many have come

	mu    sync.Mutex
	count map[string]int
}

func newTally(want int) *tally {
	return &tally{want: want, all: make(chan struct{}), count: make(map[string]int)}
}

func (y *tally) add(batch []*message.Message) {
	y.mu.Lock()
	defer y.mu.Unlock()
	before := len(y.count)
	for _, m := range batch {
		y.count[fmt.Sprintf("%s/%s", m.Topic, m.Payload)]++
	}
	if before < y.want && len(y.count) >= y.want {
		close(y.all)
	}
}

func (y *tally) onceEach(t *testing.T) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	for name, n := range y.count {
		if n != 1 {
			t.Errorf("%s came %d times", name, n)
		}
	}
}
