// Package mqtt has the sink that is another MQTT broker: the way up of a bridge.
package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sync/singleflight"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
	wire "github.com/longline/longline/internal/wire/mqtt"
)

// target implements pump.Target. All lanes share one connection, which has a session that ends with it: what is not acknowledged then, the pump
// sends again.
type target struct {
	// Static after Open.
	config  Config
	broker  *bridge.Broker
	hop     string // of the broker
	hops    bool   // messages go with their hops
	table   *bridge.Table
	loops   *bridge.Loops
	session bridge.Session
	life    context.Context // ends with Close
	end     context.CancelFunc
	dialing singleflight.Group // of one connection
	expired *bridge.Tally

	patience pump.Patience

	mu       sync.Mutex
	conn     *bridge.Conn               // nil before the first
	rejected map[*message.Message]error // of messages behind one that Send returned an error for
}

// Open makes the target. It contacts nobody; errors begin with the key.
func Open(c Config, o pump.Options) (pump.Target, error) {
	broker, err := bridge.Open(c.Config, o.Watcher, o.Log)
	if err != nil {
		return nil, err
	}
	table, err := bridge.ParseTable(c.Topics)
	if err != nil {
		return nil, fmt.Errorf("topics: %w", err)
	}
	loops := cmp.Or(o.Loops, bridge.NewLoops("gateway")) // there are none for a check
	t := &target{
		config: c, broker: broker, hop: loops.Hop(broker), hops: broker.Version() == wire.V5, table: table, loops: loops,
		session:  bridge.Session{ClientID: cmp.Or(c.ClientID, loops.ID()+"-sink-"+o.Name)},
		expired:  bridge.NewTally(o.Log, slog.LevelWarn, "messages expired before the broker took them"),
		rejected: make(map[*message.Message]error),
	}
	t.life, t.end = context.WithCancel(context.Background())
	return t, nil
}

// Prepare implements pump.Target.
func (t *target) Prepare(v *route.View, r *pump.Record) error {
	m := v.Message()
	to, ok, err := t.table.Map(v)
	if err != nil {
		return err
	}
	hops, fresh, err := t.loops.Leave(m.Properties, t.hop)
	switch {
	case err != nil:
		return err
	case !ok, !fresh:
		return pump.ErrLeftOut
	}
	r.To = to
	if r.Value, r.ContentType, err = v.Encoded(); err != nil {
		return err
	}
	if r.Retain = m.Kept; t.config.Retain != "" {
		r.Retain = t.config.Retain == "true"
	}
	if t.hops {
		r.Headers = headers(v, hops)
	}
	return t.checkTexts(r)
}

// checkTexts returns what is wrong with the texts of a packet. A broker may end the connection for a control character or a non-character in one of
// them, MQTT 5 §1.5.4, as Mosquitto does: a device could hold up all others by such a message.
func (t *target) checkTexts(r *pump.Record) error {
	texts := []string{r.To}
	if t.hops { // 3.1.1 has no others
		texts = append(texts, r.ContentType)
		if q := r.Message.Request; q != nil {
			texts = append(texts, q.ResponseTopic)
		}
		for _, h := range r.Headers {
			texts = append(texts, h.Name, h.Value)
		}
	}
	for _, text := range texts {
		if strings.ContainsFunc(text, isUnwanted) {
			return fmt.Errorf("%.100q has a control character or a non-character, for which a broker may end the connection", text)
		}
	}
	return nil
}

// isUnwanted reports whether a text of MQTT should not have r.
func isUnwanted(r rune) bool {
	return unicode.IsControl(r) || r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE
}

// headers returns the user properties of a message there: its own, those that every record has, and its hops. A message that came by a source from another
// gateway keeps what that one said of it.
func headers(v *route.View, hops string) []pump.Header {
	m := v.Message()
	list := make([]pump.Header, 0, len(m.Properties)+6)
	foreign := false
	for _, p := range m.Properties {
		switch {
		case p.Key == bridge.HopsProperty, p.Key == message.Traceparent && m.Trace != nil, pump.IsForged(m, p.Key):
			continue
		case strings.HasPrefix(p.Key, "longline-"):
			foreign = true
		}
		list = append(list, pump.Header{Name: p.Key, Value: p.Value})
	}
	if foreign {
		for _, p := range v.Added() {
			list = append(list, pump.Header{Name: p.Key, Value: p.Value})
		}
	} else {
		list = pump.StandardHeaders(list, v, "")
	}
	return append(list, pump.Header{Name: bridge.HopsProperty, Value: hops})
}

// Send implements pump.Target.
func (t *target) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	results := make([]error, len(records))
	var left []int // the records that have to be sent
	for i, r := range records {
		results[i] = t.takeRejected(r)
		if results[i] == nil && !r.Confirmed {
			left = append(left, i)
		}
	}
	if len(left) > 0 {
		c, err := t.connect(ctx)
		if err == nil {
			t.publish(ctx, c, records, left, results)
		}
		for _, i := range left {
			results[i] = cmp.Or(results[i], err)
		}
	}
	return t.settle(records, results)
}

