// Package service calls what stands behind the gateway: services with several instances, which a list, DNS or a registry
// names, and services that backends answer through the API. It chooses an instance for each call, leaves out those that fail,
// repeats what may be repeated, and bounds everything.
package service

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
)

// Errors of Do, beside those of the context. ErrFailed wraps what the last instance did.
var (
	ErrBusy       = errors.New("too many calls wait for the service")
	ErrNoInstance = errors.New("the service has no instance that can be called")
	ErrOpen       = errors.New("the service has failed again and again, and is not called for a while")
	ErrTooLarge   = errors.New("the answer of the service is too large")
	ErrTimeout    = errors.New("the service has not answered in time")
	ErrFailed     = errors.New("the service has failed")
	ErrInvalid    = errors.New("the answer is not as HTTP wants it") // within ErrFailed
	ErrServed     = errors.New("the service has no instances: backends answer it through the API")
	ErrGRPC       = errors.New("the service has protocol grpc, which has no requests of HTTP")
)

// Request is an HTTP request without a host. With the protocol grpc it is a unary call: Path is /SERVICE/METHOD, Body and Answer.Body are messages,
// Method is empty and Header does not count; a status of gRPC other than OK and UNAVAILABLE is an answer with its name as the code.
type Request struct {
	Method string
	Path   string // behind the instance's URL; begins with a slash, or is empty
	Header http.Header
	Body   []byte // not changed
	From   string // the device whose call it is; empty if it is the gateway's own
	// Idempotent says that the request may be done twice: it is repeated on another instance after any failure.
	Idempotent bool
	// Check, unless nil, returns why an answer is a failure of the instance, which then is in the error of Do. It must not block.
	Check func(*Answer) error

	call *call // that of a device; nil otherwise
}

// Answer is what an instance has answered.
type Answer struct {
	Status      int
	ContentType string // empty if it is not said
	Encoding    string // Content-Encoding
	Code        string // Longline-Error: the code of a refusal
	RetryAfter  string // as it was said
	Body        []byte
	Instance    string // its URL
}

// Service is one service. It has instances, or backends answer it through the API. All methods are safe from any goroutine.
type Service struct {
	// Static after construction.
	name     string
	config   Config
	answerer answerer // pool or served
	pool     *pool    // nil without instances
	served   *Served  // nil with instances

	counters counters
}

// answerer is who answers the calls of a service.
type answerer interface {
	// begin is Set.Begin, for a call whose names are sound. timeout is at least 1 ns and at most Config.Timeout.
	begin(c *Call, timeout time.Duration, done func(*Reply)) (cancel func())
	// close ends it. Calls that are under way end as they would without it.
	close()
}

// Open makes a service. Its instances may not be known yet: calls wait for them, within their timeout.
func Open(name string, config Config, w *reload.Watcher, log *slog.Logger) (*Service, error) {
	return open(name, config, Options{Watcher: w, Log: log})
}

func open(name string, config Config, o Options) (*Service, error) {
	c := config.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Service{name: name, config: c}
	if c.Serve {
		s.served = newServed(c)
		s.answerer = s.served
		return s, nil
	}
	d, err := registry.Open(c.Source, o.Watcher)
	if err != nil {
		return nil, err
	}
	p, err := newPool(name, c, d, o)
	if err != nil {
		d.Close()
		return nil, err
	}
	s.pool, s.answerer = p, p
	return s, nil
}

// Name returns the service's name in the configuration.
func (s *Service) Name() string { return s.name }

// Served returns the side of the backends that answer the service, nil if it has instances.
func (s *Service) Served() *Served { return s.served }

// Breaker returns the circuit breaker, nil if the service has no instances.
func (s *Service) Breaker() *limit.Breaker {
	if s.pool == nil {
		return nil
	}
	return s.pool.breaker
}

// Close ends the service. Calls that are under way go on.
func (s *Service) Close() { s.answerer.close() }

// Do sends a request to an instance. An answer of any status is an answer, except 502, 503 and 504 without Longline-Error, with which a
// proxy says that there is none. The error wraps one of this package's, or is ctx's.
func (s *Service) Do(ctx context.Context, r *Request) (*Answer, error) {
	switch {
	case s.pool == nil:
		return nil, ErrServed
	case s.config.Protocol == GRPC && r.Method != "":
		return nil, ErrGRPC
	}
	began := time.Now()
	s.counters.underWay.Add(1)
	a, err := s.pool.do(ctx, r)
	s.counters.end(resultOf(a, err), began)
	return a, err
}

// begin is Set.Begin for this service.
func (s *Service) begin(c *Call, timeout time.Duration, done func(*Reply)) (cancel func()) {
	if timeout <= 0 || timeout > s.config.Timeout {
		timeout = s.config.Timeout
	}
	began := time.Now()
	s.counters.underWay.Add(1)
	return s.answerer.begin(c, timeout, func(r *Reply) {
		result := r.Err.Code
		if result == "" {
			result = OK
		}
		s.counters.end(result, began)
		done(r)
	})
}
