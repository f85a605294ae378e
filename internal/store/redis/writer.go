package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/store"
)

// writer is the store.Medium of a Store. Operations are collected by device while those before are on their way: one batch at a time, so that
// all that one device does in that time is one call.
//
//	Add ---> next ---> sent -- written --> settling -- redirected --> fences are told
//
// A batch is written until Redis has all of it, or has refused what remains, because another node has the device. Then the next one is
// sent. What was refused is told lost, and its messages are redirected: the batch's fences, and those behind them, wait for that.
type writer struct {
	store *Store // static
	wake  chan struct{}
	ended chan struct{} // closed when run has returned

	// Guarded by mu.
	mu       sync.Mutex
	owned    map[string]uint64 // the epochs of the devices that the node has
	orphans  map[string]string // the devices that have them, by their keys
	next     *batch            // collects
	sent     *batch            // is on its way; nil if none
	unsure   []confirmed       // what Redis may have lost
	settling []*batch          // are written, and wait for redirections, oldest first
	appended uint64            // operations ever
	closing  bool

	recent  *recent[confirmed] // static
	loss    atomic.Bool        // Redis may have lost what it has answered
	applied atomic.Uint64      // operations of the batches that are written
	seq     atomic.Uint64      // of the last writing
	failing atomic.Pointer[failure]

	logged atomic.Int64 // Unix seconds when a message that was not redirected was logged

	refusedSince time.Time // owned by run; zero if nothing of the batch was refused for an older claim

	counts counts
}

// failure is why Redis takes nothing.
type failure struct {
	since time.Time
	err   error
}

// batch is what is written at a time.
type batch struct {
	devices map[string]*changes
	order   []*changes // the same, in the order of their first operations
	left    map[string]struct{}
	fences  []func(error)
	behind  []request // claims that are sent when the batch is written, which ends claims of the same devices
	upto    uint64    // operations that were appended before its end
	again   bool      // all of it was written before, see recover
	seq     uint64    // the number of its last writing

	// Guarded by writer.mu.
	redirects int   // that are not done
	err       error // why something of the batch is not safe
}

func newBatch() *batch { return &batch{devices: make(map[string]*changes)} }

func (b *batch) empty() bool { return len(b.order) == 0 && len(b.left) == 0 }

func newWriter(s *Store) *writer {
	return &writer{
		store: s, recent: newRecent(s), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		owned: make(map[string]uint64), orphans: make(map[string]string), next: newBatch(),
	}
}

// of returns the changes of a device in the batch that collects. mu is held.
func (w *writer) of(device string) *changes {
	epoch := w.owned[device]
	c := w.next.devices[device]
	if c == nil || c.epoch != epoch {
		c = &changes{device: device, epoch: epoch}
		w.next.devices[device] = c
		w.next.order = append(w.next.order, c)
	}
	return c
}

