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
)

// pool is the instances of a service. All methods are safe from any goroutine.
type pool struct {
	// Static after construction.
	name      string
	config    Config
	client    *http.Client
	chooser   *chooser
	turns     *semaphore.Weighted
	breaker   *limit.Breaker
	node      string
	log       *slog.Logger
	now       func() time.Time
	end       context.CancelFunc
	following sync.WaitGroup

	instances atomic.Pointer[[]*instance]
	waiting   atomic.Int64
	begun     atomic.Int64 // calls of begin whose done was not called yet
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

func newPool(name string, c Config, d registry.Discovery, o Options) (*pool, error) {
	transport, err := newTransport(&c, o.Watcher)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	p := &pool{
		name:    name,
		config:  c,
		client:  &http.Client{Transport: transport, CheckRedirect: stay},
		chooser: newChooser(c.Choose),
		turns:   semaphore.NewWeighted(int64(c.Concurrency)),
		breaker: limit.NewBreaker(name, c.OpenAfter, c.OpenFor, failure),
		log:     o.Log,
		node:    o.Node,
		now:     time.Now,
		end:     end,
		budget:  newBudget(c.RetryBudget),
		known:   make(chan struct{}),
	}
	p.instances.Store(new([]*instance))
	p.following.Go(func() {
		registry.Follow(ctx, d, p.keep, p.note)
		d.Close()
	})
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	return p, nil
}

// close ends the discovery. Calls that are under way go on.
func (p *pool) close() {
	p.end()
	p.following.Wait()
}

// stay makes the client follow no redirect: calls go where the configuration says and nowhere else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// note keeps the problem of the discovery; registry.Follow calls it. It logs it when it begins and ends.
func (p *pool) note(err error) {
	p.mu.Lock()
	before := p.problem
	p.problem = err
	p.mu.Unlock()
	switch {
	case err != nil && before == nil:
		p.log.Warn("the instances of a service cannot be looked up; those last known are used", "service", p.name, "error", err)
	case err == nil && before != nil:
		p.log.Info("the instances of a service are known again", "service", p.name)
	}
}

// keep replaces the set; registry.Follow calls it. Instances that stay keep what is known of them.
func (p *pool) keep(set []registry.Instance) {
	old := *p.instances.Load()
	all := make([]*instance, len(set))
	for n, i := range set {
		at := slices.IndexFunc(old, func(o *instance) bool { return o.Instance == i })
		if at >= 0 {
			all[n] = old[at]
		} else {
			all[n] = &instance{Instance: i}
		}
	}
	p.instances.Store(&all)
	select {
	case <-p.known:
	default:
		close(p.known) // by this goroutine alone
	}
}

// do is Service.Do.
func (p *pool) do(ctx context.Context, r *Request) (*Answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Timeout, ErrTimeout)
	defer cancel()
	if err := p.turn(ctx); err != nil {
		p.count(func(c *Counters) { c.Refused++ })
		return nil, err
	}
	defer p.turns.Release(1)
	p.budget.earn()
	p.count(func(c *Counters) { c.Calls++ })
	a, err := p.try(ctx, r)
	if err != nil {
		p.count(func(c *Counters) { c.Failed++ })
	}
	return a, err
}

// turn waits for one of Concurrency places, and for instances.
func (p *pool) turn(ctx context.Context) error {
	if !p.turns.TryAcquire(1) {
		defer p.waiting.Add(-1)
		if p.waiting.Add(1) > int64(p.config.Waiting) {
			return ErrBusy
		}
		if err := p.turns.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
	}
	select {
	case <-p.known:
		return nil
	case <-ctx.Done():
		p.turns.Release(1)
		if err := context.Cause(ctx); !errors.Is(err, ErrTimeout) {
			return err
		}
		return ErrNoInstance
	}
}

// try calls one instance after the other, until one answers or nothing more may be tried.
func (p *pool) try(ctx context.Context, r *Request) (*Answer, error) {
	var tried []*instance
	i := p.choose(tried)
	if i == nil {
		return nil, ErrNoInstance
	}
	var last error
	for {
		tried = append(tried, i)
		var a *Answer
		var sent bool
		err := p.breaker.Do(func() (err error) {
			a, sent, err = p.call(ctx, i, r)
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
		if len(tried) > p.config.Retries || sent && !r.Idempotent {
			return nil, last
		}
		if i = p.choose(tried); i == nil || !p.budget.spend() {
			return nil, last
		}
		p.count(func(c *Counters) { c.Repeated++ })
	}
}

// choose returns an instance that was not tried; nil if there is none.
func (p *pool) choose(tried []*instance) *instance {
	return p.chooser.choose(*p.instances.Load(), tried, p.now())
}

// cause returns what has failed before, if something has.
func cause(before, now error) error {
	if before != nil {
		return before
	}
	return now
}

// call calls an instance. sent reports whether the instance may have the request.
func (p *pool) call(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
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
	begin := p.now()
	a, err = p.roundTrip(request, i)
	i.calls.Add(-1)
	p.judge(ctx, i, begin, err)
	return a, wrote.Load(), err
}

// judge notes what a call says about its instance.
func (p *pool) judge(ctx context.Context, i *instance, begin time.Time, err error) {
	now := p.now()
	switch {
	case errors.Is(err, context.Canceled):
		return // nothing is known
	case !failure(err):
		i.observe(now.Sub(begin), now)
		i.succeed()
		return
	}
	i.observe(max(now.Sub(begin), time.Second), now)
	if i.fail(p.config.EjectAfter) && p.mayEject(i, now) {
		i.eject(p.config.EjectFor, p.config.EjectForMost, now)
		p.count(func(c *Counters) { c.Ejected++ })
		p.log.Warn("an instance of a service has failed too often and is left out for a while", "service", p.name, "instance", i.URL, "error", err)
	}
}

// mayEject reports whether no more than half of the instances are left out with this one.
func (p *pool) mayEject(i *instance, now time.Time) bool {
	all, out := *p.instances.Load(), 1
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
func (p *pool) roundTrip(request *http.Request, i *instance) (*Answer, error) {
	response, err := p.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(p.config.MaxAnswer)+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > p.config.MaxAnswer:
		return nil, ErrTooLarge
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body, Instance: i.URL}, nil
}

func (p *pool) count(f func(*Counters)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.counters)
}
