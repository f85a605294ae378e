package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// newBatch returns a batch with some items.
func newBatch(items ...item) []byte {
	b := &batch{body: batchHead{from: "gw-1/17", number: 3}.append(nil)}
	for i := range items {
		b.put(&items[i])
	}
	return b.body
}

func seedItems() []item {
	m := &message.Message{ID: 7, Topic: "fleet/7/status", Payload: []byte("on"), QoS: message.AtLeastOnce, Time: 1}
	record := message.AppendRecord(nil, m)
	return []item{
		{kind: forAll, at: 5, device: "m-7", share: "g", body: record},
		{kind: forDevice, at: 5, device: "m-7", qos: message.ExactlyOnce, own: true, hops: 2, body: record},
		{kind: taken, device: "m-7", epoch: 9, since: 8, hops: 1},
		{kind: elsewhere, device: "m-7", owner: "gw-2/18"},
		{kind: request, id: 1, procedure: "/x", timeout: 5, body: []byte("?")},
		{kind: response, id: 1, failed: "no"},
		{kind: ofDead, at: 5, owner: "gw-2/18", body: []byte(strings.Repeat("x", 300))},
	}
}

// Of any batch, what is read has a sender; and items that were read are what was written.
func FuzzBatch(f *testing.F) {
	f.Add(newBatch(seedItems()...))
	f.Add(batchHead{"gw-1/17", 1, -5}.append(nil))
	f.Add([]byte{})
	f.Add([]byte("\x1a\x02\x08\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		reasons := 0
		_ = eachItem(p, 0, func(h *batchHead, i *item) error {
			if !validOwner(h.from) || h.number == 0 {
				t.Fatalf("an item of %q, batch %d", h.from, h.number)
			}
			var again item
			if err := again.parse(i.append(nil)); err != nil {
				t.Fatalf("%+v cannot be read again: %v", i, err)
			}
			if m, err := i.message(); err == nil && (m.At != i.at || m.Hops > maxHops+1 || m.Topic == "") {
				t.Fatalf("message %+v of %+v", m, i)
			}
			return nil
		}, func(err error) {
			if reasons++; !errors.Is(err, errItem) {
				t.Fatalf("the reason %v is not errItem", err)
			}
		})
	})
}

// A bad item is skipped: those beside it are read.
func TestBadItem(t *testing.T) {
	p := newBatch(item{kind: taken, device: "first"})
	p = append(p, 0x1a, 2, 0x28, 9) // a QoS of 9
	rest := newBatch(item{kind: taken, device: "last"})
	p = append(p, rest[len(batchHead{"gw-1/17", 3, 0}.append(nil)):]...)
	var got []string
	bad := 0
	_ = eachItem(p, 0, func(_ *batchHead, i *item) error {
		got = append(got, strings.Clone(i.device))
		return nil
	}, func(error) { bad++ })
	if strings.Join(got, " ") != "first last" || bad != 1 {
		t.Errorf("got %q and %d bad ones", got, bad)
	}
}

// When a message expires is told by Redis' clock, so that nodes whose clocks differ agree.
func TestExpiryByRedisClock(t *testing.T) {
	const second = 1000
	n := &Node{owner: "gw-1/17", ahead: func() int64 { return 60 * second }} // a minute slow
	n.init()
	defer n.stop()
	p := newPeer(n, "gw-2/18")
	for _, expiry := range []int64{0, 100 * second} {
		m := &message.Message{ID: 7, Topic: "t", Time: 1, Expiry: expiry}
		if err := p.add(&item{kind: forAll}, m, nil); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := p.next()
	for b == nil { // it waits for more
		b, _ = p.next()
	}
	for _, c := range []struct{ ahead, want int64 }{{0, 160 * second}, {60 * second, 100 * second}, {-second, 161 * second}, {1000 * second, 1}} {
		var got []int64
		_ = eachItem(b.body, c.ahead, func(_ *batchHead, i *item) error {
			m, err := i.message()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Expiry)
			return nil
		}, func(err error) { t.Error(err) })
		if !slices.Equal(got, []int64{0, c.want}) {
			t.Errorf("with a clock that is %d ms slow: %d, want 0 and %d", c.ahead, got, c.want)
		}
	}
}

