package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/store"
)

// What Redis has answered lately it may lose, in a failover or a restart. Then the node writes it again: first its claims, each if Redis has gone back to
// the claim before, or to nothing; then the batches in their order, under the epochs that the claims have now. Who has claimed a device in
// the meantime keeps it: that is the device's newer connection.

// confirmed is what Redis has answered: a claim or a batch.
type confirmed struct {
	claim *made
	order []*changes
}

// mostRecent bounds the bytes that are kept to be written again.
const mostRecent = 64 << 20

func newRecent(s *Store) *recent[confirmed] {
	return &recent[confirmed]{sure: s.options.Link.Sure, most: mostRecent}
}

// onLoss is called by the link, before it says that it is sure of the present: what was answered lately is not let go of any more.
func (w *writer) onLoss() {
	all := w.recent.take()
	w.mu.Lock()
	w.unsure = append(w.unsure, all...)
	w.mu.Unlock()
	w.loss.Store(true)
	w.start()
}

// recover writes again what Redis may have lost, if it may have lost something.
func (w *writer) recover(ctx context.Context) {
	if !w.loss.Swap(false) {
		return
	}
	w.counts.recoveries.Add(1)
	w.mu.Lock()
	all := w.unsure
	w.unsure = nil
	w.mu.Unlock()
	all = append(all, w.recent.take()...)
	leaveOut(all)
	epochs := make(map[string]raised)
	if err := w.claimAgain(ctx, all, epochs); err != nil {
		return // the store is closed
	}
	w.mu.Lock()
	pending := w.next.order
	if w.sent != nil {
		pending = append(pending[:len(pending):len(pending)], w.sent.order...)
	}
	raiseAll(pending, epochs)
	w.mu.Unlock()
	for _, a := range all {
		raiseAll(a.order, epochs)
		if a.order == nil {
			continue
		}
		b := newBatch()
		b.order, b.again = a.order, true
		if err := w.again(ctx, b); err != nil {
			return
		}
	}
}

// leaveOut makes removals of the pushes of messages that are removed later, so that these are redirected to nobody. Redis has the same in the end.
func leaveOut(all []confirmed) {
	type entry struct {
		device string
		number uint64
	}
	removed, dropped := make(map[entry]bool), make(map[string]bool)
	for i := len(all) - 1; i >= 0; i-- {
		for k := len(all[i].order) - 1; k >= 0; k-- {
			c := all[i].order[k]
			for j := range c.list {
				x := &c.list[j]
				if x.name.kind != kindEntry {
					continue
				}
				at := entry{c.device, x.name.number}
				if dropped[c.device] || removed[at] {
					x.owed, x.m, x.whole, x.gone = store.Owed{}, nil, false, true
				} else if x.owed.Number == 0 {
					removed[at] = true
				}
			}
			if c.what.drop {
				dropped[c.device] = true
			}
		}
	}
}

// raised says that the epoch of a claim is another one.
type raised struct{ from, to uint64 }

func raiseAll(order []*changes, epochs map[string]raised) {
	for _, c := range order {
		if r, ok := epochs[c.device]; ok && c.epoch == r.from {
			c.epoch = r.to
		}
	}
}

// again writes a batch again. What Redis refuses is redirected; nobody waits for that.
func (w *writer) again(ctx context.Context, b *batch) error {
	todo := w.store.writes(b.order)
	size := 0
	for i := range todo {
		size += todo[i].size()
	}
	err := w.repeat(ctx, func() (err error) {
		todo, err = w.try(ctx, b, todo)
		return err
	})
	if err == nil {
		w.recent.add(confirmed{order: b.order}, size)
	}
	return err
}

// claimAgain claims the devices whose claims may be lost, and notes which epochs have changed.
func (w *writer) claimAgain(ctx context.Context, all []confirmed, epochs map[string]raised) error {
	var claims []*made
	for _, a := range all {
		if a.claim != nil && w.held(a.claim.device) == a.claim.epoch {
			claims = append(claims, a.claim)
		}
	}
	for len(claims) > 0 {
		n := min(len(claims), claimAtOnce)
		states := make(map[string][]write)
		err := w.repeat(ctx, func() error { return w.claimSome(ctx, claims[:n], epochs, states) })
		if err != nil {
			return err
		}
		if err := w.restore(ctx, states); err != nil {
			return err
		}
		claims = claims[n:]
	}
	return nil
}

func (w *writer) claimSome(ctx context.Context, claims []*made, epochs map[string]raised, states map[string][]write) error {
	s := w.store
	commands := make(rueidis.Commands, 0, len(claims)+1)
	devices := make([]string, len(claims))
	for i, c := range claims {
		devices[i] = c.device
	}
	commands = append(commands, s.client.B().Sadd().Key(s.set).Member(devices...).Build())
	number := strconv.Itoa(int(s.options.Number))
	for _, c := range claims {
		commands = append(commands, s.claimCommand(c.device, s.options.Owner, number, c.from,
			strconv.FormatUint(c.before, 10), strconv.FormatUint(c.epoch, 10)))
	}
	results := s.client.DoMulti(ctx, commands...)
	err := results[0].Error()
	for i, c := range claims {
		if e := w.claimedAgain(c, results[i+1], epochs, states); e != nil {
			err = e
		}
	}
	if err != nil && unknownScript(err) {
		_ = s.loadScripts(ctx) // it is tried again in any case
	}
	return err
}

// claimedAgain takes the answer to a claim that was made again.
func (w *writer) claimedAgain(c *made, r rueidis.RedisResult, epochs map[string]raised, states map[string][]write) error {
	s := w.store
	parts, err := r.ToArray()
	if err != nil {
		return err
	}
	switch len(parts) {
	case 0: // Redis has it, or has it again
		w.recent.add(confirmed{claim: c}, c.size())
		return nil
	case 2:
		owner, err := parts[1].ToString()
		if err != nil {
			return errAnswer
		}
		w.lost(c.device, owner, c.epoch)
		return nil
	}
	now, err := parseClaim(c.device, parts)
	if err != nil {
		return err
	}
	found, err := s.parse(c.device, parts[3], parts[4])
	if err != nil {
		return err
	}
	w.counts.claimsAgain.Add(1)
	was := c.epoch
	again := *c
	again.epoch = now.epoch
	w.mu.Lock()
	held := w.owned[c.device] == was || epochs[c.device].from == was && w.owned[c.device] == epochs[c.device].to // an answer was lost before
	if held {
		w.owned[c.device] = now.epoch
	}
	w.mu.Unlock()
	epochs[c.device] = raised{was, now.epoch}
	w.recent.add(confirmed{claim: &again}, again.size())
	if now.from != s.options.Owner { // otherwise Redis has what the claim found, and this node's own writes of then
		states[c.device] = again.restores(now.state)
	}
	if other := now.from != "" && now.from != s.options.Owner; held && other && found.newest() > c.newest {
		// The owner before has pushed since: its messages are in Redis, and not here. The device comes back and finds all.
		w.lost(c.device, s.options.Owner, now.epoch)
	}
	return nil
}
