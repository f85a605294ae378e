//go:build servers

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	storeredis "github.com/longline/longline/internal/store/redis"
	"github.com/longline/longline/test/servers"
)

// world is a Redis and the nodes of a cluster, in one process.
type world struct {
	t      testing.TB
	redis  *servers.Server
	client rueidis.Client
	owners owners
	lease  time.Duration

	inboxBytes int           // Config.InboxBytes of the nodes
	heldTime   time.Duration // theirs; 0 means the default
	logBytes   int           // likewise
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, redis: servers.Redis(t), lease: 3 * time.Second}
	w.client = w.connect()
	w.owners.of = make(map[string]*ownedBy)
	return w
}

func (w *world) connect() rueidis.Client {
	w.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.redis.Address()}, DisableCache: true, DisableRetry: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}

// until waits for a state.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// owners stand for what store/redis keeps in Redis: who has which device.
type owners struct {
	mu    sync.Mutex
	epoch uint64
	of    map[string]*ownedBy
}

type ownedBy struct {
	owner string
	epoch uint64
}

// testNode is a node with its router, and devices in place of sessions.
type testNode struct {
	*Node
	w      *world
	router *router.Router
	memory *store.Memory
	failed chan error

	account message.Account

	mu      sync.Mutex
	devices map[string]*device
	adopted []string
}

// join starts a node.
func (w *world) join(name string) *testNode {
	w.t.Helper()
	client := w.connect()
	n := &testNode{w: w, memory: store.NewMemory(store.Options{}), devices: make(map[string]*device), failed: make(chan error, 1)}
	var err error
	c := Config{Name: "test", Node: name, Lease: w.lease, InboxBytes: w.inboxBytes}.WithDefaults()
	n.Node, err = Join(w.t.Context(), c, Options{Client: client, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Failed: func(err error) { n.failed <- err }})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.heldTime != 0 {
		n.heldTime = w.heldTime
	}
	if w.logBytes != 0 {
		n.logBytes = w.logBytes
	}
	n.router = router.New(router.Config{Far: n.Node, Read: n.memory.Read, Account: &n.account}, n.memory)
	n.Use(Parts{Router: n.router, Sessions: n, Store: n.onStore()})
	if err := n.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(n.end)
	return n
}

// end stops a node without a word, as a kill does.
func (n *testNode) end() { n.Close() }

// announced waits until what the node wants is known to all.
func (n *testNode) announced() {
	n.w.t.Helper()
	done := make(chan error, 1)
	n.router.WhenAnnounced(func(err error) { done <- err })
	if err := <-done; err != nil {
		n.w.t.Fatal(err)
	}
}

// knows waits until the node has read what others have announced until now.
func (n *testNode) knows(others ...*testNode) {
	n.w.t.Helper()
	for _, o := range others {
		o.announced()
		at := o.Position()
		until(n.w.t, "the log is not read", func() bool { return n.Position() >= at })
	}
}

// announced returns the filters that nodes have announced.
func (w *world) announced() (filters []string) {
	for _, f := range w.fields() {
		_, filter, _ := strings.Cut(f, "\x00")
		filters = append(filters, filter)
	}
	return filters
}

func (w *world) announcedBy(n *testNode) (filters []string) {
	for _, f := range w.fields() {
		if owner, filter, _ := strings.Cut(f, "\x00"); owner == n.OwnerName() {
			filters = append(filters, filter)
		}
	}
	return filters
}

func (w *world) fields() []string {
	fields, err := w.client.Do(w.t.Context(), w.client.B().Hkeys().Key("ll:test:{interest}:all").Build()).AsStrSlice()
	if err != nil {
		w.t.Error(err)
	}
	return fields
}

func (w *world) exists(key string) bool {
	there, err := w.client.Do(w.t.Context(), w.client.B().Exists().Key(key).Build()).AsBool()
	return err != nil || there
}

func (w *world) length(inbox string) int64 {
	n, err := w.client.Do(w.t.Context(), w.client.B().Xlen().Key(inbox).Build()).AsInt64()
	if err != nil {
		w.t.Error(err)
	}
	return n
}

// publish publishes a message and waits for the answer.
func (n *testNode) publish(topic, payload string, q message.QoS) error {
	done := make(chan error, 1)
	n.router.PublishThen(&message.Message{Topic: topic, Payload: []byte(payload), QoS: q}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		return fmt.Errorf("no answer")
	}
}

// sink is a subscriber that is no device.
type sink struct {
	mu  sync.Mutex
	got []string
}

func (s *sink) Deliver(m *message.Message, q message.QoS, _ *router.Publication) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, fmt.Sprintf("%s %s %d", m.Topic, m.Payload, q))
	return nil
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *sink) want(t testing.TB, want ...string) {
	t.Helper()
	until(t, fmt.Sprintf("want %q", want), func() bool { return len(s.all()) >= len(want) })
	if got := s.all(); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// holder is a subscriber that has no room.
type holder struct{}

func (holder) Deliver(_ *message.Message, _ message.QoS, p *router.Publication) error {
	p.Claim()
	return nil
}

// device stands for a session: it takes messages by the rule of Message.At.
type device struct {
	sink
	name, from   string
	epoch, since uint64
	to           session.Move // where it is, once it is lost
	filters      []string
	node         *testNode
}

func (d *device) Elsewhere() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.to.To != ""
}

func (d *device) Device() string { return d.name }

func (d *device) Deliver(m *message.Message, q message.QoS, p *router.Publication) error {
	d.mu.Lock()
	lost, since := d.to, d.since
	d.mu.Unlock()
	own := spaceOf(m) == d.name
	if o := d.node.w.ownerOf(d.name); lost.To == "" && o != d.node.OwnerName() { // as the store's fence
		lost.To = o
	}
	switch {
	case lost.To != "":
		var c *router.Claim
		if p != nil {
			c = p.Claim()
		}
		d.node.Forward(d.name, lost.To, m, q, c)
		return nil
	case m.At != 0 && m.At < since && !own:
		return nil
	}
	return d.sink.Deliver(m, q, p)
}

