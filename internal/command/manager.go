package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"
	"golang.org/x/time/rate"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

var (
	// ErrUnknown says that there is no command with an ID, or not any more.
	ErrUnknown = errors.New("there is no command with this id")
	// ErrKeyUsed refuses a request whose key belongs to another request.
	ErrKeyUsed = errors.New("the idempotency key belongs to a command with another device, method, payload or exclusive")
	// ErrDeviceFull refuses a command because the device has Config.PerDevice open ones.
	ErrDeviceFull = errors.New("the device has as many open commands as commands.per_device allows")
	// ErrFull refuses a command because the node has Config.Max open ones, or Config.MaxBytes of them.
	ErrFull = errors.New("the node has as many open commands as commands.max and commands.max_bytes allow")
	// ErrBusy refuses a request because as many wait for the store as may.
	ErrBusy = errors.New("too many requests about commands wait for the store")
	// ErrStore says that the store cannot make a command safe.
	ErrStore = errors.New("the node cannot store commands at present")
)

// Devices are the devices of the node. The methods are safe from any goroutine and do not block. Manager calls them
// without its lock, and never from a method that a session calls.
type Devices interface {
	// Online reports whether the device is connected, by a protocol that has calls.
	Online(device string) bool
	// SendCommands makes the loop of the device's connection, if there is one, call Take soon.
	SendCommands(device string)
}

// Manager keeps the commands of a node. Its methods are safe from any goroutine. None blocks but Create, Cancel and Wait,
// which say so. mu is a leaf: it may be taken with a session locked.
type Manager struct {
	// Static after construction; devices after Start.
	config  Config
	store   store.Store
	durable bool
	log     *slog.Logger
	devices Devices
	idle    func(device string) // see InCluster; nil without a cluster

	// Safe from any goroutine.
	open atomic.Int64 // commands that have not ended

	// Guarded by mu.
	mu         sync.Mutex
	entries    map[uint64]*entry
	keys       map[string]*entry
	byDevice   *btree.BTreeG[*entry] // by device and ID
	byPlace    *btree.BTreeG[*entry] // those that are shown, by the place of what is shown
	byDue      *btree.BTreeG[*entry]
	byEnd      *btree.BTreeG[*entry] // those that have ended, in the order in which they are forgotten
	queues     map[string]*queue     // devices with open commands
	bytes      int                   // of open commands
	kept       int                   // bytes of ended ones
	forgetting rate.Sometimes        // the log line of forgotten ones
	last       uint64                // version
	unsafe     []change              // not safe in the store, oldest first
	answers    []func()              // for unlock
	waiting    int                   // requests that wait for a fence, also those whose backend has left
	fencing    bool                  // a fence is under way for changes before those
	starved    map[string]bool
	shown      chan struct{} // closed when something is shown, and replaced
	timer      *time.Timer   // for what is due first
	timerDue   int64
	retrying   *time.Timer // after a failure of the store
	closed     bool
	stats      Stats
}

// entry is a command that the manager keeps. Guarded by Manager.mu.
type entry struct {
	id   uint64
	now  *Command // as it is
	safe *Command // as backends see it: what the store has for certain; nil when nothing of it is safe
	size int      // of now
	due  int64    // when it expires, or is forgotten; Unix milliseconds

	// While the command is open.
	promise uint64 // version of the change that promised to send it; 0 if an earlier life of the node did
	flying  bool   // it was taken on the present connection
	refused bool   // the present connection does not take it
	held    string // why
	gone    bool   // it was removed
	moved   bool   // because another node has the device
}

// change is a state of a command that is given to the store and not safe yet.
type change struct {
	entry *entry
	to    *Command
	done  func(error) // may be nil
}

// Open makes a manager of the commands that s was opened with. Start follows.
func Open(c Config, s store.Store, found map[string][]byte, log *slog.Logger) *Manager {
	m := &Manager{
		config:     c.WithDefaults(),
		store:      s,
		durable:    s.Durable(),
		log:        log,
		entries:    make(map[uint64]*entry),
		keys:       make(map[string]*entry),
		byDevice:   newIndex(func(a, b *entry) bool { return less(a.now.Device, a.id, b.now.Device, b.id) }),
		byPlace:    newIndex(func(a, b *entry) bool { return a.safe.Place < b.safe.Place }),
		byDue:      newIndex(earlier),
		byEnd:      newIndex(earlier),
		queues:     make(map[string]*queue),
		starved:    make(map[string]bool),
		shown:      make(chan struct{}),
		forgetting: rate.Sometimes{Interval: 10 * time.Second},
	}
	m.restore(found)
	return m
}

