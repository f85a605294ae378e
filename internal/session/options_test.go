package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// Each case is a session's subscriptions, and what it sees of a message with QoS 2 on a/b that
// its publisher asked to keep.
func TestOptionsOfSubscriptions(t *testing.T) {
	for _, c := range []struct {
		name  string
		subs  []topic.Subscription
		other string // what another device's message looks like
		own   string // what its own looks like
	}{
		{"plain", []topic.Subscription{{Filter: "a/b", QoS: 1}}, "qos 1 id 1", "qos 1 id 1"},
		{"no local", []topic.Subscription{{Filter: "a/b", QoS: 1, NoLocal: true}}, "qos 1 id 1", ""},
		{
			"no local beside another",
			[]topic.Subscription{{Filter: "a/b", QoS: 2, NoLocal: true, ID: 1}, {Filter: "a/+", QoS: 1, ID: 2}},
			"qos 2 id 1 for [1 2]", "qos 1 id 1 for [2]",
		},
		{"as published", []topic.Subscription{{Filter: "a/#", QoS: 1, RetainAsPublished: true}}, "qos 1 id 1 retain", "qos 1 id 1 retain"},
		{
			"identifiers",
			[]topic.Subscription{{Filter: "a/#", ID: 7}, {Filter: "#", QoS: 1}, {Filter: "+/b", QoS: 2, ID: 9}, {Filter: "c", ID: 3}},
			"qos 2 id 1 for [7 9]", "qos 2 id 1 for [7 9]",
		},
		{"QoS 0", []topic.Subscription{{Filter: "a/#", ID: 268435455}}, "qos 0 for [268435455]", "qos 0 for [268435455]"},
	} {
		for source, want := range map[string]string{"other": c.other, "d": c.own} {
			t.Run(fmt.Sprint(c.name, " from ", source), func(t *testing.T) {
				w := newWorld(t, Config{})
				d := w.client("d", Options{})
				d.subscribe(c.subs...)
				m := &message.Message{Topic: "a/b", Payload: []byte("x"), QoS: 2, Retain: true, Source: source}
				if _, err := w.router.Publish(m, nil); err != nil {
					t.Fatal(err)
				}
				saw := []string{fresh, "a/b=x " + want}
				if want == "" {
					saw = saw[:1]
				}
				d.saw(saw...)
			})
		}
	}
}

// A message that waits for room is tailored once, and a broadcast needs no subscription.
func TestTailoredWaitersAndBroadcasts(t *testing.T) {
	w := newWorld(t, Config{})
	d := w.client("d", Options{ReceiveMaximum: 1})
	d.subscribe(topic.Subscription{Filter: "a", QoS: 1, ID: 5}, topic.Subscription{Filter: "b", QoS: 1, NoLocal: true})
	w.broadcast((&message.Message{Topic: "c", Payload: []byte("all"), QoS: 1}).Clone(), "#")
	d.saw(fresh, "c=all qos 1 id 1")
	for d.link.session.Offer((&message.Message{Topic: "z"}).Clone(), 1, router.Terms{}, nil) == nil { // until it is full
	}
	p := w.publish("a", "x", 1)
	expect(t, "publisher", p.String(), "waits")
	w.client("p", Options{}).pub(1, "b", "other", 1)
	own := &message.Message{Topic: "b", Source: "d", QoS: 1}
	if _, err := w.router.Publish(own, nil); err != nil { // not for it, so it need not have room
		t.Error(err)
	}
	for id := uint16(1); p.String() == "waits" || w.info("d").Queued > 1; id++ {
		_ = d.link.Acked(id)
	}
	if !slices.Contains(d.log, "a=x qos 1 id 1001 for [5]") {
		t.Errorf("the device saw %q", d.log[len(d.log)-2:])
	}
}

