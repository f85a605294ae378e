package feed

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// orders makes a publication of each record.
var orders = Config{Publish: Publish{Topic: "device/{source}/order"}}

func TestPublish(t *testing.T) {
	headers := []message.Property{{Key: "kind", Value: "new"}, {Key: "kind", Value: "urgent"}}
	for name, test := range map[string]struct {
		publish Publish
		route   route.Config
		change  func(*Record)
		want    string
	}{
		"key":          {publish: orders.Publish, want: `device/m-7/order {"a":1} q1`},
		"topic":        {publish: Publish{Topic: "in/{topic}/{property.kind}/{payload.a}"}, want: `in/orders/new/1 {"a":1} q1`},
		"QoS":          {publish: Publish{Topic: "t", QoS: "0"}, want: `t {"a":1} q0`},
		"retain":       {publish: Publish{Topic: "t", Retain: "true"}, want: `t {"a":1} q1 retain`},
		"as it came":   {publish: Publish{Topic: "t"}, change: func(r *Record) { r.QoS, r.Retain = 0, true }, want: `t {"a":1} q0 retain`},
		"not retained": {publish: Publish{Topic: "t", Retain: "false"}, change: func(r *Record) { r.Retain = true }, want: `t {"a":1} q1`},
		"mapped":       {change: func(r *Record) { r.To = "mapped" }, want: `mapped {"a":1} q1`},
		"template":     {publish: Publish{Topic: "t"}, change: func(r *Record) { r.To, r.Err = "mapped", errors.New("unmapped") }, want: `t {"a":1} q1`},
		"set and drop": {publish: orders.Publish, route: route.Config{Set: map[string]string{"b": "{topic}"}, Drop: []string{"a"}}, want: `device/m-7/order {"b":"orders"} q1`},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{Publish: test.publish}, test.route, func(w *world) {
				r := record(`{"a":1}`)
				r.Properties, r.ContentType, r.Expiry = headers, message.JSON, 5
				if test.change != nil {
					test.change(r)
				}
				w.give(r)
				w.wants(test.want)
				w.confirmed(1)
				m := w.node.last
				if m.Origin.Via != message.ViaSource || m.Source != "" || fmt.Sprint(m.Properties) != fmt.Sprint(headers) || m.ContentType != message.JSON ||
					m.Expiry != 5 || m.Time != time.Now().UnixMilli() || m.Debtor != message.BackendDebtor("source erp") {
					t.Errorf("%+v", m)
				}
				if s := w.source.Stats(); s.Taken != 1 || s.Done != 1 || s.InFlight != 0 || s.Bytes != 0 || s.State != Running || s.Lag != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestBroadcast(t *testing.T) {
	for filter, want := range map[string]string{
		"all":             `news/orders x q1 to ""`,
		"site/{source}/#": `news/orders x q1 to "site/m-7/#"`,
		"site/{source}#":  "$source/erp/dead x q1",
	} {
		inWorld(t, Config{Broadcast: Broadcast{Topic: "news/{topic}", Filter: filter}}, route.Config{}, func(w *world) {
			w.give(record("x"))
			w.wants(want)
			w.confirmed(1)
		})
	}
}

func TestCommand(t *testing.T) {
	to := Command{Device: "{source}", Method: "{topic}"}
	slow := to
	slow.TTL, slow.Exclusive = time.Minute, true
	at := time.UnixMilli(17)
	for name, test := range map[string]struct {
		command Command
		change  func(*Record)
		want    string
	}{
		"plain":      {to, nil, "m-7: orders(x) within 1h0m0s, key source/erp/orders/0@1/17"},
		"all said":   {slow, nil, "m-7: orders(x) within 1m0s, key source/erp/orders/0@1/17, exclusive"},
		"no ID":      {to, func(r *Record) { r.ID = "" }, "m-7: orders(x) within 1h0m0s, key "},
		"no device":  {to, func(r *Record) { r.Key = "" }, "$source/erp/dead x q1"},
		"no method":  {to, func(r *Record) { r.Topic = "a/b" }, "$source/erp/dead x q1"},
		"bad device": {to, func(r *Record) { r.Key = "a/b" }, "$source/erp/dead x q1"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{Command: test.command}, route.Config{}, func(w *world) {
				r := record("x")
				r.Time = at
				if test.change != nil {
					test.change(r)
				}
				w.give(r)
				w.wants(test.want)
				w.confirmed(1)
			})
		})
	}
}

// A record that comes again is the same command, also if its ID is too long for a key; another record is another command.
func TestKey(t *testing.T) {
	inWorld(t, Config{Command: Command{Device: "{source}", Method: "{topic}"}}, route.Config{}, func(w *world) {
		r := record("x")
		r.ID = strings.Repeat("x", 200)
		other := *r
		other.ID += "y"
		w.give(r, r, &other)
		w.node.mu.Lock()
		defer w.node.mu.Unlock()
		a := w.node.asked
		if _, key, _ := strings.Cut(a[0], ", key "); len(a) != 3 || a[0] != a[1] || a[1] == a[2] || key == "" || len(key) > mostKey {
			t.Errorf("%q", a)
		}
	})
}

func TestWhere(t *testing.T) {
	inWorld(t, orders, route.Config{Where: "payload.a > 1"}, func(w *world) {
		w.give(record(`{"a":1}`), record(`{"a":2}`), record(`{"a":"x"}`), record(`{`), record(`{"a":3}`))
		w.wants(`device/m-7/order {"a":2} q1`, `$source/erp/dead {"a":"x"} q1`, `$source/erp/dead { q1`, `device/m-7/order {"a":3} q1`)
		w.confirmed(5)
		if s := w.source.Stats(); s.Taken != 5 || s.Done != 2 || s.Filtered != 1 || s.Dead != 2 || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A dead letter has the record, and what is to be known to find it.
func TestLetter(t *testing.T) {
	inWorld(t, Config{Publish: Publish{Topic: "$SYS/{source}"}}, route.Config{}, func(w *world) {
		r := record("x")
		r.ID, r.Topic, r.ContentType, r.Time = "a\xff\x00b", strings.Repeat("t", 3000), "text/plain", time.UnixMilli(17)
		r.Properties = []message.Property{{Key: "kind", Value: "new"}}
		w.give(r)
		w.wants("$source/erp/dead x q1")
		m := w.node.last
		want := []message.Property{
			{Key: "kind", Value: "new"}, {Key: "reason", Value: `topic "$SYS/m-7" starts with $: these topics are the gateway's own`},
			{Key: "record", Value: "a\uFFFD\uFFFDb"}, {Key: "topic", Value: strings.Repeat("t", longestReason)},
		}
		if fmt.Sprint(m.Properties) != fmt.Sprint(want) || m.ContentType != "text/plain" || m.Time != 17 || m.Origin.Via != message.ViaGateway || len(r.Properties) != 1 {
			t.Errorf("%+v", m)
		}
	})
}

// A record of which nothing can be made is done when its dead letter is safe. If there is no place for the letter the record is done; if the node fails it comes again.
func TestLetterIsSafe(t *testing.T) {
	inWorld(t, Config{Publish: Publish{Topic: "{property.way}"}}, route.Config{}, func(w *world) {
		w.node.wait()
		w.give(record("1"))
		w.wants("$source/erp/dead 1 q1")
		w.confirmed(0)
		w.node.answer(nil)
		w.confirmed(1)
		w.node.fail(nil, store.ErrTooLarge)
		w.give(record("2"))
		w.wants("$source/erp/dead 2 q1")
		w.confirmed(2)
		w.node.fail(nil, errors.New("the disk is gone"))
		w.give(record("3"))
		w.wants("$source/erp/dead 3 q1")
		w.confirmed(2)
		w.node.fail(nil, nil)
		time.Sleep(time.Second)
		w.wants("$source/erp/dead 3 q1")
		w.confirmed(3)
		if s := w.source.Stats(); s.Dead != 3 || s.Failures != 1 || s.State != Running {
			t.Errorf("%+v", s)
		}
	})
}

// A node's error is about this record, or about the node.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		dead bool
	}{
		{command.ErrKeyUsed, true},
		{command.ErrDeviceFull, true},
		{command.ErrFull, false},
		{command.ErrBusy, false},
		{fmt.Errorf("%w: disk", command.ErrStore), false},
		{router.ErrTooLate, true},
		{store.ErrTooLarge, true},
		{&router.Refusal{Why: router.Refused}, true},
		{&router.Refusal{Why: router.StreamFull}, false},
		{router.ErrQuota, false},
		{router.ErrStore, false},
		{message.ErrNoIDs, false},
		{errors.New("a fence"), false},
	} {
		inWorld(t, orders, route.Config{}, func(w *world) {
			w.node.fail(test.err, nil)
			w.give(record("x"))
			if test.dead {
				w.wants("device/m-7/order x q1", "$source/erp/dead x q1")
				w.confirmed(1)
				return
			}
			w.wants("device/m-7/order x q1")
			w.confirmed(0)
			if s := w.source.Stats(); s.State != Failing || !strings.Contains(s.Err, test.err.Error()) || s.Since.IsZero() || s.Failures != 1 || s.InFlight != 0 {
				t.Errorf("%v: %+v", test.err, s)
			}
			w.node.fail(nil, nil)
			time.Sleep(time.Second)
			w.wants("device/m-7/order x q1")
			w.confirmed(1)
			if s := w.source.Stats(); s.State != Running || s.Err != "" || s.Done != 1 || s.Taken != 2 {
				t.Errorf("%v: %+v", test.err, s)
			}
		})
	}
}

// A record is confirmed when what was made of it is safe, and not before those that came before it.
func TestConfirmedWhenSafe(t *testing.T) {
	inWorld(t, orders, route.Config{}, func(w *world) {
		w.node.wait()
		w.give(numbered(1, 3)...)
		w.wants("device/m-7/order 1 q1", "device/m-7/order 2 q1", "device/m-7/order 3 q1")
		w.confirmed(0)
		if s := w.source.Stats(); s.Taken != 3 || s.Done != 0 || s.InFlight != 3 {
			t.Errorf("%+v", s)
		}
		held := w.node.take()
		held[2](nil)
		w.confirmed(0)
		held[0](nil)
		w.confirmed(1)
		held[1](nil)
		w.confirmed(3)
	})
}

// When the node fails, nothing more is taken. The record comes again with all behind it, in order, also what was safe.
func TestFailure(t *testing.T) {
	inWorld(t, orders, route.Config{}, func(w *world) {
		w.node.wait()
		w.give(numbered(1, 4)...)
		w.wants("device/m-7/order 1 q1", "device/m-7/order 2 q1", "device/m-7/order 3 q1", "device/m-7/order 4 q1")
		held := w.node.take()
		held[0](nil)
		held[3](nil)
		held[1](router.ErrStore)
		w.give(numbered(5, 5)...)
		time.Sleep(time.Minute)
		w.wants() // not before record 3 is answered
		w.node.answer(nil)
		held[2](nil)
		time.Sleep(time.Second)
		w.wants("device/m-7/order 2 q1", "device/m-7/order 3 q1", "device/m-7/order 4 q1", "device/m-7/order 5 q1")
		w.confirmed(5)
		if s := w.source.Stats(); s.Failures != 1 || s.State != Running || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// At the bounds the other side waits. A record that alone is larger than the bound of bytes is taken alone.
func TestBounds(t *testing.T) {
	for name, c := range map[string]Config{"records": {InFlight: 2}, "bytes": {InFlightBytes: 2*numbered(1, 1)[0].size() + 1}} {
		t.Run(name, func(t *testing.T) {
			c.Publish = orders.Publish
			inWorld(t, c, route.Config{}, func(w *world) {
				w.node.wait()
				large := record(strings.Repeat("x", 900))
				w.give(append(numbered(1, 3), large)...)
				w.wants("device/m-7/order 1 q1", "device/m-7/order 2 q1")
				s := w.source.Stats()
				if s.InFlight != 2 || s.Bytes != 2*numbered(1, 1)[0].size() || s.Taken != 2 || s.Lag != 4 {
					t.Errorf("%+v", s)
				}
				held := w.node.take()
				held[0](nil)
				w.wants("device/m-7/order 3 q1")
				held[1](nil)
				w.node.answer(nil)
				w.wants(fmt.Sprintf("device/m-7/order %s q1", large.Value))
				w.confirmed(4)
				huge := record(strings.Repeat("x", 10_000))
				w.give(huge)
				w.wants(fmt.Sprintf("$source/erp/dead %s q1", huge.Value))
				w.confirmed(5)
				if s := w.source.Stats(); s.InFlight != 0 || s.Bytes != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// The source waits at a bound when it is closed.
func TestCloseAtBound(t *testing.T) {
	inWorld(t, Config{Publish: orders.Publish, InFlight: 1}, route.Config{}, func(w *world) {
		w.node.wait()
		w.give(numbered(1, 2)...)
		closed := make(chan struct{})
		go func() { w.source.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed, although a record is under way")
		default:
		}
		w.node.answer(nil)
		<-closed
		w.wants("device/m-7/order 1 q1")
		w.confirmed(1)
	})
}

// The other side fails: pauses grow up to ten seconds, and the source goes on when it is back.
func TestFeedFails(t *testing.T) {
	inWorld(t, orders, route.Config{}, func(w *world) {
		w.there.fail(errors.New("connection refused"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := w.source.Stats()
		// 10 minutes by pauses of 10 s at most, and of 5 s in the middle.
		if s.State != Failing || s.Err != "connection refused" || s.Failures < 60 || s.Failures > 300 {
			t.Errorf("%+v", s)
		}
		w.there.fail(nil)
		w.give(record("x"))
		time.Sleep(11 * time.Second)
		w.wants("device/m-7/order x q1")
		w.confirmed(1)
	})
}

// Nothing but a person can mend it: the source says so, tries seldom, and is closed at once.
func TestMisconfigured(t *testing.T) {
	inWorld(t, orders, route.Config{}, func(w *world) {
		wrong := errors.New("wrong password")
		w.there.fail(fmt.Errorf("there: %w", Misconfigured(wrong)))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := w.source.Stats()
		if s.State != Stopped || s.Err != "there: wrong password" || s.Failures < 20 || s.Failures > 90 {
			t.Errorf("%+v", s)
		}
		w.there.fail(nil)
		w.give(record("x"))
		time.Sleep(mendPause + time.Second)
		w.wants("device/m-7/order x q1")
		if s := w.source.Stats(); s.State != Running || s.Err != "" {
			t.Errorf("%+v", s)
		}
		w.there.fail(Misconfigured(wrong))
	})
	if err := Misconfigured(router.ErrStore); !errors.Is(err, router.ErrStore) || !IsMisconfigured(err) || IsMisconfigured(router.ErrStore) {
		t.Error(err)
	}
}