func newIndex(before func(a, b *entry) bool) *btree.BTreeG[*entry] {
	return btree.NewBTreeGOptions(before, btree.Options{NoLocks: true})
}

func earlier(a, b *entry) bool { return a.due < b.due || a.due == b.due && a.id < b.id }

func less(device string, id uint64, than string, thanID uint64) bool {
	by := strings.Compare(device, than)
	return by < 0 || by == 0 && id < thanID
}

// restore takes the commands that the store has.
func (m *Manager) restore(found map[string][]byte) {
	for _, c := range m.parseAll("", found) {
		e := &entry{id: c.ID, now: c}
		m.add(e)
		m.show(e, c)
		m.last = max(m.last, c.Place)
	}
	m.forgetOldest()
}

// parseAll returns the commands in values of the store, in the order of their IDs. It removes values that are no whole command. The values are
// those of a device; device is empty if they are those of all.
func (m *Manager) parseAll(device string, found map[string][]byte) (list []*Command) {
	requests, lives := make(map[uint64]*Request), make(map[uint64]*Command)
	for key, value := range found {
		id, word, ok := parseKey(key)
		err := errRecord
		switch {
		case ok && word == requestWord:
			requests[id], err = parseRequest(value)
		case ok:
			lives[id], err = parseLife(value)
		}
		if err != nil {
			m.lose(device, key, err)
			delete(requests, id)
			delete(lives, id)
		}
	}
	for id, c := range lives {
		if requests[id] == nil {
			m.lose(device, keyOf(id, lifeWord), errors.New("its request is not there"))
			continue
		}
		c.ID, c.Request = id, requests[id]
		delete(requests, id)
		list = append(list, c)
	}
	for id := range requests { // the node died while it was created
		m.store.PutFor(device, store.SpaceCommand, keyOf(id, requestWord), nil)
	}
	slices.SortFunc(list, func(a, b *Command) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// lose counts and removes a value of the store that cannot be read.
func (m *Manager) lose(device, key string, why error) {
	m.stats.Lost++
	m.log.Error("a command in the store cannot be read, and is lost", "key", key, "error", why)
	m.store.PutFor(device, store.SpaceCommand, key, nil)
}

// Start begins to send commands and to let them expire. It is called once, before the node takes devices.
func (m *Manager) Start(d Devices) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices = d
	m.arm()
}

// Close stops the timers, and withdraws the promises to send commands. Devices have left, and nothing is created any more.
// The store is closed after it.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, q := range m.queues {
		for _, e := range q.open {
			m.apply(e, withdraw, nil)
		}
	}
	m.commit()
	for _, t := range []*time.Timer{m.timer, m.retrying} {
		if t != nil {
			t.Stop()
		}
	}
}

// Config returns the configuration, with the defaults.
func (m *Manager) Config() Config { return m.config }

// Create makes a command, and returns it when it is safe in the store. It sets r.Created and r.Expires, and keeps r. If a command has
// r.Key already, Create returns that one; existed says so. Create waits for the store, until ctx ends; then the command
// may exist all the same.
func (m *Manager) Create(ctx context.Context, r *Request, ttl time.Duration) (c *Command, existed bool, err error) {
	done := make(chan error, 1)
	id, existed, err := m.begin(r, ttl, func(err error) { done <- err })
	if err != nil {
		return nil, false, err
	}
	if err := wait(ctx, done); err != nil {
		return nil, false, err
	}
	m.devices.SendCommands(r.Device)
	c, err = m.Get(id)
	return c, existed, err
}

// CreateThen is Create for a caller that does not wait: it calls done once, from any goroutine, without locks and perhaps before it returns, with nil when the
// command is safe.
func (m *Manager) CreateThen(r *Request, ttl time.Duration, done func(error)) {
	_, _, err := m.begin(r, ttl, func(err error) {
		if err == nil {
			m.devices.SendCommands(r.Device)
		}
		done(err)
	})
	if err != nil {
		done(err)
	}
}

// begin creates a command that expires after ttl, and calls done when it is safe, unless it returns an error.
func (m *Manager) begin(r *Request, ttl time.Duration, done func(error)) (id uint64, existed bool, err error) {
	r.Created = time.Now().UnixMilli()
	r.Expires = r.Created + max(1, ttl.Milliseconds())
	online := m.devices.Online(r.Device)
	if id, existed, err = m.create(r, online, done); err != nil {
		m.refuse(r.Device)
	}
	return id, existed, err
}

