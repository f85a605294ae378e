// Package service calls what stands behind the gateway: services with several instances, which a list, DNS or a registry
// names. It chooses an instance for each call, leaves out those that fail, repeats what may be repeated, and bounds
// everything.
package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

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
)

// Request is a call: an HTTP request without a host.
type Request struct {
	Method string
	Path   string // behind the instance's URL; begins with a slash, or is empty
	Header http.Header
	Body   []byte // not changed
	// Idempotent says that the call may be done twice: it is repeated on another instance after any failure.
	Idempotent bool
}

// Answer is what an instance has answered.
type Answer struct {
	Status   int
	Header   http.Header
	Body     []byte
	Instance string // its URL
}

// Service is one service. All methods are safe from any goroutine.
type Service struct {
	// Static after construction.
	name      string
	config    Config
	client    *http.Client
	chooser   *chooser
	turns     *semaphore.Weighted
	breaker   *limit.Breaker
	log       *slog.Logger
	now       func() time.Time
	end       context.CancelFunc
	following sync.WaitGroup

	instances atomic.Pointer[[]*instance]
	waiting   atomic.Int64
	budget    budget
	known     chan struct{} // closed when the first set is known

	mu       sync.Mutex
	problem  error // why the registry's last answer is not known
	counters Counters
}

// Counters count since Open.
type Counters struct {
	Calls    uint64 // that were begun
	Failed   uint64 // that ended with an error
	Repeated uint64 // repetitions
	Refused  uint64 // that were not begun: busy, open, no instance
	Ejected  uint64 // times that an instance was left out
}

// Open makes a service. Its instances may not be known yet: calls wait for them, within their timeout.
func Open(name string, config Config, w *reload.Watcher, log *slog.Logger) (*Service, error) {
	c := config.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d, err := registry.Open(c.Source, w)
	if err != nil {
		return nil, err
	}
	s, err := open(name, c, d, w, log)
	if err != nil {
		d.Close()
	}
	return s, err
}

func open(name string, c Config, d registry.Discovery, w *reload.Watcher, log *slog.Logger) (*Service, error) {
	transport, err := newTransport(&c, w)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Service{
		name:    name,
		config:  c,
		client:  &http.Client{Transport: transport, CheckRedirect: stay},
		chooser: newChooser(c.Choose),
		turns:   semaphore.NewWeighted(int64(c.Concurrency)),
		breaker: limit.NewBreaker(name, c.OpenAfter, c.OpenFor, failure),
		log:     log,
		now:     time.Now,
		end:     end,
		budget:  newBudget(c.RetryBudget),
		known:   make(chan struct{}),
	}
	s.instances.Store(new([]*instance))
	s.following.Go(func() {
		registry.Follow(ctx, d, s.keep, s.note)
		d.Close()
	})
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	return s, nil
}

// Close ends the discovery. Calls that are under way go on.
func (s *Service) Close() {
	s.end()
	s.following.Wait()
}

// stay makes the client follow no redirect: calls go where the configuration says and nowhere else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// note keeps the problem of the discovery; registry.Follow calls it. It logs it when it begins and ends.
func (s *Service) note(err error) {
	s.mu.Lock()
	before := s.problem
	s.problem = err
	s.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.log.Warn("the instances of a service cannot be looked up; those last known are used", "service", s.name, "error", err)
	case err == nil && before != nil:
		s.log.Info("the instances of a service are known again", "service", s.name)
	}
}

// keep replaces the set; registry.Follow calls it. Instances that stay keep what is known of them.
func (s *Service) keep(set []registry.Instance) {
	old := *s.instances.Load()
	all := make([]*instance, len(set))
	for n, i := range set {
		at := slices.IndexFunc(old, func(o *instance) bool { return o.Instance == i })
		if at >= 0 {
			all[n] = old[at]
		} else {
			all[n] = &instance{Instance: i}
		}
	}
	s.instances.Store(&all)
	select {
	case <-s.known:
	default:
		close(s.known) // by this goroutine alone
	}
}