// publish publishes the records that are left, and sets their results.
func (t *target) publish(ctx context.Context, c *bridge.Conn, records []*pump.Record, left []int, results []error) {
	now := time.Now()
	live := left[:0]
	sent := make([]bridge.Sent, 0, len(left))
	for _, i := range left {
		r := records[i]
		if r.Message.Expired(now) { // nobody there wants it any more
			t.expired.Add()
			continue
		}
		live = append(live, i)
		sent = append(sent, t.loops.Send(bridge.Sending{
			Broker: t.hop, Remote: r.To, Local: r.Message.Topic, Payload: r.Value,
			Hops: t.hops, Passing: bridge.HopsOf(r.Message.Properties) != "", Remember: t.config.Remember,
		}))
	}
	answers := c.Publish(ctx, len(live), func(n int, p *wire.Packet) { fill(p, records[live[n]], c, now) })
	for n, err := range answers {
		if err != nil {
			t.loops.Unsent(sent[n])
		}
		results[live[n]] = t.kind(err)
	}
}

// fill makes the packet of a record.
func fill(p *wire.Packet, r *pump.Record, c *bridge.Conn, now time.Time) {
	m := r.Message
	p.Topic, p.Payload, p.Retain = r.To, r.Value, r.Retain && c.Limits.Retain
	properties := &p.Properties
	properties.ContentType = r.ContentType
	properties.TextPayload = m.PayloadFormat == 1
	if m.Expiry != 0 {
		properties.MessageExpiry = uint32(max((m.Expiry-now.UnixMilli()+999)/1000, 1)) //nolint:gosec // as the publisher gave it, in as many bits
	}
	if m.Request != nil {
		properties.ResponseTopic, properties.CorrelationData = m.Request.ResponseTopic, m.Request.CorrelationData
	}
	for _, h := range r.Headers {
		properties.User = append(properties.User, message.Property{Key: h.Name, Value: h.Value})
	}
}

// kind returns an error of a publication as one of the pump's kinds.
func (t *target) kind(err error) error {
	if err == nil {
		return nil
	}
	var wrong *wire.Error
	var large *bridge.TooLarge
	var rejected *bridge.Rejected
	switch {
	case errors.As(err, &wrong), errors.As(err, &large):
		return pump.Refused(err)
	case errors.As(err, &rejected):
		switch rejected.Code {
		case wire.NotAuthorized, wire.TopicNameInvalid, wire.PayloadFormatInvalid:
			return pump.Refused(err)
		}
	}
	return err
}

// settle returns what Send returns, and remembers what becomes of the records behind the first error: they come again, and are not to be sent again.
func (t *target) settle(records []*pump.Record, results []error) (done int, err error) {
	for done < len(results) && results[done] == nil {
		done++
	}
	if done == len(results) {
		return done, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := done + 1; i < len(results); i++ {
		if results[i] == nil {
			records[i].Confirmed = true
		} else if pump.IsRefused(results[i]) {
			t.rejected[records[i].Message] = results[i]
		}
	}
	return done, results[done]
}

// takeRejected returns why the broker does not take a record, if an earlier Send knows that and has not told it.
func (t *target) takeRejected(r *pump.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.rejected[r.Message]
	delete(t.rejected, r.Message)
	return err
}

// connect returns the connection, which it makes if there is none. Lanes that want one at the same time wait for the same.
func (t *target) connect(ctx context.Context) (*bridge.Conn, error) {
	if c := t.alive(); c != nil {
		return c, nil
	}
	answer := t.dialing.DoChan("", func() (any, error) {
		if c := t.alive(); c != nil {
			return c, nil
		}
		c, err := t.broker.Connect(t.life, t.session)
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		old := t.conn
		t.conn = c
		t.mu.Unlock()
		if old != nil {
			old.Close()
		}
		return c, nil
	})
	select {
	case a := <-answer:
		if a.Err == nil {
			t.patience.Renew()
			return a.Val.(*bridge.Conn), nil
		}
		if bridge.ForGood(a.Err) {
			return nil, t.patience.Misconfigured(a.Err, time.Now())
		}
		t.patience.Renew()
		return nil, a.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// alive returns the connection if it has not ended.
func (t *target) alive() *bridge.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil || t.conn.Err() != nil {
		return nil
	}
	return t.conn
}

// Close implements pump.Target.
func (t *target) Close() {
	t.end()
	_, _, _ = t.dialing.Do("", func() (any, error) { return nil, nil }) // after the one that may be under way
	t.mu.Lock()
	c := t.conn
	t.conn = nil
	t.mu.Unlock()
	if c != nil {
		c.Close()
	}
}
