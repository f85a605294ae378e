package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Devices of three kinds and backends come and go, are taken over, have room or not, answer or not; sessions end; messages of every
// QoS come from all of them, expire, conflate, are retained, shared, refused, or wait; the node starts again. After each of these
// every account balances, and they say what the devices, the backends and the publishers have counted themselves.
func TestLedgerBalancesAndIsTrue(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			g := newLedgerTrial(t, seed)
			defer func() { g.close() }()
			for range 200 {
				g.step()
				g.check()
				if t.Failed() {
					t.Fatalf("with seed %d", seed)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

type ledgerTrial struct {
	*world
	random  *rand.Rand
	durable bool
	number  int

	devices  []*ledgerDevice
	backends []*ledgerBackend

	// What the test has counted itself since the node started.
	delivered, acknowledged uint64 // by devices
	taken                   uint64 // by backends
	published, acked        uint64 // of devices: sent, and told that it was taken
	asked                   []*outcome
	askedOnce               uint64 // of QoS 0
	found                   uint64
}

// ledgerDevice is a device with at most one connection.
type ledgerDevice struct {
	id, kind string
	conn     *ledgerConn // nil while it is away
}

// ledgerConn is one of its connections.
type ledgerConn struct {
	*conn
	trial  *ledgerTrial
	owed   []func() // acknowledgements
	closed bool     // by the gateway
}

// ledgerClient is a ledgerConn with packet identifiers.
type ledgerClient struct{ *ledgerConn }

type ledgerBackend struct {
	inbox  *router.Inbox
	unread []*message.Message
}

func newLedgerTrial(t *testing.T, seed uint64) *ledgerTrial {
	g := &ledgerTrial{random: rand.New(rand.NewPCG(seed, 2)), durable: seed%2 == 0}
	o := store.Options{Queue: store.Limits{Count: 6, Bytes: 1000, Age: time.Minute}}
	if g.durable {
		g.world = newWorldOn(t, ledgerConfig, storetest.NewOnJournal(o))
	} else {
		g.world = newWorldOn(t, ledgerConfig, store.NewMemory(o))
	}
	for i, kind := range []string{"json", "mqtt", "raw", "json", "mqtt"} {
		g.devices = append(g.devices, &ledgerDevice{id: fmt.Sprint("d", i), kind: kind})
	}
	return g
}

var ledgerConfig = Config{InFlight: 3, Unanswered: 4, AckTimeout: 20 * time.Second}

func (g *ledgerTrial) step() {
	d := g.devices[g.random.IntN(len(g.devices))]
	switch g.random.IntN(24) {
	case 0, 1:
		g.connect(d)
	case 2:
		g.leave(d)
	case 3:
		time.Sleep(time.Duration(g.random.IntN(8000)) * time.Millisecond)
	case 4:
		if c := d.conn; c != nil {
			c.room = g.random.IntN(4) - 1
			c.link.Flush(true)
		}
	case 5, 6, 7, 8:
		g.publishOne()
	case 9, 10, 20, 21, 22, 23:
		g.publishFrom(d)
	case 11:
		g.backend()
	case 12:
		g.resubscribe(d)
	case 13:
		g.rare()
	default:
		g.acknowledge(d)
	}
	for _, d := range g.devices {
		for c := d.conn; c != nil && g.random.IntN(4) > 0 && c.step(); {
		}
		if d.conn != nil && d.conn.closed {
			g.leave(d)
		}
	}
	synctest.Wait()
}

func (g *ledgerTrial) rare() {
	switch g.random.IntN(4) {
	case 0:
		g.manager.Shed(true)
	case 1:
		g.manager.Shed(false)
	case 2:
		m := &message.Message{Topic: "b", Payload: []byte("to all"), Origin: message.Origin{Via: message.ViaAPI}}
		if _, err := g.manager.Broadcast(context.Background(), m, ""); err != nil {
			g.t.Error(err)
		}
		g.askedOnce++
	case 3:
		if g.durable {
			g.restart()
		}
	}
}

func (g *ledgerTrial) connect(d *ledgerDevice) {
	c := &ledgerConn{conn: &conn{world: g.world, room: -1, raw: d.kind == "raw"}, trial: g}
	stay := time.Duration(g.random.IntN(5)) * 20 * time.Second
	o := Options{Clean: g.random.IntN(10) == 0, Expiry: &stay}
	if g.random.IntN(3) == 0 {
		o.Will = will(time.Duration(g.random.IntN(2)) * 10 * time.Second)
	}
	var as Conn = c
	if d.kind == "mqtt" {
		as = &ledgerClient{c}
		o.NoRefusals = g.random.IntN(2) == 0
	}
	old := d.conn
	attached := false
	g.manager.Attach(d.id, &c.link, as, o, func(_ Attached, err error) {
		if attached = true; err != nil {
			g.t.Error(err)
		}
	})
	for tries := 0; !attached && tries < 100; tries++ { // its messages may have to be read first
		synctest.Wait()
		for c.step() {
		}
		if old != nil && g.random.IntN(2) == 0 {
			old.step()
		}
	}
	if d.conn = c; !attached {
		g.t.Error("Attach has not called back")
	}
	if old != nil {
		old.leave("taken over")
	}
	c.link.Flush(true)
	g.resubscribe(d)
}

func (g *ledgerTrial) leave(d *ledgerDevice) {
	if c := d.conn; c != nil {
		d.conn = nil
		c.leave("cut")
	}
}

func (g *ledgerTrial) resubscribe(d *ledgerDevice) {
	if d.conn == nil {
		return
	}
	var subs []topic.Subscription
	for _, s := range []topic.Subscription{
		{Filter: "a", QoS: 2},
		{Filter: "b", QoS: 1, NoLocal: true},
		{Filter: "c", QoS: 0, Conflate: true},
		{Filter: "$share/g/s", QoS: 2},
		{Filter: "$share/h/+", QoS: 1},
		{Filter: "#", QoS: 1},
	} {
		switch g.random.IntN(4) {
		case 0:
			d.conn.link.UnsubscribeEach([]string{s.Filter}, nil)
		case 1:
			subs = append(subs, s)
		}
	}
	d.conn.link.SubscribeEach(subs, make([]wire.Error, len(subs)))
	d.conn.link.Flush(true)
}

func (g *ledgerTrial) message() *message.Message {
	g.number++
	m := &message.Message{
		Topic:   string("abcs"[g.random.IntN(4)]),
		Payload: fmt.Append(nil, g.number),
		QoS:     message.QoS(g.random.IntN(3)),
		Retain:  g.random.IntN(8) == 0,
	}
	switch g.random.IntN(10) {
	case 0, 1:
		m.Expiry = time.Now().Add(time.Duration(1+g.random.IntN(5)) * time.Second).UnixMilli()
	case 2:
		m.ContentType = "refused" // no device takes it
	case 3:
		m.Payload = make([]byte, 2000) // no queue takes it
	}
	return m
}

func (g *ledgerTrial) publishOne() {
	m := g.message()
	m.Origin.Via = message.ViaAPI
	o := new(outcome)
	if m.QoS == 0 {
		g.askedOnce++
		if _, err := g.router.Publish(m, nil); err != nil {
			g.t.Error(err)
		}
		return
	}
	g.asked = append(g.asked, o)
	if got, err := g.router.Publish(m, o.set); !got.Later {
		o.set(err)
	}
}

func (g *ledgerTrial) publishFrom(d *ledgerDevice) {
	c := d.conn
	if c == nil {
		return
	}
	m := g.message()
	p := &wire.Packet{Op: wire.Pub, ID: uint64(1 + g.random.IntN(2)), Again: g.random.IntN(3) == 0,
		Message: message.Message{Topic: m.Topic, Payload: m.Payload, ContentType: m.ContentType, QoS: m.QoS, Retain: m.Retain}}
	switch {
	case d.kind == "raw":
		p.Message.QoS = 0
	case d.kind == "json":
		p.Message.QoS = min(1, m.QoS)
	case g.random.IntN(4) == 0:
		c.link.Released(uint16(p.ID))
	}
	g.published++
	switch g.random.IntN(10) {
	case 0:
		if d.kind != "raw" {
			p.Message.Topic = strings.Repeat("deep/", 30) + "x"
		}
	case 1:
		if d.kind != "raw" {
			p.Message.Topic = "$reserved"
		}
	case 2:
		c.link.RefuseTooLarge(p.ID, p.Message.QoS)
		return
	}
	if err := c.link.Handle(p); err != nil {
		g.leave(d)
	}
}

func (g *ledgerTrial) acknowledge(d *ledgerDevice) {
	if c := d.conn; c != nil && len(c.owed) > 0 {
		i := g.random.IntN(len(c.owed))
		f := c.owed[i]
		c.owed = append(c.owed[:i], c.owed[i+1:]...)
		f()
	}
}

// backend opens, reads or closes a subscription of a backend.
func (g *ledgerTrial) backend() {
	if len(g.backends) < 2 {
		filters := [][]string{{"a", "$share/g/s"}, {"#"}, {"$share/h/+"}}[g.random.IntN(3)]
		in := g.router.OpenInbox(router.InboxConfig{Messages: 3}, filters, message.QoS(g.random.IntN(2)), g.random.IntN(2) == 0)
		g.backends = append(g.backends, &ledgerBackend{inbox: in})
		return
	}
	i := g.random.IntN(len(g.backends))
	b := g.backends[i]
	if g.random.IntN(4) == 0 {
		n := g.random.IntN(len(b.unread) + 1)
		b.inbox.Close(b.unread[n:])
		g.taken -= uint64(len(b.unread) - n)
		g.backends = append(g.backends[:i], g.backends[i+1:]...)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if batch, _, err := b.inbox.Take(ctx, nil); err == nil {
		b.unread = batch
		g.taken += uint64(len(batch))
		if len(batch) > 1 && g.random.IntN(3) == 0 {
			b.unread = batch[1:]
			b.inbox.Expired(1)
			g.taken--
		}
	}
}

// restart ends the node in order and starts the next.
func (g *ledgerTrial) restart() {
	for _, d := range g.devices {
		g.leave(d)
	}
	for _, b := range g.backends {
		b.inbox.Close(nil)
	}
	g.manager.Close()
	synctest.Wait()
	g.check()
	left := g.ledger().Received()
	*g = ledgerTrial{world: g.restarted(ledgerConfig), random: g.random, durable: true, number: g.number, devices: g.devices, found: left.Waiting}
}

// ledger returns the ledger of the world's node.
func (w *world) ledger() *ledger.Node {
	w.t.Helper()
	n := new(ledger.Node)
	for _, add := range []func(context.Context, *ledger.Node) error{w.manager.AddLedger, w.router.AddLedger} {
		if err := add(context.Background(), n); err != nil {
			w.t.Error(err)
		}
	}
	return n
}

// check compares the ledger with what the test has counted.
func (g *ledgerTrial) check() {
	g.t.Helper()
	n := g.ledger()
	for _, x := range n.Receivers {
		expect(g.t, fmt.Sprintf("unexplained messages of %+v", x), x.Difference(), 0)
	}
	for _, x := range n.Publishers {
		expect(g.t, fmt.Sprintf("unexplained publications of %+v", x), x.Difference(), 0)
	}
	all := n.Received()
	expect(g.t, "delivered", all.Delivered, g.delivered+g.taken)
	expect(g.t, "acknowledged", all.Acknowledged, g.acknowledged)
	expect(g.t, "moved", all.MovedIn, all.MovedOut)
	expect(g.t, "found", all.Found, g.found)
	drops := g.drops()
	for _, why := range []router.Drop{router.Offline, router.Conflated, router.SessionEnded, router.QueueOverflow, router.BackendTooSlow, router.Shed, router.QueueFull, router.Refused} {
		expect(g.t, why.String(), count(all.Dropped, why.String()), drops[why.String()])
	}
	expect(g.t, "expired", all.Expired, drops["expired"])
	g.checkPublishers(n)
}

func (g *ledgerTrial) checkPublishers(n *ledger.Node) {
	g.t.Helper()
	var devices ledger.Publisher
	for _, x := range n.Publishers {
		switch x.Kind {
		case "devices", "ended_sessions":
			devices.Add(&x.Publisher)
		case "api":
			g.checkAsked(&x.Publisher)
		case "will":
			expect(g.t, "wills", x.Published, g.manager.Wills())
		}
	}
	expect(g.t, "published", devices.Published, g.published)
	expect(g.t, "acknowledged to devices", devices.Acknowledged, g.acked)
	for _, why := range []router.Drop{router.BadTopic, router.TooLarge, router.NotAllowed} {
		expect(g.t, why.String(), count(devices.Refused, why.String()), g.drops()[why.String()])
	}
}

// checkAsked compares the account of the API's publications.
func (g *ledgerTrial) checkAsked(x *ledger.Publisher) {
	g.t.Helper()
	told := map[string]uint64{}
	for _, o := range g.asked {
		switch s := o.String(); s {
		case "taken", "waits":
			told[s]++
		default:
			told["refused"]++
		}
	}
	expect(g.t, "asked", x.Published, uint64(len(g.asked))+g.askedOnce)
	expect(g.t, "asked and taken", x.Taken, told["taken"]+g.askedOnce)
	expect(g.t, "asked and refused", x.Refused.Sum(), told["refused"])
	expect(g.t, "asked and waiting", x.Waiting, told["waits"])
	expect(g.t, "asked and acknowledged", x.Acknowledged, told["taken"])
}

func count(all ledger.Counts, why string) uint64 {
	for _, x := range all {
		if x.Why == why {
			return x.N
		}
	}
	return 0
}

func (c *ledgerConn) Send(m *message.Message, q message.QoS) bool {
	c.room--
	switch {
	case m.ContentType == "refused":
		return false
	case q == message.AtMostOnce || c.raw:
		c.trial.delivered++
	default:
		c.owed = append(c.owed, func() {
			c.handle(ackOf(m.ID))
			c.trial.acknowledged++
		})
	}
	return true
}

func (c *ledgerConn) Answer(p *wire.Packet) {
	if p.Op == wire.Ack && p.Of == wire.Pub && p.Err.Code == "" {
		c.trial.acked++
	}
}

func (c *ledgerConn) Close(*wire.Close) { c.post(func() { c.closed = true }) }

func (c *ledgerClient) SendPacket(m *message.Message, q message.QoS, id uint16, _ bool) bool {
	c.room--
	if m.ContentType == "refused" {
		return false
	}
	c.owed = append(c.owed, func() {
		c.trial.acknowledged++
		if q == message.AtLeastOnce {
			if err := c.link.Acked(id); err != nil {
				c.world.t.Error(err)
			}
			return
		}
		if found, err := c.link.Received(id, false); !found || err != nil {
			c.world.t.Error(found, err)
		}
		c.Release(id)
	})
	return true
}

func (c *ledgerClient) Release(id uint16) {
	c.owed = append(c.owed, func() { _ = c.link.Completed(id) })
}
