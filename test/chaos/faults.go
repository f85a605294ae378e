package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/longline/longline/test/clients"
)

// player does what a plan says.
type player struct {
	cluster *cluster
	engine  *engine // nil: none
	done    [kinds]int

	rejoined int // nodes that ended because they had been silent for their lease, and were started again
}

// play does steps for a time, each until it is made good again.
func (p *player) play(ctx context.Context, plan *planner, duration time.Duration) error {
	for end := p.cluster.book.Now() + duration; ; {
		s := plan.next()
		if p.cluster.book.Now()+s.gap > end {
			return nil
		}
		if !sleep(ctx, s.gap) {
			return ctx.Err()
		}
		if err := p.step(ctx, s); err != nil {
			return err
		}
	}
}

func (p *player) step(ctx context.Context, s step) error {
	var all errgroup.Group
	for _, f := range s.faults {
		if p.engine == nil && f.kind != killNode && f.kind != endNode && f.kind != stopNode {
			continue
		}
		p.done[f.kind]++
		if f.kind >= cutNode { // nodes that do not reach Redis may refuse messages
			p.cluster.book.StoreFails(true)
		}
		p.cluster.book.Event("faults", f.String())
		all.Go(func() error {
			began := p.cluster.book.Now()
			err := p.do(ctx, f)
			switch {
			case f.kind == cutNode:
				wasCut(began, p.cluster.book.Now(), p.cluster.nodes[f.which])
			case f.kind > cutNode:
				wasCut(began, p.cluster.book.Now(), p.cluster.nodes...)
			}
			if err != nil {
				return fmt.Errorf("%v: %w", f, err)
			}
			p.cluster.book.Event("faults", f.kind.String()+": made good")
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	err := p.ready(ctx)
	p.cluster.book.StoreFails(false)
	return err
}

func (p *player) do(ctx context.Context, f fault) error {
	n := p.cluster.nodes[f.which%len(p.cluster.nodes)]
	switch f.kind {
	case killNode:
		n.gateway.Kill()
		sleep(ctx, f.lasts)
		return p.cluster.start(ctx, n, f.wrong)
	case endNode:
		n.gateway.Stop()
		sleep(ctx, f.lasts)
		return p.cluster.start(ctx, n, f.wrong)
	case stopNode:
		return p.stopNode(ctx, n, f.lasts)
	case cutNode:
		return p.cut(ctx, f, n)
	case cutAll:
		return p.cut(ctx, f, p.cluster.nodes...)
	case killRedis, loseRedis, stopRedis:
		return p.redis(ctx, f)
	case failOver, loseOver:
		return p.failOver(ctx, f)
	}
	return nil
}

// cut cuts nodes off from Redis.
func (p *player) cut(ctx context.Context, f fault, all ...*node) error {
	for _, n := range all {
		p.engine.set(n.name, f.line)
	}
	sleep(ctx, f.lasts)
	for _, n := range all {
		p.engine.set(n.name, whole)
	}
	return ctx.Err()
}

func (p *player) stopNode(ctx context.Context, n *node, lasts time.Duration) error {
	n.mu.Lock()
	n.stopped = p.cluster.book.Now()
	n.mu.Unlock()
	if err := n.gateway.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	sleep(ctx, lasts)
	err := n.gateway.Signal(syscall.SIGCONT)
	n.mu.Lock()
	n.stopped = 0
	n.mu.Unlock()
	return err
}

// redis kills or stops one server.
func (p *player) redis(ctx context.Context, f fault) error {
	s := p.engine.servers[f.which%len(p.engine.servers)]
	if f.kind == stopRedis {
		if err := s.process.Stop(); err != nil {
			return err
		}
		sleep(ctx, f.lasts)
		return s.process.Continue()
	}
	forget := func() error { return nil }
	if f.kind == loseRedis {
		var err error
		if forget, err = s.mark(); err != nil {
			return err
		}
		sleep(ctx, lostTime)
	}
	s.process.Kill()
	if err := forget(); err != nil {
		return err
	}
	sleep(ctx, f.lasts)
	if err := s.process.Restart(ctx); err != nil {
		return err
	}
	return p.engine.wait(ctx)
}

// lostTime is how much a Redis loses: its last second.
const lostTime = time.Second

// failOver kills the primary, waits until the replica is the primary, and starts the other one again, as the replica.
func (p *player) failOver(ctx context.Context, f fault) error {
	s, err := p.engine.primary(ctx)
	if err != nil {
		return err
	}
	if f.kind == loseOver {
		s.proxy.set(replica, silent)
		sleep(ctx, lostTime)
	}
	s.process.Kill()
	s.proxy.set(replica, severed)
	s.proxy.set(replica, whole)
	for end := time.Now().Add(30 * time.Second); ; {
		now, err := p.engine.primary(ctx)
		if err == nil && now != s {
			break
		}
		if time.Now().After(end) || !sleep(ctx, 100*time.Millisecond) {
			return fmt.Errorf("the replica does not become the primary: %w", err)
		}
	}
	p.cluster.book.Event("faults", "the replica is the primary")
	sleep(ctx, f.lasts)
	if err := s.process.Restart(ctx); err != nil {
		return err
	}
	return p.engine.wait(ctx)
}

// takenForDead is in the last words of a node that was silent for its lease. Whatever runs it starts it again.
const takenForDead = "taken this one for dead"

// ready waits until all nodes are ready.
func (p *player) ready(ctx context.Context) error {
	for _, n := range p.cluster.nodes {
		api := clients.NewAPI(n.gateway, "ready")
		for end := p.cluster.book.Now() + 30*time.Second; ; {
			if !n.gateway.Alive() {
				if why := n.gateway.LastLine(); strings.Contains(why, takenForDead) {
					p.rejoined++
				} else {
					p.cluster.book.Fault(n.name + " ended by itself: " + why)
				}
				n.gateway.Kill()
				if err := p.cluster.start(ctx, n, 0); err != nil {
					return err
				}
			}
			status, why, err := api.Get(ctx, "/readyz")
			if err == nil && status == 200 {
				break
			}
			if p.cluster.book.Now() > end {
				p.cluster.book.Fault(fmt.Sprintf("%s is not ready 30 s after all is well: %s %v", n.name, strings.TrimSpace(why), err))
				break
			}
			if !sleep(ctx, 100*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}
