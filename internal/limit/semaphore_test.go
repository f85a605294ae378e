package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestSemaphore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSemaphore(1, 2)
		if err := s.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		go func() { results <- s.Acquire(ctx) }()
		synctest.Wait()
		go func() { results <- s.Acquire(t.Context()) }()
		synctest.Wait()
		if err := s.Acquire(t.Context()); !errors.Is(err, QueueFull) {
			t.Errorf("the line holds more than 2: %v", err)
		}
		if got, want := s.Stats(), (SemaphoreStats{Working: 1, Waiting: 2, Refused: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		s.Release()
		if err := <-results; err != nil {
			t.Errorf("who was next got %v", err)
		}
		s.Release()
		if got, want := s.Stats(), (SemaphoreStats{Refused: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
