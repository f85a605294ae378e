package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Claimed is what became of a claim.
type Claimed struct {
	Epoch  uint64
	From   string   // the owner before; empty if there was none, or this node has the device's state in memory
	Before []string // with From: the owners before From, newest first
	Found  bool     // with From: the device has a record
	Values []Value  // with From: those of the device, see store.Store.PutFor
}

// Value is what an owner before gave to PutFor.
type Value struct {
	Space store.Space
	Key   string
	Value []byte
}

// request is a claim that waits to be sent.
type request struct {
	device string
	old    string // the owner that may be replaced; anyone for all
	done   func(Claimed, error)
}

// anyone is no owner's name.
const anyone = "*"

// claimAtOnce bounds how many claims are sent at a time, and so how long the first of them waits for the last.
const claimAtOnce = 256

// Claim makes this node the owner of a device. done is called once, from the store's goroutine, with no lock held, and must not block; the
// store has the device's state by then, unless this node had it already. If it had it, and another has had it since, Options.Lost is called
// first. Claim does not block. Claims of a device are made one after the other, each when the one before has been told.
func (s *Store) Claim(device string, done func(Claimed, error)) { s.claim(device, anyone, done) }

// Adopt is Claim, unless another than old owns the device: then the error is ErrNotOwner. The name of nobody is empty.
func (s *Store) Adopt(device, old string, done func(Claimed, error)) { s.claim(device, old, done) }