// Add implements store.Journal.
func (w *writer) Add(op store.Op) {
	if op.Device == "" {
		return // a retained message
	}
	if r := op.Record; r != nil && r.Left != 0 {
		shared := *r
		shared.Left = w.store.options.Link.ToRedis(r.Left)
		op.Record = &shared
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appended++
	w.of(op.Device).add(&op)
	switch {
	case op.Kind == store.OpOrphan, op.Kind == store.OpPut && op.Space == store.SpaceOrphan:
		w.orphans[op.Key] = op.Device
	case op.Kind == store.OpDelete && op.Space == store.SpaceOrphan:
		delete(w.orphans, op.Key)
	}
	w.start()
}

// forgetOrphan removes an orphan from the device that has it.
func (w *writer) forgetOrphan(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if device, ok := w.orphans[key]; ok {
		delete(w.orphans, key)
		w.appended++
		w.of(device).set(valueName(store.SpaceOrphan, key), nil)
		w.start()
	}
}

// Base implements store.Numberer. Epochs are times, so the numbers of two claims never meet.
func (w *writer) Base(device string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owned[device]
}

// Progress implements store.Medium.
func (w *writer) Progress() (appended, applied uint64) {
	applied = w.applied.Load() // first, so that it is not ahead
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.appended, applied
}

// Commit implements store.Journal.
func (w *writer) Commit(done func(error)) {
	if err := w.Err(); err != nil {
		go done(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		go done(errClosed)
		return
	}
	w.next.fences = append(w.next.fences, done)
	w.start()
}

var errClosed = errors.New("store: it is closed")

// Err implements store.Journal.
func (w *writer) Err() error {
	if f := w.failing.Load(); f != nil && time.Since(f.since) >= w.store.options.Patience {
		return fmt.Errorf("redis takes no changes: %w", f.err)
	}
	return nil
}

// start makes run look at the batch.
func (w *writer) start() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes batches until ctx ends.
func (w *writer) run(ctx context.Context) {
	defer close(w.ended)
	ticker := time.NewTicker(lossWindow)
	defer ticker.Stop()
	for {
		select {
		case <-w.wake:
		case <-ticker.C:
			w.recent.trim()
		case <-ctx.Done():
			w.mu.Lock()
			w.closing = true
			w.mu.Unlock()
			w.refuse(errClosed)
			return
		}
		w.recover(ctx)
		if b := w.take(); b != nil {
			w.write(ctx, b)
			w.written(b)
		}
	}
}

// take returns the batch that has collected, or nil if there is nothing in it.
func (w *writer) take() *batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.next
	if b.empty() && len(b.fences) == 0 {
		return nil
	}
	b.upto = w.appended
	w.next, w.sent = newBatch(), b
	return b
}

// pieces of a batch are sent at once.
const (
	pieceWrites = 1024
	pieceBytes  = 4 << 20
)

// The pause before what failed is sent again.
const (
	firstPause = 20 * time.Millisecond
	mostPause  = time.Second
)

// write writes a batch.
func (w *writer) write(ctx context.Context, b *batch) {
	if err := w.writeAll(ctx, b); err != nil {
		w.mu.Lock()
		b.err = errors.Join(b.err, err)
		w.mu.Unlock()
		return
	}
	w.leave(ctx, slices.Collect(maps.Keys(b.left)))
}

// writeAll writes the changes of a batch, as often as necessary. The error is that ctx has ended.
func (w *writer) writeAll(ctx context.Context, b *batch) error {
	w.refusedSince = time.Time{}
	todo := w.store.writes(b.order)
	size := 0
	for i := range todo {
		size += todo[i].size()
	}
	err := w.repeat(ctx, func() (err error) {
		w.recover(ctx)
		todo, err = w.try(ctx, b, todo)
		return err
	})
	if err == nil && len(b.order) > 0 {
		w.recent.add(confirmed{order: b.order}, size)
	}
	return err
}

// repeat calls try until it succeeds. The error is that ctx has ended.
func (w *writer) repeat(ctx context.Context, try func() error) error {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err := try()
		if err == nil {
			w.failing.Store(nil)
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		w.fail(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (s *Store) writes(order []*changes) (all []write) {
	all = make([]write, 0, len(order))
	for _, c := range order {
		all = c.writes(all, s.options.Link)
	}
	return all
}

// try sends writes once, and returns those that may not have been made, with the reason. Of a device that gets it back all writes come again.
func (w *writer) try(ctx context.Context, b *batch, todo []write) (left []write, err error) {
	b.seq = w.seq.Add(1)
	again := make(map[string]bool)
	for len(todo) > 0 {
		n, bytes := 0, 0
		for n < len(todo) && n < pieceWrites && bytes < pieceBytes {
			bytes += todo[n].bytes
			n++
		}
		if e := w.send(ctx, b, todo[:n], again); e != nil {
			err = e
		}
		for i := range todo[:n] {
			if again[todo[i].of.device] {
				left = append(left, todo[i])
			}
		}
		todo = todo[n:]
	}
	return left, err
}

// The bounds of one call of the script, in which Redis does nothing else. In a cluster each call is for one device, because two may be on two servers.
const (
	callWrites = 64
	callNames  = 2048
)

// calls returns how many of the writes each command makes.
func (w *writer) calls(some []write) (counts []int) {
	alone := w.store.client.Mode() == rueidis.ClientModeCluster
	n, names := 0, 0
	for i := range some {
		if n > 0 && (alone || n == callWrites || names+some[i].names() > callNames) {
			counts = append(counts, n)
			n, names = 0, 0
		}
		n++
		names += some[i].names()
	}
	return append(counts, n)
}

// send sends some writes, and notes what has to be sent again.
func (w *writer) send(ctx context.Context, b *batch, some []write, again map[string]bool) (err error) {
	calls := w.calls(some)
	commands := make(rueidis.Commands, len(calls))
	from := 0
	for i, n := range calls {
		commands[i] = w.store.writeCommand(some[from:from+n], b.seq)
		from += n
	}
	w.counts.writes.Add(uint64(len(some)))
	w.counts.commands.Add(uint64(len(calls)))
	begin := time.Now()
	for i, r := range w.store.client.DoMulti(ctx, commands...) {
		these := some[:calls[i]]
		some = some[calls[i]:]
		answers, e := r.ToArray()
		if e == nil && len(answers) != len(these) {
			e = errAnswer
		}
		for k := range these {
			was := e
			if was == nil {
				was = w.answered(b, &these[k], &answers[k], begin)
			}
			if was != nil {
				again[these[k].of.device], err = true, was
			}
		}
	}
	if err != nil && unknownScript(err) {
		err = errors.Join(err, w.store.loadScripts(ctx))
	}
	return err
}

// answered takes the answer to a write. An error says that it has to be made again.
func (w *writer) answered(b *batch, x *write, m *rueidis.RedisMessage, begin time.Time) error {
	if !m.IsArray() {
		n, err := m.AsInt64()
		if n == 1 {
			w.lose(x.of.device, x.of.epoch)
		}
		return err
	}
	other, err := m.AsStrSlice()
	switch {
	case err != nil || len(other) < 1 || len(other) > 2:
		return errAnswer
	case len(other) == 2:
		return w.moved(b, x, other[0], other[1], begin)
	case spoilt(other[0]):
		w.counts.spoilt.Add(1)
		w.store.options.Log.Error("redis has something else under the keys of a device", "device", x.of.device, "err", other[0])
		w.refused(b, x, "")
		return nil
	}
	return errors.New(other[0])
}

// moved takes the answer that another claim is valid: at an epoch, of an owner.
func (w *writer) moved(b *batch, x *write, at, owner string, begin time.Time) error {
	epoch, err := strconv.ParseUint(at, 10, 64)
	switch {
	case err != nil:
		return errAnswer
	case epoch >= x.of.epoch:
	case b.again && w.loss.Load():
		return nil // recover comes back to it
	case !b.again && w.mayBeLost(begin):
		return errBehind
	}
	w.refused(b, x, owner)
	return nil
}

var errAnswer = errors.New("redis gives an answer that is none")

// mayBeLost reports whether Redis may have an older claim of a device than the node because it has lost the newer one: until the link has
// seen since the first such answer that it has not. begin is when the write was sent.
func (w *writer) mayBeLost(begin time.Time) bool {
	if w.refusedSince.IsZero() {
		w.refusedSince = begin
	}
	return !w.store.options.Link.Sure().After(w.refusedSince) || w.loss.Load()
}

var errBehind = errors.New("redis has an older claim of a device than this node")

// leaveSet has the next batch remove a device from the set of the node's own. mu is held.
func (w *writer) leaveSet(device string) {
	if w.next.left == nil {
		w.next.left = make(map[string]struct{})
	}
	w.next.left[device] = struct{}{}
	w.start()
}

// leave removes devices from the set of the node's own. If that fails they stay there: it is a hint.
func (w *writer) leave(ctx context.Context, devices []string) {
	if len(devices) > 0 {
		_ = w.store.client.Do(ctx, w.store.client.B().Srem().Key(w.store.set).Member(devices...).Build()).Error()
	}
}

// refused handles a write that Redis refused, because another node has the device.
func (w *writer) refused(b *batch, x *write, owner string) {
	w.counts.refused.Add(1)
	c := x.of
	if c.epoch != 0 {
		w.lost(c.device, owner, c.epoch)
	}
	for i := x.from; i < x.to; i++ {
		if x := &c.list[i]; x.m != nil {
			w.redirect(b, c.device, owner, *x)
			x.m, x.orphan = nil, "" // a second write redirects nothing
		}
	}
}

// lost ends the claim of an epoch, if there is one, and tells who has the device.
func (w *writer) lost(device, owner string, epoch uint64) {
	if w.lose(device, epoch) {
		w.counts.lost.Add(1)
		w.store.options.Lost(device, owner, epoch)
	}
}

// lose ends the claim of an epoch, and reports whether there was one.
func (w *writer) lose(device string, epoch uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owned[device] != epoch {
		return false
	}
	delete(w.owned, device)
	w.leaveSet(device)
	return true
}

// redirect hands over a message that was pushed.
func (w *writer) redirect(b *batch, device, owner string, x change) {
	w.counts.redirected.Add(1)
	w.mu.Lock()
	b.redirects++
	w.mu.Unlock()
	told := false
	w.store.options.Redirect(device, owner, x.m, x.owed.QoS, func(err error) {
		w.mu.Lock()
		if told {
			w.mu.Unlock()
			return
		}
		told = true
		if err != nil {
			b.err = errors.Join(b.err, fmt.Errorf("%w: %w", ErrNotOwner, err))
		}
		if b.redirects > 0 { // else it came too late
			b.redirects--
		}
		w.mu.Unlock()
		switch {
		case err != nil:
			w.notRedirected(1, err)
		case x.orphan != "":
			w.forgetOrphan(x.orphan)
		}
		w.settle()
	})
}

// written passes a batch on, when it is.
func (w *writer) written(b *batch) {
	for _, c := range b.order {
		for i := range c.list {
			if o := c.list[i].orphan; o != "" {
				w.forgetOrphan(o)
			}
		}
	}
	w.counts.batches.Add(1)
	w.mu.Lock()
	w.applied.Store(b.upto)
	w.sent = nil
	w.settling = append(w.settling, b)
	waits, behind := b.redirects > 0, b.behind
	w.mu.Unlock()
	for _, r := range behind {
		w.store.claimer.add(r)
	}
	if waits {
		time.AfterFunc(w.store.options.Patience, func() { w.giveUp(b) })
	}
	w.settle()
}

// giveUp ends the wait for redirections.
func (w *writer) giveUp(b *batch) {
	w.mu.Lock()
	n := b.redirects
	if n > 0 {
		b.redirects = 0
		b.err = errors.Join(b.err, errNotRedirected)
	}
	w.mu.Unlock()
	if n > 0 {
		w.notRedirected(n, errNotRedirected)
		w.settle()
	}
}

var errNotRedirected = errors.New("the node that has the device does not take the message")

// notRedirected counts messages that nobody has taken, and logs some of them.
func (w *writer) notRedirected(n int, err error) {
	w.counts.notRedirected.Add(uint64(n))
	now, last := time.Now().Unix(), w.logged.Load()
	if now-last >= 10 && w.logged.CompareAndSwap(last, now) {
		w.store.options.Log.Warn("messages for devices that other nodes have could not be sent on: their publishers are refused", "messages", n, "err", err)
	}
}

// settle tells the fences of the oldest batches that wait for nothing.
func (w *writer) settle() {
	for {
		w.mu.Lock()
		if len(w.settling) == 0 || w.settling[0].redirects > 0 {
			w.mu.Unlock()
			return
		}
		b := w.settling[0]
		w.settling = w.settling[1:]
		fences, err := b.fences, b.err
		b.fences = nil
		w.mu.Unlock()
		for _, done := range fences {
			done(err)
		}
	}
}

// fail notes that Redis takes nothing. The fences are refused when that takes too long.
func (w *writer) fail(err error) {
	w.counts.failed.Add(1)
	f := w.failing.Load()
	if f == nil {
		f = &failure{since: time.Now()}
		w.store.options.Log.Warn("redis takes no changes: they are repeated until it does", "err", err)
	}
	w.failing.Store(&failure{f.since, err})
	w.store.options.Link.Look()
	if refusal := w.Err(); refusal != nil {
		w.refuse(refusal)
	}
}

// refuse tells all fences, and claims that wait for a batch, why nothing is safe.
func (w *writer) refuse(err error) {
	w.mu.Lock()
	fences := w.next.fences
	w.next.fences = nil
	var behind []request
	if b := w.sent; b != nil {
		fences, behind = append(b.fences, fences...), b.behind
		b.fences, b.behind = nil, nil
	}
	w.mu.Unlock()
	for _, r := range behind {
		r.done(Claimed{}, err)
	}
	for _, done := range fences {
		done(err)
	}
}