func (d *device) DeliverOf(owner string, m *message.Message, q message.QoS, p *router.Publication) error {
	d.mu.Lock()
	takes := d.from == owner && m.At < d.since
	d.mu.Unlock()
	if !takes {
		return nil
	}
	return d.sink.Deliver(m, q, p)
}

// attach claims a device and makes its session with subscriptions.
func (n *testNode) attach(name string, filters ...string) *device {
	n.w.t.Helper()
	claimed := make(chan *device, 1)
	n.Node.Claim(name, func(c session.Claim, err error) {
		if err != nil {
			n.w.t.Error(err)
		}
		claimed <- n.restore(name, c, filters)
	})
	d := <-claimed
	n.announced()
	return d
}

func (n *testNode) restore(name string, c session.Claim, filters []string) *device {
	d := &device{name: name, from: c.From, epoch: c.Epoch, node: n, filters: filters}
	if c.From != "" {
		d.since = ^uint64(0)
	}
	n.mu.Lock()
	n.devices[name] = d
	n.mu.Unlock()
	for _, f := range filters {
		n.router.Subscribe(f, d, 1)
	}
	if c.From != "" {
		n.Moved(name, c)
	}
	return d
}

func (n *testNode) device(name string) *device {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.devices[name]
}

// Settle implements Sessions, as the following methods do.
func (n *testNode) Settle(name string, epoch, since uint64) {
	if d := n.device(name); d != nil {
		d.mu.Lock()
		d.since = since
		d.mu.Unlock()
	}
}

func (n *testNode) Lose(name string, to session.Move) bool {
	d := n.device(name)
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
	return true
}

func (n *testNode) Unshadow(name string, epoch uint64) {
	n.mu.Lock()
	d := n.devices[name]
	delete(n.devices, name)
	n.mu.Unlock()
	for _, f := range d.filters {
		n.router.Unsubscribe(f, d)
	}
}

func (n *testNode) Adopt(name string, c session.Claim, died time.Time) error {
	n.mu.Lock()
	n.adopted = append(n.adopted, name)
	n.mu.Unlock()
	n.restore(name, c, []string{"fleet/#", "device/" + name + "/#"})
	return nil
}

func (n *testNode) DeliverTo(name string, m *message.Message, q message.QoS, p *router.Publication) error {
	if n.w.ownerOf(name) == n.OwnerName() {
		until(n.w.t, "the claim is not answered", func() bool { return n.device(name) != nil })
	}
	d := n.device(name)
	if d == nil {
		return session.ErrNotHere
	}
	d.mu.Lock()
	takes, lost := m.At == 0 || m.At < d.since || spaceOf(m) == name, d.to.To != ""
	d.mu.Unlock()
	if !takes {
		return nil
	}
	if lost || n.w.ownerOf(name) != n.OwnerName() {
		return d.Deliver(m, q, p)
	}
	return d.sink.Deliver(m, q, p)
}

func (n *testNode) Connected(string) bool { return true }

func (n *testNode) DeliverOwn(name string, m *message.Message, q message.QoS, p *router.Publication) error {
	return n.DeliverTo(name, m, q, p)
}

func (n *testNode) Received(_ string, epoch uint64, id uint16, done func(bool, error)) {
	done(epoch == 9 && id == 7, nil)
}

// Claim of the store: see stores.
func (w *world) claim(n *testNode, name, only string, check bool) (c storeredis.Claimed, err error) {
	w.owners.mu.Lock()
	defer w.owners.mu.Unlock()
	o := w.owners.of[name]
	switch {
	case o == nil && check && only != "", o != nil && check && o.owner != only:
		return c, storeredis.ErrNotOwner
	case o != nil && o.owner == n.OwnerName():
		return storeredis.Claimed{Epoch: o.epoch}, nil
	case o != nil:
		c.From, c.Found = o.owner, true
	}
	w.owners.epoch++
	c.Epoch = w.owners.epoch
	w.owners.of[name] = &ownedBy{n.OwnerName(), c.Epoch}
	return c, w.client.Do(w.t.Context(), w.client.B().Sadd().Key(n.keys.devices(n.Self())).Member(name).Build()).Error()
}

func (w *world) ownerOf(name string) string {
	w.owners.mu.Lock()
	defer w.owners.mu.Unlock()
	if o := w.owners.of[name]; o != nil {
		return o.owner
	}
	return ""
}

// testStore is the store of a node.
type testStore struct {
	n *testNode
	*store.Memory
}

func (n *testNode) onStore() testStore { return testStore{n, n.memory} }

func (s testStore) Claim(name string, done func(storeredis.Claimed, error)) {
	go func() { done(s.n.w.claim(s.n, name, "", false)) }()
}

func (s testStore) Adopt(name, dead string, done func(storeredis.Claimed, error)) {
	go func() {
		c, err := s.n.w.claim(s.n, name, dead, true)
		done(c, err)
		if err == nil && c.From != "" && s.n.device(name) == nil {
			s.n.w.t.Error("an adopted device has no session when the next claim of it may be told")
		}
	}()
}

func (s testStore) Disown(string) {}

func (s testStore) Owner(_ context.Context, names []string) ([]string, error) {
	w := s.n.w
	w.owners.mu.Lock()
	defer w.owners.mu.Unlock()
	list := make([]string, len(names))
	for i, name := range names {
		if o := w.owners.of[name]; o != nil {
			list[i] = o.owner
		}
	}
	return list, nil
}