func (s *Store) claim(device, old string, done func(Claimed, error)) {
	r := request{device, old, done}
	w := s.writer
	w.mu.Lock()
	if c := w.next.devices[device]; c != nil {
		c.what.end = false
	}
	delete(w.next.left, device)
	if b := w.sent; b != nil && b.ends(device) {
		b.behind = append(b.behind, r)
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	s.claimer.add(r)
}

// ends reports whether a batch ends a claim.
func (b *batch) ends(device string) bool {
	c := b.devices[device]
	_, leaves := b.left[device]
	return leaves || c != nil && c.what.end
}

// Disown ends the claim of a device that has neither a session nor values here: nobody owns it then. If it has values in Redis, the node stays its
// owner. It does not block, and may be called with locks held.
func (s *Store) Disown(device string) {
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.owned[device]; ok {
		w.of(device).what.end = true
		w.start()
	}
}

// Forget implements store.Store.
func (s *Store) Forget(device string) {
	s.Memory.Forget(device)
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.owned[device]; ok {
		delete(w.owned, device)
		w.leaveSet(device)
	}
}

// claimer sends claims, all that have come while those before were on their way.
type claimer struct {
	store *Store // static
	wake  chan struct{}
	ended chan struct{} // closed when run has returned

	// Guarded by mu.
	mu    sync.Mutex
	waits []request
	over  bool // run has returned
}

// mostClaims bounds how many claims wait. More are refused.
const mostClaims = 1 << 16

var errManyClaims = fmt.Errorf("store: %d claims wait for redis", mostClaims)

func (c *claimer) add(r request) {
	c.mu.Lock()
	full, over := len(c.waits) >= mostClaims, c.over
	if !full && !over {
		c.waits = append(c.waits, r)
	}
	c.mu.Unlock()
	switch {
	case over:
		r.done(Claimed{}, errClosed)
	case full:
		r.done(Claimed{}, errManyClaims)
	default:
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the oldest requests that wait, each of another device.
func (c *claimer) take(most int) (some []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	seen := make(map[string]bool)
	for n < min(len(c.waits), most) && !seen[c.waits[n].device] {
		seen[c.waits[n].device] = true
		n++
	}
	if some, c.waits = c.waits[:n:n], c.waits[n:]; len(c.waits) == 0 {
		c.waits = nil
	}
	return some
}

// run sends claims until ctx ends.
func (c *claimer) run(ctx context.Context) {
	defer close(c.ended)
	for {
		select {
		case <-c.wake:
			for some := c.take(claimAtOnce); len(some) > 0; some = c.take(claimAtOnce) {
				c.send(ctx, some)
			}
		case <-ctx.Done():
			c.mu.Lock()
			c.over = true
			c.mu.Unlock()
			for _, r := range c.waits { // add adds no more
				r.done(Claimed{}, errClosed)
			}
			return
		}
	}
}

// send sends some claims, and tells what became of them.
func (c *claimer) send(ctx context.Context, all []request) {
	s := c.store
	ctx, cancel := context.WithTimeout(ctx, s.options.Patience)
	defer cancel()
	if err := s.options.Link.Err(); err != nil {
		for _, r := range all {
			r.done(Claimed{}, err)
		}
		return
	}
	results := s.sendClaims(ctx, all)
	if slices.ContainsFunc(results, func(r rueidis.RedisResult) bool { return unknownScript(r.Error()) }) && s.loadScripts(ctx) == nil {
		results = s.sendClaims(ctx, all) // those that were made already are the node's own now
	}
	joined := results[0].Error()
	for i, r := range all {
		err := results[i+1].Error()
		if err == nil {
			err = joined
		}
		var claimed Claimed
		if err == nil {
			claimed, err = s.claimed(r, results[i+1])
		} else {
			s.options.Link.Look()
		}
		if err == nil {
			s.writer.counts.claims.Add(1)
		} else {
			s.writer.counts.claimsFailed.Add(1)
		}
		r.done(claimed, err)
	}
}

// sendClaims sends the claims behind what makes the devices known as the node's own, so that an adopter finds them.
func (s *Store) sendClaims(ctx context.Context, all []request) []rueidis.RedisResult {
	commands := make(rueidis.Commands, 0, len(all)+1)
	add := s.client.B().Sadd().Key(s.set).Member(all[0].device)
	for _, r := range all[1:] {
		add = add.Member(r.device)
	}
	commands = append(commands, add.Build())
	number := strconv.Itoa(int(s.options.Number))
	for _, r := range all {
		held := ""
		if epoch := s.writer.held(r.device); epoch != 0 {
			held = strconv.FormatUint(epoch, 10)
		}
		commands = append(commands, s.claimCommand(r.device, s.options.Owner, number, r.old, "", held))
	}
	return s.client.DoMulti(ctx, commands...)
}

// held returns the epoch at which the node has a device, 0 if it has not.
func (w *writer) held(device string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owned[device]
}

// claimed takes the answer to a claim.
func (s *Store) claimed(r request, result rueidis.RedisResult) (Claimed, error) {
	answer, err := result.ToArray()
	if err != nil {
		return Claimed{}, err
	}
	had := s.writer.held(r.device)
	switch len(answer) {
	case 0:
		return Claimed{Epoch: had}, nil
	case 2:
		return Claimed{}, ErrNotOwner
	}
	c, err := parseClaim(r.device, answer)
	if err != nil {
		return Claimed{}, err
	}
	if had != 0 {
		s.writer.lost(r.device, c.from, had)
	}
	found, err := s.parse(r.device, answer[3], answer[4])
	if err != nil {
		return Claimed{}, err
	}
	s.Memory.Forget(r.device) // nothing, unless it had no session that would have done so
	s.writer.own(c, &found)
	if found.spoilt {
		s.writer.Add(store.Op{Kind: store.OpDrop, Device: r.device}) // or what is left of it would be part of the next session
	}
	if found.record != nil {
		s.Memory.Load(found.record, found.owed, found.messages)
	}
	before := found.came
	if len(before) > 0 && before[0] == c.from {
		before = before[1:]
	}
	return Claimed{Epoch: c.epoch, From: c.from, Before: before, Found: found.record != nil, Values: found.values}, nil
}

// made is a claim that was made.
type made struct {
	device        string
	epoch, before uint64 // its epoch, and that of the claim before
	from          string // the owner before
	newest        uint64 // the highest number in the queue that was found
	state         state  // was found
}

// parseClaim reads the answer to a claim, but for what the device has.
func parseClaim(device string, answer []rueidis.RedisMessage) (c made, err error) {
	if len(answer) != 5 {
		return c, errAnswer
	}
	var texts [3]string
	for i := range texts {
		if texts[i], err = answer[i].ToString(); err != nil {
			return c, errAnswer
		}
	}
	c.device, c.from = device, texts[2]
	if c.state, err = parseState(answer[3], answer[4]); err != nil {
		return c, errAnswer
	}
	c.epoch, err = strconv.ParseUint(texts[0], 10, 64)
	if err == nil {
		c.before, err = strconv.ParseUint(texts[1], 10, 64)
	}
	if err != nil {
		return c, errAnswer
	}
	return c, nil
}

// own notes that the node has a device.
func (w *writer) own(c made, f *found) {
	c.newest = f.newest()
	w.recent.add(confirmed{claim: &c}, c.size())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owned[c.device] = c.epoch
	delete(w.next.left, c.device)
	for _, v := range f.values {
		if v.Space == store.SpaceOrphan {
			w.orphans[v.Key] = c.device
		}
	}
}

// found is what Redis has of a device.
type found struct {
	record   *store.Record // nil if there is none
	owed     []store.Owed  // in the order of numbers
	messages []*message.Message
	values   []Value
	came     []string // the owners before, newest first
	spoilt   bool     // the record cannot be read
}

// newest returns the highest number in the queue, 0 if that is empty.
func (f *found) newest() uint64 {
	if len(f.owed) == 0 {
		return 0
	}
	return f.owed[len(f.owed)-1].Number
}

// parse reads what a claim found. What is spoilt is skipped; a device whose record is spoilt begins anew.
func (s *Store) parse(device string, fields, queue rueidis.RedisMessage) (found, error) {
	state, err := fields.AsStrSlice()
	if err != nil {
		return found{}, errAnswer
	}
	bodies, err := queue.AsStrSlice()
	if err != nil {
		return found{}, errAnswer
	}
	if s.bounds.Account.Full(message.Debtor{}) != message.NoPart {
		bodies = nil // they are read when there is room
	}
	reasons := 0
	f := readFound(device, state, bodies, s.options.Link, func(err error) {
		if reasons++; reasons == 1 {
			s.options.Log.Error("what redis has of a device is spoilt: it is skipped", "device", device, "err", err)
		}
	})
	s.writer.counts.spoilt.Add(uint64(reasons))
	return f, nil
}

// readFound reads the fields of a device's hash and of its queue, each followed by its value. What cannot be read is left out, and spoilt is told why.
func readFound(device string, state, bodies []string, c clock, spoilt func(error)) (f found) {
	rest := store.Record{Device: device}
	for i := 0; i+1 < len(state); i += 2 {
		if err := f.add(state[i], []byte(state[i+1]), &rest); err != nil {
			spoilt(err)
		}
	}
	if f.record == nil {
		return found{values: f.values, came: f.came, spoilt: f.spoilt}
	}
	f.record.Device, f.record.Subscriptions, f.record.Received = device, rest.Subscriptions, rest.Received
	slices.Sort(f.record.Received)
	slices.SortFunc(f.record.Subscriptions, func(a, b topic.Subscription) int { return strings.Compare(a.Filter, b.Filter) })
	slices.SortFunc(f.owed, func(a, b store.Owed) int { return cmp.Compare(a.Number, b.Number) })
	for i := range f.owed {
		f.owed[i].Due = c.FromRedis(f.owed[i].Due)
	}
	f.record.Left = c.FromRedis(f.record.Left)
	f.addMessages(bodies, c, spoilt)
	return f
}

// add reads one field of the hash. value is kept.
func (f *found) add(name string, value []byte, rest *store.Record) (err error) {
	kind, after, _ := strings.Cut(name, "/")
	switch kind {
	case "r":
		var r *store.Record
		if r, err = store.ParseRecord(value); err == nil {
			f.record = r
		}
		f.spoilt = f.record == nil
	case "f":
		var sub topic.Subscription
		if sub, err = store.ParseSubscription(value); err == nil {
			rest.Subscriptions = append(rest.Subscriptions, sub)
		}
	case "i":
		var id uint64
		if id, err = strconv.ParseUint(after, 10, 16); err == nil {
			rest.Received = append(rest.Received, uint16(id))
		}
	case "h":
		var number uint64
		var o store.Owed
		if number, err = strconv.ParseUint(after, 10, 64); err == nil {
			o, err = store.ParseOwed(number, value)
		}
		if err == nil {
			f.owed = append(f.owed, o)
		}
	case "c":
		f.came = strings.Fields(string(value))
	case "v":
		space, key, _ := strings.Cut(after, "/")
		var n uint64
		if n, err = strconv.ParseUint(space, 10, 8); err == nil {
			f.values = append(f.values, Value{store.Space(n), key, value})
		}
	}
	if err != nil {
		err = fmt.Errorf("field %q: %w", name, err)
	}
	return err
}

// addMessages reads what a claim found of a queue. A message that cannot be read stays to be found by a page, and is lost then.
func (f *found) addMessages(bodies []string, c clock, spoilt func(error)) {
	if len(bodies) == 0 {
		return
	}
	f.messages = make([]*message.Message, len(f.owed))
	for i := 0; i+1 < len(bodies); i += 2 {
		number, err := strconv.ParseUint(bodies[i], 10, 64)
		if err != nil {
			spoilt(fmt.Errorf("number %q: %w", bodies[i], err))
			continue
		}
		at, ok := slices.BinarySearchFunc(f.owed, number, func(o store.Owed, n uint64) int { return cmp.Compare(o.Number, n) })
		if !ok || f.owed[at].Released {
			continue
		}
		if f.messages[at], err = readMessage(bodies[i+1], c); err != nil {
			spoilt(fmt.Errorf("message %d: %w", number, err))
		}
	}
}

// readMessage returns the message of a record, with the expiry by this node's clock.
func readMessage(record string, c clock) (*message.Message, error) {
	m, err := message.ParseRecord([]byte(record))
	if err != nil {
		return nil, err
	}
	m.Expiry = c.FromRedis(m.Expiry)
	return m, nil
}
