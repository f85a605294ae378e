package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is what goes wrong.
type kind uint8

const (
	killNode  kind = iota // SIGKILL, and a new start after a while
	endNode               // SIGTERM, and a new start
	stopNode              // SIGSTOP, and SIGCONT after a while
	cutNode               // a node does not reach Redis
	cutAll                // no node does
	killRedis             // one server is killed with SIGKILL, and started again
	loseRedis             // the same, and it has lost its last second
	stopRedis             // one server is stopped, and goes on after a while
	failOver              // the primary is killed, and its replica takes its place
	loseOver              // the same, and the replica has missed the last second
	kinds
)

func (k kind) String() string {
	return [kinds]string{"kill-node", "end-node", "stop-node", "cut-node", "cut-all", "kill-redis", "lose-redis", "stop-redis", "fail-over", "lose-over"}[k]
}

// UnmarshalText takes what String returns.
func (k *kind) UnmarshalText(text []byte) error {
	for *k = range kinds {
		if k.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("there is no fault %s", text)
}

// fault is one thing that goes wrong.
type fault struct {
	kind  kind
	which int           // the node, or the server
	lasts time.Duration // until it is made good again
	line  line          // of cutNode and cutAll
	wrong time.Duration // killNode and endNode: the clock of the new process
}

func (f fault) String() string {
	text := fmt.Sprintf("%v for %v, number %d", f.kind, f.lasts.Round(time.Millisecond), f.which+1)
	switch f.kind {
	case cutNode, cutAll:
		text += ", " + f.line.String()
	case killNode, endNode:
		text += fmt.Sprintf(", then with a clock wrong by %v", f.wrong)
	}
	return text
}

// step is faults at the same time, of different nodes, after a time in which all is well.
type step struct {
	gap    time.Duration
	faults []fault
}

// planner plans steps. They follow from the seed alone.
type planner struct {
	random *rand.Rand
	engine string
	lease  time.Duration
	only   []kind // the kinds that there are; empty means all
	bag    []kind // kinds that are still to come in this round
}

func newPlanner(seed uint64, engine string, lease time.Duration) *planner {
	return &planner{random: rand.New(rand.NewPCG(seed, 0)), engine: engine, lease: lease}
}

func (p *planner) between(from, to time.Duration) time.Duration {
	return from + time.Duration(p.random.Int64N(int64(to-from)))
}

// clock is how wrong a node's clock is: some minutes.
func (p *planner) clock() time.Duration {
	return p.between(-5*time.Minute, 5*time.Minute).Round(time.Second)
}

// next returns the next step.
func (p *planner) next() step {
	s := step{gap: p.between(p.lease/2, 3*p.lease/2), faults: []fault{p.fault(p.draw())}}
	if first := s.faults[0]; len(p.only) == 0 && first.kind <= cutNode && p.random.IntN(4) == 0 {
		second := p.fault([]kind{killNode, stopNode, cutNode}[p.random.IntN(3)])
		second.which = (first.which + 1 + p.random.IntN(nodes-1)) % nodes
		s.faults = append(s.faults, second)
	}
	return s
}

// draw returns a kind. Each comes once per round, the first of them twice.
func (p *planner) draw() kind {
	if len(p.bag) == 0 {
		p.bag = []kind{killNode, killNode, endNode, stopNode, stopNode, cutNode, cutNode, cutAll, stopRedis}
		switch p.engine {
		case sentinel:
			p.bag = append(p.bag, failOver, loseOver)
		default:
			p.bag = append(p.bag, killRedis, loseRedis)
		}
		if len(p.only) > 0 {
			p.bag = slices.Clone(p.only)
		}
		p.random.Shuffle(len(p.bag), func(i, j int) { p.bag[i], p.bag[j] = p.bag[j], p.bag[i] })
	}
	k := p.bag[0]
	p.bag = p.bag[1:]
	return k
}

func (p *planner) fault(k kind) fault {
	f := fault{kind: k, which: p.random.IntN(nodes), line: severed + line(p.random.IntN(int(lineKinds-severed))), wrong: p.clock()}
	long := p.random.IntN(2) == 0
	switch k {
	case killNode, endNode:
		if f.lasts = p.between(0, time.Second); long {
			f.lasts = p.between(3*p.lease/2, 5*p.lease/2) // so that it is adopted
		}
	case stopNode:
		if f.lasts = p.between(3*p.lease/2, 3*p.lease); p.random.IntN(4) == 0 {
			f.lasts = p.between(p.lease/8, p.lease)
		}
	case cutNode, cutAll, stopRedis:
		f.lasts = p.between(p.lease/8, 2*p.lease)
	case killRedis, loseRedis, failOver, loseOver:
		f.lasts = p.between(0, p.lease)
	}
	return f
}
