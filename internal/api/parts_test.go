package api

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/devices"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// newClusterStreams is newCluster with the streams of newStreams at each node.
func newClusterStreams(t testing.TB, c Config) *fakeCluster {
	t.Helper()
	all := newCluster(t, c)
	for _, n := range all.nodes {
		of := n.node(t)
		of.Cluster, of.Streams = n, openStreams(t, n.router)
		c.Address = "127.0.0.1:0"
		n.world.api = New(c, of)
		n.world.api.asking = time.Second
		n.serve(t)
	}
	return all
}

// sorted collects the next n entries and returns their topics in order, without t/.
func sorted(t testing.TB, s *consumed, n int) string {
	t.Helper()
	list := strings.Fields(topics(t, s, n))
	slices.Sort(list)
	return strings.ReplaceAll(strings.Join(list, " "), "t/", "")
}

// A reader at any node gets the entries of all, and goes on behind a place in all of them.
func TestStreamsOfAllNodes(t *testing.T) {
	c := newClusterStreams(t, Config{})
	c.nodes[0].put(t, 11, 13)
	c.nodes[1].put(t, 21, 22)
	for _, n := range c.nodes {
		api := n.client("grpc")
		s := consuming(t, api, &longlinev1.ConsumeRequest{Stream: "log", ToEnd: true})
		if s.Msg().Behind != 5 || len(s.Msg().Away) > 0 {
			t.Errorf("%s: behind %d, away %v", n.name, s.Msg().Behind, s.Msg().Away)
		}
		if got := sorted(t, s, 5); got != "11 12 13 21 22" {
			t.Errorf("%s: got %s", n.name, got)
		}
		if s.Receive() || s.Err() != nil {
			t.Errorf("%s: behind the end: %v, %v", n.name, s.Msg(), s.Err())
		}
	}
	api := c.nodes[2].client("grpc")
	s := consuming(t, api, &longlinev1.ConsumeRequest{Stream: "log"})
	if got := sorted(t, s, 5); got != "11 12 13 21 22" {
		t.Fatal(got)
	}
	place := s.Msg().Place
	c.nodes[1].put(t, 23, 23)
	c.nodes[2].put(t, 31, 31)
	if got := sorted(t, s, 2); got != "23 31" {
		t.Errorf("what came meanwhile: %s", got)
	}
	again := consuming(t, c.nodes[0].client("json"), &longlinev1.ConsumeRequest{Stream: "log", After: place})
	if got := sorted(t, again, 2); got != "23 31" {
		t.Errorf("behind %s: %s", place, got)
	}
	events := c.nodes[1].sse(t, c.nodes[1].h1, "log", "Last-Event-ID", place)
	for range 2 {
		e := events.next()
		for e.name != "message" {
			e = events.next()
		}
		if !strings.Contains(e.data, "t/23") && !strings.Contains(e.data, "t/31") || !strings.Contains(e.id, "gw-1:3,gw-2:") {
			t.Errorf("as events: %+v", e)
		}
	}
	latest := consuming(t, api, &longlinev1.ConsumeRequest{Stream: "log", After: "latest"})
	c.nodes[0].put(t, 14, 14)
	if got := sorted(t, latest, 1); got != "14" {
		t.Errorf("latest: %s", got)
	}
	if got := sorted(t, latest, 0); got != "" || latest.Msg().Place == place {
		t.Errorf("its place is %s", latest.Msg().Place)
	}
}

// A consumer has a place in each part, and an entry's place stands for all that came before it.
func TestConsumersOfAllNodes(t *testing.T) {
	c := newClusterStreams(t, Config{})
	c.nodes[0].put(t, 11, 12)
	c.nodes[1].put(t, 21, 22)
	first := consuming(t, c.nodes[0].client("grpc"), &longlinev1.ConsumeRequest{Stream: "log", Consumer: "billing"})
	var entries []*longlinev1.Entry
	for len(entries) < 4 && first.Receive() {
		for _, e := range first.Msg().Entries {
			entries = append(entries, &longlinev1.Entry{Place: e.Place, Message: e.Message})
		}
	}
	if len(entries) != 4 {
		t.Fatal(entries, first.Err())
	}
	if err := acknowledge(t.Context(), c.nodes[2].client("grpc"), "log", "billing", entries[2].Place); err != nil {
		t.Fatal(err)
	}
	d := describe(t, c.nodes[1].client("grpc"), "log")
	if len(d.Consumers) != 1 || d.Consumers[0].Lag.Messages != 1 || !d.Consumers[0].Reading || d.Messages != 4 || len(d.Parts) != 3 || d.Error != "" {
		t.Errorf("after three of four: %v", d)
	}
	second := consuming(t, c.nodes[1].client("grpc"), &longlinev1.ConsumeRequest{Stream: "log", Consumer: "billing"})
	for first.Receive() {
	}
	if connect.CodeOf(first.Err()) != connect.CodeAborted {
		t.Errorf("the reader before, at another node: %v", first.Err())
	}
	if got := topics(t, second, 1); got != entries[3].Message.Topic {
		t.Errorf("the newer reader goes on with %s, want %s", got, entries[3].Message.Topic)
	}
	if _, err := c.nodes[2].client("grpc").DeleteConsumer(t.Context(), connect.NewRequest(&longlinev1.DeleteConsumerRequest{Stream: "log", Consumer: "billing"})); err != nil {
		t.Fatal(err)
	}
	if d := describe(t, c.nodes[0].client("grpc"), "log"); len(d.Consumers) > 0 {
		t.Errorf("after DeleteConsumer: %v", d.Consumers)
	}
}

