package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/devices"
)

// Bounds of requests between nodes.
const (
	askBytes    = 1 << 20 // of a request or an answer
	askAtOnce   = 1000    // requests that wait for an answer, and requests that are answered
	askLongest  = time.Minute
	askReceived = 2 * time.Second
	askDevices  = askAtOnce / 2 // of those that wait: for what devices repeat, so that they leave room for the API
)

// procedureReceived is asked by the cluster itself: whether a publication of QoS 2 was routed.
const procedureReceived = "cluster.received"

// asked are the requests under way.
type asked struct {
	mu        sync.Mutex
	id        uint64
	open      map[uint64]chan reply
	answering int
}

type reply struct {
	body []byte
	err  error
}

func (a *asked) init() { a.open = make(map[uint64]chan reply) }

var (
	errAskTooMuch  = fmt.Errorf("%w: too many requests wait for answers of other nodes", devices.ErrNodeAway)
	errAskTooLarge = errors.New("requests between nodes, and their answers, have at most 1 MiB")
)

// Ask sends a request to another node and returns its answer. Both have at most 1 MiB. It blocks until ctx ends. An error that wraps
// devices.ErrNodeAway says that the node may have got the request or not.
func (n *Node) Ask(ctx context.Context, node, procedure string, request []byte) ([]byte, error) {
	m := n.member(node)
	if m == nil || m.State == devices.NodeDead {
		return nil, fmt.Errorf("%w: the cluster has no node %s now", devices.ErrNodeAway, node)
	}
	return n.askOwner(ctx, m.owner(), procedure, request)
}

func (n *Node) askOwner(ctx context.Context, o, procedure string, body []byte) ([]byte, error) {
	if len(body) > askBytes {
		return nil, errAskTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, askLongest)
	defer cancel()
	deadline, _ := ctx.Deadline()
	answer := make(chan reply, 1)
	a := &n.asked
	a.mu.Lock()
	if n := len(a.open); n >= askAtOnce || n >= askDevices && procedure == procedureReceived {
		a.mu.Unlock()
		return nil, errAskTooMuch
	}
	a.id++
	id := a.id
	a.open[id] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.open, id)
		a.mu.Unlock()
	}()
	i := item{kind: request, id: id, procedure: procedure, timeout: uint64(max(1, time.Until(deadline).Milliseconds())), body: body}
	err := n.peers.get(n, o).add(&i, nil, answerFunc(func(err error) {
		if err != nil {
			n.takeReply(id, reply{err: fmt.Errorf("%w: %w", devices.ErrNodeAway, err)})
		}
	}))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", devices.ErrNodeAway, err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case r := <-answer:
			return r.body, r.err
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", devices.ErrNodeAway, ctx.Err())
		case <-tick.C:
			if m := n.member(nodeOf(o)); m == nil || m.owner() != o || m.State == devices.NodeDead {
				return nil, fmt.Errorf("%w: it has died", devices.ErrNodeAway)
			}
		}
	}
}

func (n *Node) takeReply(id uint64, r reply) {
	n.asked.mu.Lock()
	answer := n.asked.open[id]
	delete(n.asked.open, id)
	n.asked.mu.Unlock()
	if answer != nil {
		answer <- r
	}
}

// takeResponse takes an answer.
func (n *Node) takeResponse(i *item) {
	r := reply{body: slices.Clone(i.body)}
	if i.failed != "" {
		r = reply{err: errors.New(strings.Clone(i.failed))}
	}
	n.takeReply(i.id, r)
}

// Answer makes f answer what other nodes Ask. f is called on a goroutine of its own, with the deadline of the one who asks.
func (n *Node) Answer(f func(ctx context.Context, procedure string, request []byte) ([]byte, error)) {
	n.answer.Store(&f)
}

// takeRequest answers a request, on a goroutine of its own.
func (n *Node) takeRequest(from string, i *item) {
	from = strings.Clone(from)
	id, procedure, body := i.id, strings.Clone(i.procedure), slices.Clone(i.body)
	timeout := min(askLongest, time.Duration(i.timeout)*time.Millisecond)
	a := &n.asked
	a.mu.Lock()
	full := a.answering >= askAtOnce
	if !full {
		a.answering++
	}
	a.mu.Unlock()
	if full {
		n.respond(from, id, nil, errAskTooMuch)
		return
	}
	n.work.Add(1)
	go func() {
		defer n.work.Done()
		ctx, cancel := context.WithTimeout(n.ctx, timeout)
		defer cancel()
		answer, err := n.answerTo(ctx, procedure, body)
		a.mu.Lock()
		a.answering--
		a.mu.Unlock()
		n.respond(from, id, answer, err)
	}()
}

func (n *Node) answerTo(ctx context.Context, procedure string, body []byte) ([]byte, error) {
	if procedure == procedureReceived {
		return n.answerReceived(ctx, string(body))
	}
	f := n.answer.Load()
	if f == nil {
		return nil, errors.New("the node is not ready to answer")
	}
	answer, err := (*f)(ctx, procedure, body)
	if len(answer) > askBytes {
		return nil, errAskTooLarge
	}
	return answer, err
}

func (n *Node) respond(to string, id uint64, body []byte, err error) {
	i := item{kind: response, id: id, body: body}
	if err != nil {
		i.failed, i.body = err.Error(), nil
	}
	if err := n.peers.get(n, to).add(&i, nil, nil); err != nil {
		n.noteTrouble("an answer to another node could not be sent", err)
	}
}

// answerReceived answers whether a publication of QoS 2 was routed: the request is the device, the epoch of its claim at the node that asks, and the packet identifier.
func (n *Node) answerReceived(ctx context.Context, body string) ([]byte, error) {
	var device string
	var epoch uint64
	var id uint16
	if _, err := fmt.Sscanf(body, "%s %d %d", &device, &epoch, &id); err != nil {
		return nil, err
	}
	type result struct {
		received bool
		err      error
	}
	told := make(chan result, 1)
	n.sessions.Received(device, epoch, id, func(received bool, err error) { told <- result{received, err} })
	select {
	case r := <-told:
		if r.err != nil || !r.received {
			return []byte("0"), r.err
		}
		return []byte("1"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