// Of any entry of the log, what is taken for a filter can be subscribed to, and found.
func FuzzLogEntry(f *testing.F) {
	f.Add("17-0", "16", "gw-1/17", "+", "fleet/+/status")
	f.Add("17-0", "16", "gw-1/17", "+", "$share/g/fleet/#")
	f.Add("17-0", "17", "gw-1/17", "!", "")
	f.Add("17-1", "", "gw-1", "+", "a/#/b")
	f.Add("18446744073709551615-0", "0", "a/0", "+", "$share/g/")
	f.Fuzz(func(t *testing.T, id, before, owner, what, filter string) {
		raw := rueidis.XRangeSlice{ID: id, FieldValues: []rueidis.XRangeFieldValue{{Field: "p", Value: before}, {Field: "o", Value: owner}, {Field: what, Value: filter}}}
		for n := range raw.FieldValues { // cut off anywhere
			_, _ = readLogEntry(&rueidis.XRangeSlice{ID: id, FieldValues: raw.FieldValues[:n]})
		}
		e, err := readLogEntry(&raw)
		if err == nil && (e.at <= e.before || !validOwner(e.owner)) {
			t.Fatalf("entry %+v", e)
		}
		if checkFilter(filter) != nil {
			return
		}
		n := new(Node)
		n.init()
		defer n.stop()
		p := newPeer(n, "gw-1/17")
		r := router.New(router.Config{Far: nowhere{}}, nil)
		r.SubscribeFar(filter, p)
		if _, rest, shared, _ := topic.Shared(filter); !shared && !strings.ContainsAny(rest, "+#") && !r.Wanted(rest) {
			t.Fatalf("filter %q is not found", filter)
		}
		r.UnsubscribeFar(filter, p)
		if r.Wanted(filter) {
			t.Fatalf("filter %q is found still", filter)
		}
	})
}

// Whatever Redis has of the nodes, the list has only nodes that can be, with loads from 0 to 1 and ages that are none or positive.
func FuzzMembers(f *testing.F) {
	f.Add(uint64(100), "gw-1", "17", "90", `{"left":0.5,"devices":3,"position":"16","arriving":["gw-2/18"]}`, "gw-2/18", "80")
	f.Add(uint64(100), "gw-1", "18446744073709551615", "18446744073709551615", `{"left":-1e300,"devices":-3}`, "*", "x")
	f.Add(uint64(1<<63), "a/b", "0", "", `{`, "", "")
	f.Fuzz(func(t *testing.T, now uint64, name, life, at, report, dead, died string) {
		r := renewed{now: now, lives: map[string]string{name: life, "gw-9": "17"}, times: map[string]string{name: at, "gw-9": at},
			reports: map[string]string{name: report}, dead: map[string]string{dead: died}}
		list := r.members(time.Second, func(error) {})
		if name != "gw-9" && !slices.ContainsFunc(list, func(m Member) bool { return m.Name == "gw-9" }) {
			t.Fatal("a bad node beside it has hidden another")
		}
		for _, m := range list {
			if !validOwner(m.owner()) || !(m.Load >= 0 && m.Load <= 1) || m.Age < 0 || m.Up < 0 || m.Node.Devices < 0 {
				t.Fatalf("member %+v", m)
			}
		}
		for o, ago := range r.gone(func(error) {}) {
			if !validOwner(o) || ago < 0 {
				t.Fatalf("%q is gone since %v", o, ago)
			}
		}
	})
}

// A node that has not reported yet, as in the first moments of its life, counts as one without load.
func TestNoReport(t *testing.T) {
	r := renewed{now: 100, lives: map[string]string{"gw-1": "17"}, times: map[string]string{"gw-1": "99"}}
	list := r.members(time.Second, func(err error) { t.Error(err) })
	if len(list) != 1 || list[0].Load != 0 || list[0].Report.Left != 1 {
		t.Errorf("members are %+v", list)
	}
}

// nowhere is the cluster of a router that asks it nothing.
type nowhere struct{}

func (nowhere) Position() uint64                               { return 0 }
func (nowhere) Changed(string)                                 {}
func (nowhere) WhenAnnounced(f func(error))                    { f(nil) }
func (nowhere) Space(_ string, hits []router.Hit) []router.Hit { return hits }
