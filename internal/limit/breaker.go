package limit

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Breaker is a circuit breaker: it stops calls to a remote service that fails, and lets one call try after a while.
// All methods are safe from any goroutine.
type Breaker struct {
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// NewBreaker returns a closed breaker. It opens for a pause after that many failures in a row,
// at least 1. failed reports whether an error is a failure of the service, and not its answer. A call that was canceled counts as
// neither: nothing is known of the service.
func NewBreaker(name string, failures int, pause time.Duration, failed func(error) bool) *Breaker {
	return &Breaker{gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         name,
		Timeout:      pause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= failures },
		IsSuccessful: func(err error) bool { return !failed(err) },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
	})}
}

// Do runs call and returns its error. While the breaker is open it does not run call,
// and returns an error that says so.
func (b *Breaker) Do(call func() error) error {
	_, err := b.breaker.Execute(func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// IsOpen reports whether err, of Do, says that the call was not run.
func IsOpen(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

// Name returns the breaker's name in metrics.
func (b *Breaker) Name() string { return b.breaker.Name() }

// State returns which calls go through: all when closed, one when half-open, none when open.
func (b *Breaker) State() string { return b.breaker.State().String() }
