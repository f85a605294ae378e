// Package mqtt has the source that is another MQTT broker: the way down of a bridge.
package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/source/feed"
	"github.com/longline/longline/internal/topic"
	wire "github.com/longline/longline/internal/wire/mqtt"
)

// source implements feed.Feed. The broker keeps a session for it, so it sends again what was not acknowledged.
type source struct {
	// Static after Open.
	config     Config
	broker     *bridge.Broker
	hop        string // of the broker
	table      *bridge.Table
	loops      *bridge.Loops
	subscribed *bridge.Subscribed
	clientID   string
	log        *slog.Logger
	drops      *drops

	// Owned by the goroutine that calls Run.
	view  route.View
	asked bool  // the session has the filters of the table
	line  *line // of the last Run
}

// Open makes the source. It contacts nobody; errors begin with the key.
func Open(c Config, o feed.Options) (feed.Feed, error) {
	broker, err := bridge.Open(c.Config, o.Watcher, o.Log)
	if err != nil {
		return nil, err
	}
	table, err := bridge.ParseTable(c.Topics)
	if err != nil {
		return nil, fmt.Errorf("topics: %w", err)
	}
	loops := cmp.Or(o.Loops, bridge.NewLoops("gateway")) // there are none for a check
	s := &source{
		config: c, broker: broker, hop: loops.Hop(broker), table: table, loops: loops, log: o.Log,
		clientID: cmp.Or(c.ClientID, loops.ID()+"-source-"+o.Name), view: route.View{Node: o.Node}, line: new(line),
		drops: newDrops(o.Log),
	}
	s.subscribed = &bridge.Subscribed{Broker: s.hop, Hops: broker.Version() == wire.V5, Filters: table.Matched()}
	s.loops.Subscribe(s.subscribed)
	return s, nil
}

// Close implements feed.Feed.
func (s *source) Close() { s.loops.Unsubscribe(s.subscribed) }

// Lag implements feed.Feed: a broker does not tell.
func (s *source) Lag() (records int64, known bool) { return 0, false }

// Dropped implements feed.Dropping.
func (s *source) Dropped() map[string]uint64 {
	all := make(map[string]uint64, reasons)
	for why, name := range dropNames {
		all[name] = s.drops[why].N()
	}
	return all
}

// Run implements feed.Feed.
func (s *source) Run(ctx context.Context, take feed.Take) error {
	known := s.line.settle(ctx, s.config.Timeout)
	in := newInbox(s.config.Unanswered, s.drops)
	c, err := s.broker.Connect(ctx, bridge.Session{
		ClientID: s.clientID, Kept: true, Expiry: s.config.Session, Unanswered: s.config.Unanswered,
		OnPublish: in.put, OnOversized: in.putOversized,
	})
	if err != nil {
		return s.kind(err)
	}
	defer c.Close()
	if !c.Resumed {
		known = nil
	}
	s.line = &line{conn: c, known: known, failed: make(chan struct{})}
	if err := s.subscribe(ctx, c); err != nil {
		return s.kind(err)
	}
	for {
		select {
		case p := <-in.line:
			in.took(p)
			if err := s.receive(ctx, p, take); err != nil {
				return err
			}
		case <-s.line.failed:
			return s.line.err()
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			s.line.finish(grace)
			return ctx.Err()
		}
	}
}

// grace is how long Run waits at its end for what is under way, so that it need not come again.
const grace = time.Second

// kind returns an error of Connect and subscribe as one of feed's kinds. There is nobody who resumes a source: so what may pass by itself, such as a
// password that the broker does not know yet, is tried again.
func (s *source) kind(err error) error {
	var refusal *bridge.Refusal
	if errors.As(err, &refusal) && refusal.Code != wire.UnsupportedProtocolVersion && refusal.Code != wire.ClientIDNotValid {
		return err
	}
	if bridge.ForGood(err) {
		return feed.Misconfigured(err)
	}
	return err
}

// subscribe subscribes to the table's filters, unless the session at the broker has them. It may have others, of an older configuration.
func (s *source) subscribe(ctx context.Context, c *bridge.Conn) error {
	if c.Resumed && s.asked {
		return nil
	}
	var all []wire.Subscription
	for _, f := range s.table.Filters() {
		const ifNew = 1 // retained messages come with a new subscription alone
		one := wire.Subscription{Filter: f, QoS: message.AtLeastOnce, RetainAsPublished: true}
		if !topic.IsShared(f) {
			one.RetainHandling = ifNew
		}
		all = append(all, one)
	}
	err := c.Subscribe(ctx, all)
	s.asked = err == nil
	return err
}

// receive gives a publication to take, unless it has been taken before, is not for the gateway, or left it before.
func (s *source) receive(ctx context.Context, p *publication, take feed.Take) error {
	if s.line.again(p) {
		return nil
	}
	r, why := s.record(p)
	if r == nil {
		s.drops[why].Add()
		s.line.add(p)(nil)
		return nil
	}
	return take(ctx, r, s.line.add(p))
}

// record makes a record of a publication; nil, and why, if it is to be dropped.
func (s *source) record(p *publication) (r *feed.Record, why drop) {
	if p.oversized {
		return nil, oversized
	}
	m := &message.Message{Topic: p.topic, Payload: p.payload, ContentType: p.contentType, Properties: p.properties, Time: p.came.UnixMilli()}
	s.view.Reset(m)
	to, ok, err := s.table.Map(&s.view)
	switch {
	case err != nil:
		s.log.Debug("a publication gets no topic here", "topic", p.topic, "error", err)
	case !ok:
		return nil, unmatched
	}
	properties, fresh, far := s.loops.Arrive(bridge.Arrival{
		Broker: s.hop, Remote: p.topic, Local: to, Payload: p.payload, Properties: p.properties, Hops: s.subscribed.Hops,
	})
	switch {
	case far != nil:
		return nil, tooFar
	case !fresh:
		return nil, returned
	}
	return &feed.Record{
		Topic: p.topic, To: to, Value: p.payload, ContentType: p.contentType,
		Properties: properties, QoS: p.qos, Retain: p.retain, Expiry: p.expiry, Err: err,
	}, 0
}

// publication is a publication of the broker, in memory of its own.
type publication struct {
	id          uint16
	again       bool // the broker sent it before
	oversized   bool // it has no more than id and qos
	topic       string
	payload     []byte
	contentType string
	properties  []message.Property
	qos         message.QoS
	retain      bool
	expiry      int64 // in Unix milliseconds; 0 is never
	came        time.Time
}

// size is about the memory that p takes.
func (p *publication) size() int {
	n := 200 + len(p.topic) + len(p.payload) + len(p.contentType)
	for _, u := range p.properties {
		n += 32 + len(u.Key) + len(u.Value)
	}
	return n
}

// copied returns a copy of a packet, which is borrowed.
func copied(p *wire.Packet) *publication {
	c := &publication{
		id: p.ID, again: p.Dup, topic: string([]byte(p.Topic)), payload: slices.Clone(p.Payload), contentType: string([]byte(p.Properties.ContentType)),
		qos: p.QoS, retain: p.Retain, came: time.Now(),
	}
	for _, u := range p.Properties.User {
		c.properties = append(c.properties, message.Property{Key: string([]byte(u.Key)), Value: string([]byte(u.Value))})
	}
	if p.Properties.Has(wire.PropMessageExpiry) {
		c.expiry = c.came.Add(time.Duration(p.Properties.MessageExpiry) * time.Second).UnixMilli()
	}
	return c
}
