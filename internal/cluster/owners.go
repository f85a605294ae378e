package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	storeredis "github.com/longline/longline/internal/store/redis"
)

var _ session.Owners = (*Node)(nil)

// Claim implements session.Owners.
func (n *Node) Claim(device string, done func(session.Claim, error)) {
	n.store.Claim(device, func(c storeredis.Claimed, err error) {
		if err != nil {
			done(session.Claim{}, fmt.Errorf("%w: %w", session.ErrNotClaimed, err))
			return
		}
		n.counts.claimed.Add(1)
		n.took(device, &c)
		done(claimOf(&c), nil)
	})
}

// took notes that this node has a device, and restores its commands.
func (n *Node) took(device string, c *storeredis.Claimed) {
	n.claims.set(device, c.Epoch)
	if values := valuesOf(c, store.SpaceCommand); c.From != "" {
		n.commands.Restore(device, values)
	}
}

// valuesOf returns what the owner before had put into a space for the device.
func valuesOf(c *storeredis.Claimed, space store.Space) (values map[string][]byte) {
	for _, v := range c.Values {
		if v.Space == space {
			if values == nil {
				values = make(map[string][]byte)
			}
			values[v.Key] = v.Value
		}
	}
	return values
}

// claimOf returns what the session has to know of a claim.
func claimOf(c *storeredis.Claimed) session.Claim {
	return session.Claim{Epoch: c.Epoch, From: c.From, Before: c.Before, Found: c.Found, Orphans: valuesOf(c, store.SpaceOrphan)}
}

// Lives implements session.Owners.
func (n *Node) Lives(o string) bool {
	return o != n.owner && n.lives(o) // if this node was the owner before, it had lost its memory of that
}

// Ended implements session.Owners.
func (n *Node) Ended(device string, epoch uint64) {
	if n.commands.Keeps(device) {
		n.claims.endSession(device, epoch)
		return
	}
	if n.claims.remove(device, epoch+1) {
		n.store.Disown(device)
	}
}

// Idle says that the last command to a device is gone: without a session this node need not have it any more. Locks may be held.
func (n *Node) Idle(device string) {
	epoch, idle := n.claims.withoutSession(device)
	if !idle {
		return
	}
	go func() {
		if !n.commands.Keeps(device) && n.claims.remove(device, epoch+1) {
			n.store.Disown(device)
		}
	}()
}

// Forward implements session.Owners.
func (n *Node) Forward(device, to string, m *message.Message, q message.QoS, c *router.Claim) {
	n.counts.forwarded.Add(1)
	var done answer
	if c != nil {
		done = c
	}
	n.toNode(to, lookup{item: forwarded(device, m, q), m: m, done: done})
}

// forwarded is a message that is sent on to a device.
func forwarded(device string, m *message.Message, q message.QoS) item {
	return item{kind: forDevice, at: m.At, device: device, qos: q, own: spaceOf(m) == device, hops: uint64(m.Hops) + 1}
}

// toNode sends an item on to an owner; if that is not known, to whom Redis says. Locks may be held: the answer comes later.
func (n *Node) toNode(to string, l lookup) {
	switch {
	case l.item.hops > maxHops:
		n.counts.hops.Add(1)
		n.router.Drop(l.m, "", router.TooManyHops, 1)
		go l.end(nil)
		return
	case to == "", to == n.owner:
		n.findLater(l)
		return
	}
	if err := n.peers.get(n, to).add(&l.item, l.m, l.done); err != nil {
		n.router.Drop(l.m, "", router.RefusedFor(err), 1)
		if l.done != nil {
			go l.end(err)
		}
	}
}

func (n *Node) findLater(l lookup) {
	if err := n.finder.add(l); err != nil && l.done != nil {
		go l.end(err)
	}
}

// Redirect is storeredis.Options.Redirect: it sends on a message that was pushed for a device that another node has.
func (n *Node) Redirect(device, to string, m *message.Message, q message.QoS, done func(error)) {
	n.counts.forwarded.Add(1)
	n.toNode(to, lookup{item: forwarded(device, m, q), m: m, done: answerFunc(done)})
}

// Lost is storeredis.Options.Lost: another node has a device that this one had claimed at an epoch.
func (n *Node) Lost(device, to string, epoch uint64) {
	n.lostTo(device, session.Move{To: to, Epoch: epoch + 1})
}

// lostTo ends what this node has of a device that another node has.
func (n *Node) lostTo(device string, to session.Move) {
	had := n.claims.remove(device, to.Epoch)
	n.sessions.Lose(device, to)
	if had {
		n.commands.Forget(device)
	}
	if !n.claims.has(device) {
		n.cache.set(device, to.To)
	}
	if to.Since != 0 {
		n.moves.add(device, to.Epoch, to.Since)
	}
}

// tellTaken tells the owner before that this node has a device, and from which position on its session takes what comes: again and again, while that owner is there.
func (n *Node) tellTaken(a arrival, since uint64) {
	if a.claim.From == "" || n.isGone(a.claim.From) || n.ctx.Err() != nil {
		return
	}
	again := func() { time.AfterFunc(tellAgain, func() { n.tellTaken(a, since) }) }
	told := answerFunc(func(err error) {
		if err != nil {
			again()
		}
	})
	i := item{kind: taken, device: a.device, epoch: a.claim.Epoch, since: since}
	if n.sessions.Connected(a.device) {
		i.hops = 1 // says that the device has a connection here
	}
	if n.peers.get(n, a.claim.From).add(&i, nil, told) != nil {
		again()
	}
}

// tellAgain is after how long a notice is sent again that could not be sent.
const tellAgain = time.Second

// AskReceived implements session.Owners.
func (n *Node) AskReceived(device, from string, epoch uint64, id uint16, done func(bool, error)) {
	go func() {
		ctx, cancel := context.WithTimeout(n.ctx, askReceived)
		defer cancel()
		answer, err := n.askOwner(ctx, from, procedureReceived, fmt.Appendf(nil, "%s %d %d", device, epoch, id))
		done(string(answer) == "1", err)
	}()
}

// Owner returns the name of the node that has a device, dead or alive; "" if none has. Unless fresh is set, that may be how it was a moment ago. It blocks
// until ctx ends.
func (n *Node) Owner(ctx context.Context, device string, fresh bool) (node string, err error) {
	if n.claims.has(device) {
		return n.config.Node, nil
	}
	if o, ok := n.cache.owner(device); ok && !fresh {
		return nodeOf(o), nil
	}
	owners, err := n.store.Owner(ctx, []string{device})
	if err != nil {
		return "", err
	}
	n.cache.set(device, owners[0])
	return nodeOf(owners[0]), nil
}

// ClaimFor makes this node the owner of a device unless another has it, and returns the owner. It blocks until ctx ends.
func (n *Node) ClaimFor(ctx context.Context, device string) (node string, err error) {
	if o, err := n.Owner(ctx, device, true); err != nil || o != "" {
		return o, err
	}
	done := make(chan error, 1)
	n.store.Adopt(device, "", func(c storeredis.Claimed, err error) {
		if err == nil {
			n.took(device, &c)
			n.claims.endSession(device, c.Epoch)
		}
		done <- err
	})
	select {
	case err = <-done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if errors.Is(err, storeredis.ErrNotOwner) {
		return n.Owner(ctx, device, true)
	}
	return n.config.Node, err
}
