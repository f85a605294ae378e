package auth

import (
	"time"

	"github.com/sony/gobreaker/v2"
)

// breaker is what is shown of a circuit breaker.
type breaker interface {
	Name() string
	State() gobreaker.State
}

// guarded is a verifier with circuit breakers in front of what is remote.
type guarded interface{ breakers() []breaker }

// opening are the settings of a breaker that opens after so many failures in a row, for a
// time, and then lets one request try.
func opening(name string, after int, open time.Duration, failed func(error) bool) gobreaker.Settings {
	return gobreaker.Settings{
		Name:         name,
		Timeout:      open,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= after },
		IsSuccessful: func(err error) bool { return !failed(err) },
	}
}
