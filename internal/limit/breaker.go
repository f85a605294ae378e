package limit

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// Breaker leaves a remote part alone that has failed, and lets one call try after a while.
// All methods are safe from any goroutine.
type Breaker struct {
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// NewBreaker returns a closed breaker. It opens for a pause after so many failures in a row,
// at least 1. failed tells the errors that are the remote part's from its answers.
func NewBreaker(name string, failures int, pause time.Duration, failed func(error) bool) *Breaker {
	return &Breaker{gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         name,
		Timeout:      pause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= failures },
		IsSuccessful: func(err error) bool { return !failed(err) },
	})}
}

// Do runs call and returns its error. While the remote part is left alone it does not run
// call, and returns an error that says so.
func (b *Breaker) Do(call func() error) error {
	_, err := b.breaker.Execute(func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Name is what tells b from others in metrics.
func (b *Breaker) Name() string { return b.breaker.Name() }

// State tells whether calls go through: all when closed, one when half-open, none when open.
func (b *Breaker) State() string { return b.breaker.State().String() }
