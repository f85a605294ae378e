package service

import "time"

// Served is a service that backends answer through the API.
type Served struct{}

func newServed(string, Config) *Served { return new(Served) }

func (s *Served) begin(_ *Call, _ time.Duration, done func(*Reply)) (cancel func()) {
	done(refuse(Unavailable, "nobody serves the service"))
	return func() {}
}

func (s *Served) close() {}
