package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/errgroup"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// target adds records to streams.
//
// The records of a batch that go to one stream are a transaction: all of them or none. So a server that runs out of memory, or changes its role, in the middle
// of a batch leaves no gap, which the next attempt could only fill behind newer entries of the same device.
type target struct {
	// Static after construction.
	config Config
	key    route.Template
	fields []field // empty: the default ones
	client pump.Connection[rueidis.Client]

	patience pump.Patience
	barred   keys // were no streams, or forbidden, when last seen
	lacking  keys // had too few replicas when last seen
}

// answers are the bounds of an answer: it tells of entries, and has none.
var answers = redisconn.Bounds{Text: 1 << 20, Answer: 16 << 20}

// Open implements what pump.Options says of targets.
func Open(c Config, o pump.Options) (pump.Target, error) {
	t := &target{config: c}
	var err error
	if t.key, t.fields, err = c.templates(); err != nil {
		return nil, err
	}
	t.client.End = rueidis.Client.Close
	if t.client.Dial, err = c.Dialer(o.Watcher, answers); err != nil {
		return nil, err
	}
	return t, nil
}

// Close implements pump.Target.
func (t *target) Close() { t.client.Close() }

// Prepare implements pump.Target. The fields of the entry are in Headers; the payload is in Value, unless the configuration has other fields.
func (t *target) Prepare(v *route.View, r *pump.Record) (err error) {
	if r.To, err = t.key.Render(v); err != nil {
		return err
	}
	if r.To == "" {
		return errors.New("the key is empty")
	}
	if len(t.fields) > 0 {
		return t.prepareFields(v, r)
	}
	if r.Value, r.ContentType, err = v.Encoded(); err != nil {
		return err
	}
	m := v.Message()
	r.Headers = append(r.Headers, pump.Header{Name: "place", Value: pump.ID(v)}, pump.Header{Name: "topic", Value: m.Topic},
		pump.Header{Name: "time", Value: strconv.FormatInt(m.Time, 10)})
	for _, h := range []pump.Header{{Name: "source", Value: m.Source}, {Name: "content_type", Value: r.ContentType}} {
		if h.Value != "" {
			r.Headers = append(r.Headers, h)
		}
	}
	if m.Trace != nil {
		r.Headers = append(r.Headers, pump.Header{Name: message.Traceparent, Value: m.Trace.String()})
	}
	for _, p := range v.Added() {
		r.Headers = append(r.Headers, pump.Header{Name: p.Key, Value: p.Value})
	}
	return nil
}

func (t *target) prepareFields(v *route.View, r *pump.Record) error {
	for _, f := range t.fields {
		value, err := f.value.Render(v)
		if err != nil {
			return err
		}
		r.Headers = append(r.Headers, pump.Header{Name: f.name, Value: value})
	}
	return nil
}

// concurrency bounds how many streams a lane writes to at a time.
const concurrency = 16

// Send implements pump.Target.
func (t *target) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*t.config.Timeout)
	defer cancel()
	client, err := t.client.Get(ctx)
	if err != nil {
		return t.confirmed(records), t.meaning(err)
	}
	errs := make(map[string]error) // by key
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(concurrency)
	for key, some := range byKey(records) {
		group.Go(func() error {
			err := t.addAll(ctx, client, key, some)
			mu.Lock()
			errs[key] = err
			mu.Unlock()
			return nil
		})
	}
	_ = group.Wait()
	if done = t.confirmed(records); done < len(records) {
		err = errs[records[done].To]
	}
	return done, err
}

// confirmed returns how many of the first records are confirmed.
func (t *target) confirmed(records []*pump.Record) (n int) {
	for n < len(records) && records[n].Confirmed {
		n++
	}
	return n
}

// byKey returns the records that are not confirmed by their keys, in order.
func byKey(records []*pump.Record) map[string][]*pump.Record {
	all := make(map[string][]*pump.Record)
	for _, r := range records {
		if !r.Confirmed {
			all[r.To] = append(all[r.To], r)
		}
	}
	return all
}

// addAll adds records to one stream, and marks those that are confirmed. The error is nil if all are. It adds only one record to a key
// that was barred last time: messages for such a key come back one by one.
func (t *target) addAll(ctx context.Context, client rueidis.Client, key string, records []*pump.Record) error {
	for len(records) > 0 {
		n := len(records)
		if t.barred.has(key) {
			n = 1
		}
		err := t.meaning(t.add(ctx, client, key, records[:n]))
		t.barred.note(key, pump.IsRefused(err))
		if err != nil {
			return err
		}
		for _, r := range records[:n] {
			r.Confirmed = true
		}
		records = records[n:]
	}
	return nil
}

// add adds records to one stream, in a transaction.
func (t *target) add(ctx context.Context, client rueidis.Client, key string, records []*pump.Record) error {
	if t.lacking.has(key) {
		if err := t.countReplicas(ctx, client, key); err != nil {
			return err
		}
	}
	b := client.B()
	commands := make(rueidis.Commands, 0, len(records)+3)
	commands = append(commands, b.Multi().Build())
	for _, r := range records {
		commands = append(commands, t.command(b, key, r))
	}
	commands = append(commands, b.Exec().Build())
	if wait, ok := t.wait(b, t.config.Timeout); ok {
		commands = append(commands, wait)
	}
	results := client.DoMulti(ctx, commands...)
	if err := executed(results[:len(records)+2]); err != nil {
		return err
	}
	if len(results) > len(records)+2 {
		return t.waited(key, results[len(results)-1])
	}
	return nil
}

