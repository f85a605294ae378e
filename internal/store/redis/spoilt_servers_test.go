//go:build servers

package redis

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/test/servers"
)

// What is spoilt of the retained messages is counted and skipped: what comes behind it is read by all nodes.
func TestSpoiltRetained(t *testing.T) {
	o, prefix := at(servers.Redis(t).Address()), newPrefix()
	a, b := newKeeper(t, o, prefix, "a/1"), newKeeper(t, o, prefix, "b/1")
	a.must("k", "1")
	expectAll("k", "1", a, b)
	do := func(args ...string) {
		t.Helper()
		if err := a.link.client.Do(t.Context(), a.link.client.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	var last uint64
	servers.Until(t, "the log is not read", func() bool {
		end, err := a.link.client.Do(t.Context(), a.link.client.B().Xrevrange().Key(a.log.keys[logKey]).End("+").Start("-").Count(1).Build()).AsXRange()
		if err == nil && len(end) == 1 {
			last, _ = readPlace(&end[0])
		}
		return last != 0 && b.log.at.Load() == last
	})
	for i, fields := range [][]string{
		{"b", "x", "t", "spoilt", "p", "1"},
		{"no", "fields"},
		{"b", fmt.Sprint(last + 1), "t", "spoilt", "o", "a/1", "n", "-1", "p", "", "e", "x", "s", "1e3", "r", "\x01", "a", "0"},
	} {
		do(append([]string{"XADD", a.log.keys[logKey], fmt.Sprintf("%d-%d", last+uint64(i)/2, i+1)}, fields...)...)
	}
	do("HSET", a.log.keys[allKey], "spoilt", "garbage", "k2", "5 0 0 \x01")
	a.must("spoilt", "2") // over what is spoilt
	a.must("k", "2")
	expectAll("k", "2", a, b)
	expectAll("spoilt", "2", a, b)
	if b.log.spoilt.Load() == 0 {
		t.Error("what is spoilt is not counted")
	}
	c := newKeeper(t, o, prefix, "c/1")
	<-c.log.ready
	expectAll("k", "2", c)
	if c.log.spoilt.Load() != 1 {
		t.Errorf("%d are spoilt, of one in the hash", c.log.spoilt.Load())
	}
}

// A device whose record is spoilt begins anew, and leaves nothing behind. Others are not touched.
func TestSpoiltDevice(t *testing.T) {
	o, prefix := at(servers.Redis(t).Address()), newPrefix()
	open := func(node string) *Store {
		t.Helper()
		s, err := Open(t.Context(), store.Options{}, Options{
			Client: client(t, o), Link: newLink(t, o, prefix), Prefix: prefix, Node: node, Owner: node + "/1",
			Redirect: func(_, _ string, _ *message.Message, _ message.QoS, done func(error)) { done(nil) },
			Lost:     func(string, string, uint64) {},
		}, store.NewMemory(store.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	claim := func(s *Store, device string) Claimed {
		t.Helper()
		claimed := make(chan Claimed, 1)
		s.Claim(device, func(c Claimed, err error) {
			if err != nil {
				t.Error(err)
			}
			claimed <- c
		})
		return <-claimed
	}
	commit := func(s *Store) {
		t.Helper()
		told := make(chan error, 1)
		s.Commit(func(err error) { told <- err })
		if err := <-told; err != nil {
			t.Fatal(err)
		}
	}
	a, b := open("a"), open("b")
	for _, d := range []string{"d", "e"} {
		claim(a, d)
		a.Save(&store.Record{Device: d})
	}
	commit(a)
	state, _ := a.keys("d")
	hset := a.client.B().Arbitrary("HSET").Keys(state).Args("r", "\x01", "f/x", "\x01", "h/7", "\x01").Build()
	if err := a.client.Do(t.Context(), hset).Error(); err != nil {
		t.Fatal(err)
	}
	if c := claim(b, "d"); c.From != "a/1" || c.Found {
		t.Errorf("the claim of a spoilt device is %+v", c)
	}
	if c := claim(b, "e"); !c.Found {
		t.Errorf("the claim beside it is %+v", c)
	}
	if b.Stats().Spoilt != 3 {
		t.Errorf("%d fields are spoilt, of 3", b.Stats().Spoilt)
	}
	b.Save(&store.Record{Device: "d"})
	commit(b)
	if c := claim(a, "d"); !c.Found || a.Stats().Spoilt != 0 {
		t.Errorf("the claim after it is %+v, with %d spoilt fields", c, a.Stats().Spoilt)
	}
}
