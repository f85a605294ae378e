package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
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
	name    string
	node    string
	config  Config
	accept  string    // header of calls
	plain   transport // for instances with http URLs
	secure  transport // for instances with https URLs
	chooser *chooser
	turns   *semaphore.Weighted
	breaker *limit.Breaker
	log     *slog.Logger
	now     func() time.Time
	end     context.CancelFunc
	running sync.WaitGroup
	workers workers // for calls of begin

	instances atomic.Pointer[[]*instance]
	waiting   atomic.Int64  // calls that wait for a turn
	begun     atomic.Int64  // calls of begin whose done was not called yet
	known     chan struct{} // closed when the first set is known
	budget    budget
	blame     blame
	repeated  atomic.Uint64
	ejected   atomic.Uint64

	mu      sync.Mutex
	problem error // why the registry's last answer is not known
}

func newPool(name string, c Config, d registry.Discovery, o Options) (*pool, error) {
	plain, secure, err := newTransports(&c, o.Watcher)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	p := &pool{
		name:    name,
		node:    o.Node,
		config:  c,
		accept:  strings.Join(c.Accept, ", "),
		plain:   plain,
		secure:  secure,
		chooser: newChooser(c.Choose),
		turns:   semaphore.NewWeighted(int64(c.Concurrency)),
		breaker: limit.NewBreaker(name, c.OpenAfter, c.OpenFor, failure),
		log:     o.Log,
		now:     time.Now,
		end:     end,
		budget:  newBudget(c.RetryBudget),
		known:   make(chan struct{}),
	}
	p.instances.Store(new([]*instance))
	p.running.Go(func() {
		registry.Follow(ctx, d, p.keep, p.note)
		d.Close()
	})
	p.running.Go(func() { p.sweep(ctx) })
	if c.Probe.Path != "" {
		p.running.Go(func() { p.probe(ctx) })
	}
	return p, nil
}

// close ends the discovery and the probes. Calls that are under way go on.
func (p *pool) close() {
	p.end()
	p.running.Wait()
	p.plain.close()
	p.secure.close()
	p.workers.close()
}

// sweep closes connections that have been idle for long, until ctx ends.
func (p *pool) sweep(ctx context.Context) {
	tick := time.NewTicker(idleTime / 4)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.plain.sweep(now)
			p.secure.sweep(now)
			p.workers.sweep(now)
		case <-ctx.Done():
			return
		}
	}
}

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
	all := make([]*instance, 0, len(set))
	for _, i := range set {
		if at := slices.IndexFunc(old, func(o *instance) bool { return o.Instance == i }); at >= 0 {
			all = append(all, old[at])
		} else if u, err := url.Parse(i.URL); err == nil { // Follow has checked it
			all = append(all, &instance{Instance: i, at: u})
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
	return p.doUntil(ctx, r)
}

// doUntil is do with the end of ctx in place of the service's timeout.
func (p *pool) doUntil(ctx context.Context, r *Request) (*Answer, error) {
	if err := p.turn(ctx); err != nil {
		return nil, err
	}
	defer p.turns.Release(1)
	p.budget.earn()
	return p.try(ctx, r)
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
	var room [4]*instance
	tried, reached := room[:0], false
	i := p.choose(tried)
	if i == nil {
		return nil, ErrNoInstance
	}
	var last error
	for {
		tried = append(tried, i)
		var a *Answer
		var sent bool
		var err error
		stopped := p.breaker.Do(func() error {
			a, sent, err = p.call(ctx, i, r)
			return p.blamed(r, sent, err)
		})
		if limit.IsOpen(stopped) {
			err = stopped
		}
		reached = reached || sent
		switch {
		case err == nil:
			return a, nil
		case limit.IsOpen(err) && last == nil:
			return nil, ErrOpen
		case limit.IsOpen(err):
			return nil, last
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, ErrTooLarge):
			return nil, err
		}
		last = failed(reached, i, err)
		if len(tried) > p.config.Retries || sent && !r.Idempotent {
			return nil, last
		}
		if i = p.choose(tried); i == nil || !p.budget.spend() {
			return nil, last
		}
		p.repeated.Add(1)
	}
}