func TestSubscribeEach(t *testing.T) {
	w := newWorld(t, Config{MaxSubscriptions: 2, MaxFilters: 5})
	c := w.client("d", Options{Permissions: only("a/")})
	got := c.subscribe(filter("a/1", 2), filter("a/#/b", 0), filter("b", 1), filter("$share//a/x", 1), filter("a/2", 0), filter("a/3", 0))
	want := []string{"", CodeBadFilter, CodeNotAllowed, CodeBadFilter, "", CodeTooManyFilters}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got = c.subscribe(filter("a/3", 0), filter("a/1", 1))
	if want := []string{CodeTooManySubscriptions, ""}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := w.info("d").Subscriptions, []topic.Subscription{filter("a/1", 1), filter("a/2", 0)}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	existed := make([]bool, 3)
	c.link.UnsubscribeEach([]string{"a/1", "none", "a/1"}, existed)
	if !slices.Equal(existed, []bool{true, false, false}) {
		t.Errorf("existed %v", existed)
	}
	expect(t, "routes", w.router.Stats().Subscriptions, 1)
	w.client("d", Options{}) // a takeover: the old connection changes nothing
	c.subscribe(filter("late", 0))
	c.link.UnsubscribeEach([]string{"a/2"}, existed)
	expect(t, "routes", w.router.Stats().Subscriptions, 1)
}

func TestRetainHandling(t *testing.T) {
	w := newWorld(t, Config{})
	w.retain("a", "kept")
	if _, err := w.router.Publish(&message.Message{Topic: "b", Payload: []byte("own"), Retain: true, Source: "d"}, nil); err != nil {
		t.Fatal(err)
	}
	c := w.client("d", Options{})
	c.saw(fresh)
	id := 0
	for _, step := range []struct {
		sub  topic.Subscription
		want string
	}{
		{topic.Subscription{Filter: "a", QoS: 2, RetainHandling: topic.RetainNever}, ""},
		{topic.Subscription{Filter: "a", QoS: 2, RetainHandling: topic.RetainNew}, ""},
		{topic.Subscription{Filter: "a", QoS: 2, ID: 4}, "a=kept qos 1 id %d retain for [4]"},
		{topic.Subscription{Filter: "a", QoS: 1}, "a=kept qos 1 id %d retain"},
		{topic.Subscription{Filter: "+", QoS: 0, NoLocal: true, RetainHandling: topic.RetainNew}, "a=kept qos 0 retain"},
	} {
		c.subscribe(step.sub)
		switch {
		case step.want == "":
			c.saw()
		case step.sub.QoS > 0:
			id++
			c.saw(fmt.Sprintf(step.want, id))
		default:
			c.saw(step.want)
		}
	}
}

// only allows topics and filters that begin so.
type only string

func (o only) MayPublish(_, name string) bool     { return strings.HasPrefix(name, string(o)) }
func (o only) MayCall(_, service string) bool     { return strings.HasPrefix(service, string(o)) }
func (only) Credential() uint64                   { return 0 }
func (o only) MaySubscribe(_, filter string) bool { return strings.HasPrefix(filter, string(o)) }

func TestPermissions(t *testing.T) {
	w := newWorld(t, Config{})
	up := w.observe("+/#")
	c := w.connect("d", Options{Permissions: only("a/")})
	c.pub(1, "a/x", "1", 1)
	c.pub(2, "b/x", "2", 1)
	c.pub(0, "b/x", "3", 0)
	c.sub(3, 1, "a/+", "b/+")
	c.saw(fresh, "ack 1", "ack 2 not_allowed", "ack 3 not_allowed")
	up.saw(t, "a/x=1 qos 1")
	expect(t, "drops", w.drops()["not_allowed"], 2)
	expect(t, "subscriptions", len(w.info("d").Subscriptions), 0)

	c = w.connect("d", Options{})
	c.sub(4, 1, "a/+", "b/+")
	c.saw(resumed, "ack 4")
	c = w.connect("d", Options{Permissions: only("a/")}) // and no more
	w.publish("b/x", "not", 1)
	w.publish("a/x", "5", 1)
	c.saw(resumed, "a/x=5 qos 1")
	expect(t, "subscriptions", len(w.info("d").Subscriptions), 1)

	m := w.client("m", Options{Permissions: only("a/")})
	for range 2 {
		m.pub(5, "b/x", "4", 2)
		m.released(5, false)
	}
	m.saw(fresh, "rec 5not_allowed", "rec 5not_allowed")
	up.saw(t, "b/x=not qos 1", "a/x=5 qos 1")
}