// Do calls the service. An answer of any status is an answer, except 502, 503 and 504, with which a proxy says that there is
// none. The error wraps one of this package's, or is ctx's.
func (s *Service) Do(ctx context.Context, r *Request) (*Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.config.Timeout, ErrTimeout)
	defer cancel()
	if err := s.turn(ctx); err != nil {
		s.count(func(c *Counters) { c.Refused++ })
		return nil, err
	}
	defer s.turns.Release(1)
	s.budget.earn()
	s.count(func(c *Counters) { c.Calls++ })
	a, err := s.try(ctx, r)
	if err != nil {
		s.count(func(c *Counters) { c.Failed++ })
	}
	return a, err
}

// turn waits for one of Concurrency places, and for instances.
func (s *Service) turn(ctx context.Context) error {
	if !s.turns.TryAcquire(1) {
		defer s.waiting.Add(-1)
		if s.waiting.Add(1) > int64(s.config.Waiting) {
			return ErrBusy
		}
		if err := s.turns.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
	}
	select {
	case <-s.known:
		return nil
	case <-ctx.Done():
		s.turns.Release(1)
		if err := context.Cause(ctx); !errors.Is(err, ErrTimeout) {
			return err
		}
		return ErrNoInstance
	}
}

// try calls one instance after the other, until one answers or nothing more may be tried.
func (s *Service) try(ctx context.Context, r *Request) (*Answer, error) {
	var tried []*instance
	i := s.choose(tried)
	if i == nil {
		return nil, ErrNoInstance
	}
	var last error
	for {
		tried = append(tried, i)
		var a *Answer
		var sent bool
		err := s.breaker.Do(func() (err error) {
			a, sent, err = s.call(ctx, i, r)
			return err
		})
		switch {
		case err == nil:
			return a, nil
		case limit.IsOpen(err):
			return nil, cause(last, ErrOpen)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, ErrTooLarge):
			return nil, err
		}
		last = fmt.Errorf("%w: %s: %w", ErrFailed, i.URL, err)
		if len(tried) > s.config.Retries || sent && !r.Idempotent {
			return nil, last
		}
		if i = s.choose(tried); i == nil || !s.budget.spend() {
			return nil, last
		}
		s.count(func(c *Counters) { c.Repeated++ })
	}
}

// choose returns an instance that was not tried; nil if there is none.
func (s *Service) choose(tried []*instance) *instance {
	return s.chooser.choose(*s.instances.Load(), tried, s.now())
}

// cause returns what has failed before, if something has.
func cause(before, now error) error {
	if before != nil {
		return before
	}
	return now
}

// call calls an instance. sent reports whether the instance may have the request.
func (s *Service) call(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
	var wrote atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), r.Method, i.URL+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, false, err
	}
	for key, values := range r.Header {
		request.Header[key] = values
	}
	request.GetBody = nil // the transport itself repeats nothing
	i.calls.Add(1)
	begin := s.now()
	a, err = s.roundTrip(request, i)
	i.calls.Add(-1)
	s.judge(ctx, i, begin, err)
	return a, wrote.Load(), err
}

// judge notes what a call says about its instance.
func (s *Service) judge(ctx context.Context, i *instance, begin time.Time, err error) {
	now := s.now()
	switch {
	case errors.Is(err, context.Canceled):
		return // nothing is known
	case !failure(err):
		i.observe(now.Sub(begin), now)
		i.succeed()
		return
	}
	i.observe(max(now.Sub(begin), time.Second), now)
	if i.fail(s.config.EjectAfter) && s.mayEject(i, now) {
		i.eject(s.config.EjectFor, s.config.EjectForMost, now)
		s.count(func(c *Counters) { c.Ejected++ })
		s.log.Warn("an instance of a service has failed too often and is left out for a while", "service", s.name, "instance", i.URL, "error", err)
	}
}

// mayEject reports whether no more than half of the instances are left out with this one.
func (s *Service) mayEject(i *instance, now time.Time) bool {
	all, out := *s.instances.Load(), 1
	for _, o := range all {
		if o != i && !o.usable(now) {
			out++
		}
	}
	return 2*out <= len(all)
}

// failure reports whether err is a failure of the service, for which it is not called for a while.
// That the caller has gone is none.
func failure(err error) bool {
	return err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, context.Canceled)
}

// roundTrip sends a request and reads the whole answer.
func (s *Service) roundTrip(request *http.Request, i *instance) (*Answer, error) {
	response, err := s.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(s.config.MaxAnswer)+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > s.config.MaxAnswer:
		return nil, ErrTooLarge
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body, Instance: i.URL}, nil
}

func (s *Service) count(f func(*Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counters)
}
