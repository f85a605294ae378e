package device

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"
)

// Choice is how a device chooses among several addresses of the gateway. It chooses for each attempt; while it is connected, it stays where
// it is.
type Choice uint8

const (
	// Random chooses at random. With a list of nodes, one with twice the weight is chosen twice as often.
	Random Choice = iota
	// RoundRobin takes the addresses in turn, and begins at a random one.
	RoundRobin
	// ResponseTime chooses two as Random does, and of these the one whose last handshakes were quicker.
	ResponseTime
)

// errAllWait is the outcome of a round in which no address may be tried yet.
var errAllWait = errors.New("device: every address has asked to wait")

// address is one address of the gateway. Dial, and then run, own it.
type address struct {
	url    *url.URL // with the device's id and the session's options
	weight int      // at least 1

	until    time.Time     // when it may be tried again: the gateway asked for a delay
	round    uint64        // in which it was tried last
	took     time.Duration // average of the last handshakes
	measured time.Time     // when the last one was; zero means never
}

// forgetAfter is how long a measured handshake counts. An address that has not been tried for longer is tried like a new one.
const forgetAfter = 10 * time.Minute

// triesPerRound bounds the addresses that are tried without a wait: a fleet that every node refuses must not ask them all at once.
const triesPerRound = 4

// addresses are all addresses of the gateway that a device knows. Dial, and then run, own them.
type addresses struct {
	choice  Choice
	nodes   *nodeList // nil without a list
	all     []*address
	round   uint64
	tries   int // of the round
	turn    int // of RoundRobin
	random  func(n int) int
	current *address // that was chosen last
}

// newAddresses checks the URLs; the first one may be that of a list.
func newAddresses(raw string, o *Options) (*addresses, error) {
	a := &addresses{choice: o.Choose, random: rand.IntN}
	urls := o.URLs
	if raw != "" || len(urls) == 0 {
		urls = append([]string{raw}, urls...)
	}
	for i, text := range urls {
		u, err := o.target(text)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(u.Path, nodesPath) {
			if i > 0 {
				return nil, fmt.Errorf("device: URL %q: only the first URL may be that of a list of nodes", u.Redacted())
			}
			a.nodes = newNodeList(u)
			continue
		}
		a.all = append(a.all, &address{url: u, weight: 1})
	}
	a.shuffle()
	return a, nil
}

// shuffle makes RoundRobin begin anywhere.
func (a *addresses) shuffle() {
	if len(a.all) > 0 {
		a.turn = a.random(len(a.all))
	}
}

// begin begins a round, in which each address is tried once at most, and triesPerRound of them. It fetches the list of nodes if that is due. The error says why there is
// no address.
func (a *addresses) begin(ctx context.Context, o *Options) error {
	a.round++
	a.tries = 0
	if a.nodes == nil || !a.nodes.due() {
		return nil
	}
	nodes, err := a.nodes.fetch(ctx, o)
	switch {
	case err == nil:
		a.replace(nodes)
	case len(a.all) == 0, errors.Is(err, errNoNodes):
		return err
	default:
		o.Logger.Warn("device: the list of nodes cannot be fetched; the addresses last known are used", "error", err)
	}
	return nil
}

// replace takes the addresses of a new list. What is known of an address that stays is kept.
func (a *addresses) replace(nodes []*address) {
	for i, n := range nodes {
		for _, old := range a.all {
			if old.url.String() == n.url.String() {
				old.weight = n.weight
				nodes[i] = old
			}
		}
	}
	fresh := len(a.all) == 0
	if a.all = nodes; fresh {
		a.shuffle()
	}
}

// next returns the address for the next attempt of the round, nil at its end.
func (a *addresses) next(now time.Time) *address {
	if a.tries++; a.tries > triesPerRound {
		return nil
	}
	var free []*address
	for i := range a.all {
		n := a.all[(a.turn+i)%len(a.all)]
		if n.round != a.round && !now.Before(n.until) {
			free = append(free, n)
		}
	}
	if len(free) == 0 {
		return nil
	}
	chosen := free[0]
	switch a.choice {
	case RoundRobin:
		for i, n := range a.all {
			if n == chosen {
				a.turn = i + 1
			}
		}
	case ResponseTime:
		chosen = a.quicker(free, now)
	default:
		chosen = a.weighted(free)
	}
	chosen.round = a.round
	a.current = chosen
	return chosen
}

// weighted returns one of them at random, by weight.
func (a *addresses) weighted(free []*address) *address {
	sum := 0
	for _, n := range free {
		sum += n.weight
	}
	at := a.random(sum)
	for _, n := range free {
		if at -= n.weight; at < 0 {
			return n
		}
	}
	return free[0]
}

// quicker returns the quicker of two. One that was not measured goes first.
func (a *addresses) quicker(free []*address, now time.Time) *address {
	one := a.weighted(free)
	var others []*address
	for _, n := range free {
		if n != one {
			others = append(others, n)
		}
	}
	if len(others) == 0 {
		return one
	}
	if other := a.weighted(others); other.expected(now) < one.expected(now) {
		return other
	}
	return one
}

// name returns the URL without what is the device's.
func (n *address) name() string {
	u := url.URL{Scheme: n.url.Scheme, Host: n.url.Host, Path: n.url.Path}
	return u.String()
}

func (n *address) expected(now time.Time) time.Duration {
	if now.Sub(n.measured) > forgetAfter {
		return 0
	}
	return n.took
}

// greeted notes how long a handshake took.
func (n *address) greeted(took time.Duration, now time.Time) {
	if before := n.expected(now); before > 0 {
		took = (before + took) / 2
	}
	n.took, n.measured = took, now
}

// failed notes that an attempt, or a connection, has ended with err.
func (n *address) failed(err error, now time.Time) {
	if asked := askedDelay(err); asked > 0 {
		n.until = now.Add(min(asked, maxDelay))
	}
}

// delay returns how long no address may be tried, after a round that failed with err; 0 if one may be tried at once. Without an address, it is
// what whoever refused the list has asked for.
func (a *addresses) delay(now time.Time, err error) time.Duration {
	if len(a.all) == 0 {
		return askedDelay(err)
	}
	shortest := maxDelay
	for _, n := range a.all {
		shortest = min(shortest, max(0, n.until.Sub(now)))
	}
	return shortest
}