// wait waits for the outcome of a change, or for the end of ctx.
func wait(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refuse counts a command that is not created. The device may have been claimed for it.
func (m *Manager) refuse(device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Refused++
	m.tellIdle(device)
}

// create adds a command, and calls done when it is safe. If the device is on line, the promise to send it becomes safe
// with it.
func (m *Manager) create(r *Request, online bool, done func(error)) (id uint64, existed bool, err error) {
	if err := m.store.Err(); err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrStore, err)
	}
	value := appendRequest(nil, r)
	m.mu.Lock()
	defer m.unlock()
	if e := m.keys[m.keyOf(r)]; e != nil {
		if !e.now.same(r) {
			return 0, false, ErrKeyUsed
		}
		return e.id, true, m.tellWhenSafe(e, done)
	}
	if m.waiting >= mostWaiting {
		return 0, false, ErrBusy
	}
	c := &Command{Request: r, Status: Status{State: Queued}}
	if err := m.admits(c); err != nil {
		return 0, false, err
	}
	if c.ID = message.NextID(); c.ID == 0 {
		return 0, false, message.ErrNoIDs
	}
	c.note(Event{State: Queued, Time: r.Created})
	e := &entry{id: c.ID, now: c}
	m.add(e)
	m.store.PutFor(c.Device, store.SpaceCommand, keyOf(c.ID, requestWord), value)
	if online && m.queues[r.Device].next(m.config.InFlight) {
		c.Status = c.after(promise)
	}
	m.save(e, c, true, done)
	if c.attempt == promised {
		e.promise = c.version
	}
	m.stats.Created++
	m.arm()
	m.commit()
	return c.ID, false, nil
}

// admits returns why a new command would pass a bound.
func (m *Manager) admits(c *Command) error {
	q := m.queues[c.Device]
	switch {
	case q != nil && len(q.open) >= m.config.PerDevice:
		return ErrDeviceFull
	case int(m.open.Load()) >= m.config.Max || m.bytes+c.Size() > m.config.MaxBytes:
		return ErrFull
	}
	return nil
}

// add puts a command into all indexes but byPlace.
func (m *Manager) add(e *entry) {
	c := e.now
	m.entries[e.id] = e
	m.byDevice.Set(e)
	if c.Key != "" {
		m.keys[m.keyOf(c.Request)] = e
	}
	e.due = c.Expires
	if c.State.Ended() {
		e.due = c.Ended + m.config.Keep.Milliseconds()
	} else {
		m.enqueue(e)
	}
	m.byDue.Set(e)
	m.count(e)
}

// count adds a command, as it is now, to the sums of open or ended ones. uncount is the reverse; e.due is the same in both.
func (m *Manager) count(e *entry) {
	e.size = e.now.Size()
	m.stats.States[e.now.State]++
	if e.now.State.Ended() {
		m.kept += e.size
		m.byEnd.Set(e)
	} else {
		m.bytes += e.size
	}
}

func (m *Manager) uncount(e *entry) {
	m.stats.States[e.now.State]--
	if e.now.State.Ended() {
		m.kept -= e.size
		m.byEnd.Delete(e)
	} else {
		m.bytes -= e.size
	}
}

// forgetOldest forgets ended commands beyond their bounds, but never the last one. m is locked; commit follows.
func (m *Manager) forgetOldest() {
	for n := m.byEnd.Len(); n > 1 && (n > m.config.MaxEnded || m.kept > m.config.MaxEndedBytes); n-- {
		oldest, _ := m.byEnd.Min()
		m.remove(oldest)
		m.stats.Forgotten++
		m.forgetting.Do(func() {
			m.log.Warn("ended commands are forgotten before commands.keep is over, because there are more than commands.max_ended or max_ended_bytes allow")
		})
	}
}

// remove takes a command out of all indexes and of the store. m is locked.
func (m *Manager) remove(e *entry) {
	m.leave(e)
	m.store.PutFor(e.now.Device, store.SpaceCommand, keyOf(e.id, requestWord), nil)
	m.store.PutFor(e.now.Device, store.SpaceCommand, keyOf(e.id, lifeWord), nil)
	m.tellIdle(e.now.Device)
}