// A node that is away does not stop the others, is told, and is read when it is back.
func TestStreamsWhileANodeIsAway(t *testing.T) {
	c := newClusterStreams(t, Config{})
	gone := c.nodes[1]
	c.locked(func() { gone.away = fmt.Errorf("cut off: %w", devices.ErrNodeAway) })
	gone.put(t, 21, 21)
	c.nodes[0].put(t, 11, 11)
	api := c.nodes[0].client("grpc")
	s := consuming(t, api, &longlinev1.ConsumeRequest{Stream: "log", Consumer: "billing"})
	if !slices.Equal(s.Msg().Away, []string{"gw-2"}) {
		t.Errorf("away: %v", s.Msg().Away)
	}
	if got := sorted(t, s, 1); got != "11" {
		t.Fatal(got)
	}
	place := s.Msg().Entries[0].Place
	d := describe(t, api, "log")
	if d.Messages != 1 || !strings.Contains(d.Error, "node gw-2") || d.Parts[1].Error == "" || d.Parts[0].Error != "" {
		t.Errorf("described as %v", d)
	}
	c.locked(func() { gone.away = nil })
	if got := sorted(t, s, 1); got != "21" {
		t.Errorf("when it is back: %s", got)
	}
	if len(s.Msg().Away) > 0 {
		t.Errorf("away: %v", s.Msg().Away)
	}
	behind := s.Msg().Entries[0].Place
	c.locked(func() { gone.away = fmt.Errorf("cut off: %w", devices.ErrNodeAway) })
	r, err := api.Acknowledge(t.Context(), connect.NewRequest(&longlinev1.AcknowledgeRequest{Stream: "log", Consumer: "billing", Place: behind}))
	if err != nil || !slices.Equal(r.Msg.Away, []string{"gw-2"}) {
		t.Errorf("acknowledged %s and then %s: %v, %v", place, behind, r, err)
	}
	c.locked(func() { gone.away = nil })
	r, err = api.Acknowledge(t.Context(), connect.NewRequest(&longlinev1.AcknowledgeRequest{Stream: "log", Consumer: "billing", Place: behind}))
	if err != nil || len(r.Msg.Away) > 0 {
		t.Errorf("acknowledged again: %v, %v", r, err)
	}
	if d := describe(t, api, "log"); d.Consumers[0].Lag.Messages != 0 {
		t.Errorf("at the end: %v", d.Consumers)
	}
}

// An answer of another node that is lost is given again, also by a node that has forgotten the reader.
func TestLostAnswersAreGivenAgain(t *testing.T) {
	for _, consumer := range []string{"", "billing"} {
		c := newClusterStreams(t, Config{})
		a := c.nodes[0].api
		c.nodes[0].put(t, 1, 9)
		r := &readRequest{reader: "r", stream: "log", consumer: consumer, begins: true, messages: 4, bytes: 1 << 20}
		read := func() readAnswer {
			t.Helper()
			answer, err := a.readPart(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		if got := read(); got.place != 0 || got.end != 10 || len(got.entries) > 0 {
			t.Fatalf("at the beginning: %+v", got)
		}
		r.begins = false
		for i, after := range []uint64{0, 0, 4, 4, 2} {
			if i == 3 {
				a.held.end("r")
			}
			r.after = after
			if got := read(); len(got.entries) == 0 || got.entries[0].Place != after+1 {
				t.Errorf("consumer %q, request %d: after %d came %+v", consumer, i, after, got)
			}
		}
	}
}

func TestHeldReadersAreBounded(t *testing.T) {
	var l heldReaders
	defer l.endAll()
	for i := range mostHeld {
		h, err := l.take(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		l.give(fmt.Sprint(i), h)
	}
	if _, err := l.take(t.Context(), "one more"); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("one more: %v", err)
	}
	h, err := l.take(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.take(ctx, "0"); err == nil {
		t.Error("two have the same turn")
	}
	l.end("0")
	l.give("0", h)
	if _, err := l.take(t.Context(), "one more"); err != nil {
		t.Error(err)
	}
}

func TestPlacesOfAllNodes(t *testing.T) {
	now := time.UnixMilli(time.Now().UnixMilli())
	for _, p := range []places{
		{}, {at: map[string]uint64{"gw-1": 7}}, {at: map[string]uint64{"gw-1": 0, "b": math.MaxUint64 - 1}, rest: now},
	} {
		got, err := parsePlaces("place", p.String())
		if err != nil || got.String() != p.String() || !got.rest.Equal(p.rest) || len(got.at) != len(p.at) {
			t.Errorf("%s: %v, %v", p.String(), got, err)
		}
		before, behind := p.around("gw-1")
		at := places{at: map[string]uint64{"gw-1": 42}, rest: p.rest}
		for node, n := range p.at {
			if node != "gw-1" {
				at.at[node] = n
			}
		}
		if text := before + "42" + behind; text != at.String() {
			t.Errorf("around gw-1 in %s: %s, want %s", p.String(), text, at.String())
		}
	}
	for _, text := range []string{"", "7", "gw-1", "gw-1:", "gw-1:-1", "gw-1:7,gw-1:8", ":7", "gw-1:18446744073709551615", "%zz:1", "%2A:1", strings.Repeat("a:1,", mostParts) + "b:1"} {
		if _, err := parsePlaces("place", text); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}
