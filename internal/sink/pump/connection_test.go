package pump

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// All who need a connection at the same time share one, or the reason why there is none.
func TestConnection(t *testing.T) {
	var dials, ended int
	answer := make(chan error)
	c := Connection[int]{
		Dial: func(ctx context.Context) (int, error) {
			select {
			case err := <-answer:
				dials++
				return dials, err
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		},
		End: func(int) { ended++ },
	}
	past, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(past); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	all := func(then error) (got []int, errs []error) {
		var mu sync.Mutex
		var wait sync.WaitGroup
		for range 5 {
			wait.Go(func() {
				n, err := c.Get(t.Context())
				mu.Lock()
				got, errs = append(got, n), append(errs, err)
				mu.Unlock()
			})
		}
		done := make(chan struct{})
		go func() { wait.Wait(); close(done) }()
		for {
			select {
			case answer <- then: // more than one may have to be answered: some come late
			case <-done:
				return got, errs
			}
		}
	}
	broken := errors.New("broken")
	_, errs := all(broken)
	for _, err := range errs {
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	}
	got, errs := all(nil)
	for i, n := range got {
		if n != got[0] || errs[i] != nil {
			t.Errorf("%v %v", got, errs)
		}
	}
	c.Drop(got[0] + 1) // another one
	if n, err := c.Get(t.Context()); n != got[0] || err != nil {
		t.Error(n, err)
	}
	c.Drop(got[0])
	if next, errs := all(nil); next[0] == got[0] {
		t.Errorf("%v %v", next, errs)
	}
	c.Close()
	if _, err := c.Get(t.Context()); !errors.Is(err, errClosed) || ended != 1 {
		t.Error(err, ended)
	}
}

// Close ends a dial that is under way.
func TestConnectionCloses(t *testing.T) {
	begun := make(chan struct{})
	c := Connection[int]{Dial: func(ctx context.Context) (int, error) {
		close(begun)
		<-ctx.Done()
		return 1, nil // it was quicker
	}, End: func(n int) { begun = nil }}
	failed := make(chan error)
	go func() { _, err := c.Get(t.Context()); failed <- err }()
	<-begun
	c.Close()
	if err := <-failed; !errors.Is(err, errClosed) || begun != nil {
		t.Error(err)
	}
}