// leave takes a command out of all indexes. m is locked.
func (m *Manager) leave(e *entry) {
	e.gone = true
	delete(m.entries, e.id)
	if key := m.keyOf(e.now.Request); m.keys[key] == e {
		delete(m.keys, key)
	}
	m.byDevice.Delete(e)
	m.byDue.Delete(e)
	if e.safe != nil {
		m.byPlace.Delete(e)
	}
	if !e.now.State.Ended() {
		m.dequeue(e)
	}
	m.uncount(e)
}

// keyOf returns the key of a request in Manager.keys. In a cluster a device's commands are where it is, so that a key is known with its device alone.
func (m *Manager) keyOf(r *Request) string {
	if m.idle == nil || r.Key == "" {
		return r.Key
	}
	return r.Device + "/" + r.Key
}

// Get returns a command, or ErrUnknown.
func (m *Manager) Get(id uint64) (*Command, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	if e == nil || e.safe == nil {
		return nil, ErrUnknown
	}
	return e.view(), nil
}

// view returns the command as backends see it.
func (e *entry) view() *Command {
	if e.held == "" {
		return e.safe
	}
	c := *e.safe
	c.Held = e.held
	return &c
}

// Cancel ends a command that is open, and returns it when its end is safe in the store: as Cancelled, or as Unknown if the device
// may have got it. A command that has ended stays as it is. Cancel waits for the store, until ctx ends.
func (m *Manager) Cancel(ctx context.Context, id uint64) (*Command, error) {
	done := make(chan error, 1)
	device, err := m.cancel(id, func(err error) { done <- err })
	if err != nil {
		return nil, err
	}
	m.devices.SendCommands(device) // the next one may leave now
	if err := wait(ctx, done); err != nil {
		return nil, err
	}
	return m.Get(id)
}

func (m *Manager) cancel(id uint64, done func(error)) (device string, err error) {
	m.mu.Lock()
	defer m.unlock()
	e := m.entries[id]
	if e == nil {
		return "", ErrUnknown
	}
	if !e.now.State.Ended() {
		if m.waiting >= mostWaiting {
			return "", ErrBusy
		}
		m.apply(e, cancel, nil)
	}
	return e.now.Device, m.tellWhenSafe(e, done)
}

// mostWaiting bounds Manager.waiting. A request that waits takes memory until the fence, even if its backend has left: otherwise
// backends that do not wait could have any number of them while the disk hangs.
const mostWaiting = 20_000

// tellWhenSafe answers when what a command is now is safe: at once if it is already. m is locked.
func (m *Manager) tellWhenSafe(e *entry, done func(error)) error {
	switch {
	case e.safe != nil && e.safe.version >= e.now.version:
		m.answer(done, nil)
		return nil
	case m.waiting >= mostWaiting:
		return ErrBusy
	}
	m.unsafe = append(m.unsafe, change{e, e.now, done})
	m.waiting++
	m.commit()
	return nil
}

// apply makes an event happen to a command, and reports whether that changed something. alter, if not nil, changes more
// of the new state. m is locked; commit follows.
func (m *Manager) apply(e *entry, what event, alter func(*Command)) (changed bool) {
	after := e.now.after(what)
	if after == e.now.Status && what != hand {
		return false
	}
	c := *e.now
	c.Status = after
	now := time.Now().UnixMilli()
	if alter != nil {
		alter(&c)
	}
	if c.State.Ended() && !e.now.State.Ended() {
		c.Ended = now
		c.note(Event{State: c.State, Time: now})
		m.dequeue(e)
		m.byDue.Delete(e)
		e.due = now + m.config.Keep.Milliseconds()
		m.byDue.Set(e)
		m.stats.Ended[c.State]++
	}
	m.save(e, &c, what != promise && what != withdraw && what != refuse, nil)
	return true
}

// save makes c the state of a command, and gives it to the store. shows says whether backends see a difference; done, if not
// nil, is called when it is safe. m is locked; commit follows.
func (m *Manager) save(e *entry, c *Command, shows bool, done func(error)) {
	m.last = max(m.last+1, message.NextID())
	c.version = m.last
	if shows {
		c.Place = m.last
	}
	m.uncount(e)
	e.now = c
	m.count(e)
	if m.durable {
		m.store.PutFor(c.Device, store.SpaceCommand, keyOf(e.id, lifeWord), appendLife(nil, c))
	}
	m.unsafe = append(m.unsafe, change{e, c, done})
	if done != nil {
		m.waiting++
	}
	if c.State.Ended() {
		m.forgetOldestOf(c.Device)
		m.forgetOldest()
	}
}