// failed returns the error of a call of which i was the last instance. reached reports whether one may have got it.
func failed(reached bool, i *instance, err error) error {
	if reached {
		return fmt.Errorf("%w: %s: %w", ErrFailed, i.URL, err)
	}
	return fmt.Errorf("%w: %w: %s: %w", ErrFailed, errUnreached, i.URL, err)
}

// choose returns an instance that was not tried; nil if there is none.
func (p *pool) choose(tried []*instance) *instance {
	return p.chooser.choose(*p.instances.Load(), tried, p.now())
}

// call calls an instance. sent reports whether the instance may have the request.
func (p *pool) call(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
	begin := p.now()
	i.underWay.Add(1)
	a, sent, err = p.transport(i).send(ctx, i, r)
	i.underWay.Add(-1)
	if err == nil {
		err = check(a, r)
	}
	if err != nil && over(ctx) {
		err = ctx.Err()
	}
	return a, sent, p.judge(i, begin, err)
}

// over reports whether ctx has ended. A dialer ends at the deadline of ctx, perhaps a moment before ctx does.
func over(ctx context.Context) bool {
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// blamed returns the end of a call as the breaker is to see it. A failure that only one device has, while others are answered, says nothing
// about the service. One of a request that reached nobody is the service's in any case.
func (p *pool) blamed(r *Request, sent bool, err error) error {
	switch {
	case err == nil:
		p.blame.succeed(r.From, p.now())
	case failure(err) && sent && p.blame.fail(r.From, p.now()):
		return errItsOwn
	}
	return err
}

func (p *pool) transport(i *instance) transport {
	if i.at.Scheme == "https" {
		return p.secure
	}
	return p.plain
}

// check returns why an answer is a failure of its instance.
func check(a *Answer, r *Request) error {
	switch a.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if a.Code == "" {
			return statusError{a.Status, a.Pause()}
		}
	}
	if r.Check != nil {
		return r.Check(a)
	}
	return nil
}

// statusError is an answer that counts as a failure.
type statusError struct {
	status int
	pause  time.Duration // as Retry-After says
}

func (s statusError) Error() string { return fmt.Sprintf("status %d", s.status) }

// judge notes what the end of a call says about its instance. It returns err, or errHurry if the caller had too little time.
func (p *pool) judge(i *instance, begin time.Time, err error) error {
	now := p.now()
	took := now.Sub(begin)
	if errors.Is(err, context.DeadlineExceeded) && took < p.config.Timeout/2 {
		// The caller had little time, which is no fault of the instance.
		i.outlasted(took, now)
		return errHurry
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err // nothing is known
	case !failure(err):
		i.observe(took, now)
		i.succeed()
		return err
	}
	i.blame(took, now)
	if i.fail(p.config.EjectAfter) && p.mayEject(i, now) {
		i.eject(p.config.EjectFor, p.config.EjectForMost, now)
		p.ejected.Add(1)
		p.log.Warn("an instance of a service has failed too often and is left out for a while", "service", p.name, "instance", i.URL, "error", err)
	}
	return err
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

var (
	// errHurry is a call that ended before the instance had enough time.
	errHurry = fmt.Errorf("the caller has not waited long enough: %w", context.Canceled)
	// errItsOwn stands for a failure that only one device has.
	errItsOwn = fmt.Errorf("the service answers other devices: %w", context.Canceled)
	// errUnreached is in an ErrFailed when no instance can have got the request.
	errUnreached = errors.New("no instance was reached")
)

// failure reports whether err is a failure of the service, for which it is not called for a while.
// That the caller has gone is none.
func failure(err error) bool {
	return err != nil && !errors.Is(err, ErrTooLarge) && !errors.Is(err, context.Canceled)
}