// command returns the XADD of a record. It has copies of the record's bytes, because a client whose call was cut short may hold commands for
// a while.
func (t *target) command(b rueidis.Builder, key string, r *pump.Record) rueidis.Completed {
	add := b.Xadd().Key(key).Maxlen().Almost().Threshold(strconv.FormatInt(t.config.MaxLen, 10)).Id("*").FieldValue()
	for _, h := range r.Headers {
		add = add.FieldValue(h.Name, h.Value)
	}
	if len(t.fields) == 0 {
		add = add.FieldValue("payload", string(r.Value))
	}
	return add.Build()
}

// executed returns why a transaction was not made. Without an error all of its commands were done.
func executed(results []rueidis.RedisResult) error {
	last := len(results) - 1
	done, err := results[last].ToArray()
	if err != nil {
		for _, r := range results[:last] { // what was wrong with a command says more than that the transaction was aborted
			if cause := r.Error(); cause != nil {
				return cause
			}
		}
		return err
	}
	for _, d := range done {
		if err := d.Error(); err != nil {
			return err
		}
	}
	return nil
}

// wait returns the command that waits for replicas and disks, if it is needed.
func (t *target) wait(b rueidis.Builder, timeout time.Duration) (rueidis.Completed, bool) {
	replicas, most := int64(t.config.Replicas), timeout.Milliseconds()
	switch {
	case t.config.Synced:
		return b.Waitaof().Numlocal(1).Numreplicas(replicas).Timeout(most).Build(), true
	case replicas > 0:
		return b.Wait().Numreplicas(replicas).Timeout(most).Build(), true
	}
	return rueidis.Completed{}, false
}

// waited returns what an answer to wait lacks.
func (t *target) waited(key string, r rueidis.RedisResult) error {
	var local, replicas int64
	var err error
	if t.config.Synced {
		var both []int64
		if both, err = r.AsIntSlice(); err == nil && len(both) == 2 {
			local, replicas = both[0], both[1]
		}
	} else {
		replicas, err = r.AsInt64()
	}
	if err != nil {
		return err
	}
	t.lacking.note(key, replicas < int64(t.config.Replicas))
	switch {
	case t.config.Synced && local < 1:
		return errors.New("the server has not written it to disk in time")
	case replicas < int64(t.config.Replicas):
		return fmt.Errorf("%d of %d replicas have it", replicas, t.config.Replicas)
	}
	return nil
}

// countReplicas returns an error if there are fewer replicas than are needed. It is asked before anything is added, so that an attempt while a
// replica is away adds nothing. A connection that has written nothing waits for no replica: it learns at once how many there are.
func (t *target) countReplicas(ctx context.Context, client rueidis.Client, key string) error {
	return client.Dedicated(func(c rueidis.DedicatedClient) error {
		// A command with the key brings the connection to the key's node.
		results := c.DoMulti(ctx, c.B().Exists().Key(key).Build(), c.B().Wait().Numreplicas(int64(t.config.Replicas)).Timeout(1).Build())
		n, err := results[1].AsInt64()
		if err == nil && n < int64(t.config.Replicas) {
			err = fmt.Errorf("there are %d of %d replicas", n, t.config.Replicas)
		}
		return err
	})
}

// meaning returns an error as the pump is to see it.
func (t *target) meaning(err error) error {
	switch t.kind(err) {
	case aboutKey:
		if !t.key.Literal() { // a device may have had a say in it
			t.patience.Renew()
			return pump.Refused(err)
		}
		return t.patience.Misconfigured(err, time.Now())
	case aboutUs:
		return t.patience.Misconfigured(err, time.Now())
	}
	t.patience.Renew()
	return err
}

type kind uint8

const (
	passing  kind = iota // it may be over soon
	aboutKey             // this key is no stream, or not for this user
	aboutUs              // the configuration does not suit the server
)

func (*target) kind(err error) kind {
	answer, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return passing // no answer, or no error
	}
	text := answer.Error()
	begins := func(with ...string) bool {
		return slices.ContainsFunc(with, func(w string) bool { return strings.HasPrefix(text, w) })
	}
	switch {
	case begins("WRONGTYPE"), begins("NOPERM") && (strings.Contains(text, "access a key") || strings.Contains(text, "access one of the keys")):
		return aboutKey
	case begins("NOPERM", "NOAUTH", "WRONGPASS", "ERR AUTH", "ERR invalid password", "ERR unknown command", "ERR DB index", "ERR SELECT is not", "ERR WAITAOF"):
		return aboutUs
	}
	return passing
}

// keys is a set of keys of streams, of the last ones. The zero value is empty. Its methods are safe from any goroutine.
type keys struct {
	mu  sync.Mutex
	set map[string]struct{}
}

// maxKeys bounds a set. Beyond, it begins anew: what is forgotten is noted again.
const maxKeys = 1000

func (k *keys) has(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, is := k.set[key]
	return is
}

// note puts a key into the set, or takes it out.
func (k *keys) note(key string, is bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !is {
		delete(k.set, key)
		return
	}
	if k.set == nil || len(k.set) >= maxKeys {
		k.set = make(map[string]struct{})
	}
	k.set[key] = struct{}{}
}
