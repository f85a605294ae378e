package service

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// probesAtOnce bounds the probes of a service that are under way.
const probesAtOnce = 32

// probe asks all instances from time to time, until ctx ends.
func (p *pool) probe(ctx context.Context) {
	every := p.config.Probe.Every
	timer := time.NewTimer(rand.N(every)) // not all services and nodes at once
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		begin := time.Now()
		p.probeAll(ctx)
		timer.Reset(max(every*9/10+rand.N(every/5+1)-time.Since(begin), every/10))
	}
}

// probeAll asks each instance once, and returns when all have answered or had their time.
func (p *pool) probeAll(ctx context.Context) {
	places := semaphore.NewWeighted(probesAtOnce)
	var asking sync.WaitGroup
	for _, i := range *p.instances.Load() {
		if places.Acquire(ctx, 1) != nil {
			break
		}
		asking.Go(func() {
			defer places.Release(1)
			err := p.ask(ctx, i)
			if ctx.Err() == nil {
				p.mark(i, err)
			}
		})
	}
	asking.Wait()
}

// ask sends a probe to an instance, and returns why it is not well.
func (p *pool) ask(ctx context.Context, i *instance) error {
	ctx, cancel := context.WithTimeoutCause(ctx, min(p.config.Probe.Every, p.config.Timeout), ErrTimeout)
	defer cancel()
	t := p.transport(i)
	if g, ok := t.(*grpc); ok {
		t = &netHTTP{client: g.client, most: p.config.MaxAnswer}
	}
	a, _, err := t.send(ctx, i, &Request{Method: http.MethodGet, Path: p.config.Probe.Path})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case a.Status/100 != 2:
		return statusError{status: a.Status}
	}
	return nil
}

// mark leaves an instance out that has failed a probe, if no more than half of them are left out then, and takes it back when it has passed one.
func (p *pool) mark(i *instance, err error) {
	switch was := i.isUnwell(); {
	case err == nil && was:
		i.setUnwell(false)
		p.log.Info("an instance of a service has passed a probe and is called again", "service", p.name, "instance", i.URL)
	case err != nil && !was && p.mayEject(i, p.now()):
		i.setUnwell(true)
		p.log.Warn("an instance of a service has failed a probe and is left out until it passes one", "service", p.name, "instance", i.URL, "error", err)
	}
}

func (i *instance) isUnwell() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unwell
}

func (i *instance) setUnwell(unwell bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.unwell = unwell
}
