package api

import (
	"fmt"
	"slices"
	"testing"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

const sharedFilter = "$share/workers/t"

// numbers returns the numbers that numbered gave the messages.
func numbers(batch []*message.Message) (list []string) {
	for _, m := range batch {
		list = append(list, m.Properties[0].Value)
	}
	return list
}

// Two backends of a group share the messages, each of which one of them gets; a third backend outside gets all.
func TestBackendsShare(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		const messages = 40
		got := make(chan string, messages+1)
		for range 2 {
			s := open(t, w, c, &longlinev1.SubscribeRequest{Filters: []string{sharedFilter}, Qos: 1})
			go func() {
				for s.Receive() {
					for _, m := range s.Msg().Messages {
						got <- m.Properties[0].Value
					}
				}
			}()
		}
		all := open(t, w, c, &longlinev1.SubscribeRequest{Filters: []string{"t"}, Qos: 1})
		var want, seen []string
		for i := range messages {
			if n, err := w.api.publishAcknowledged(t.Context(), numbered(i, nil)); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			want = append(want, fmt.Sprint(i))
		}
		receive(t, all, messages)
		for range want {
			seen = append(seen, <-got)
		}
		slices.Sort(want)
		slices.Sort(seen)
		if !slices.Equal(seen, want) {
			t.Errorf("together they got %q", seen)
		}
	})
}

// Event streams, RPC streams and devices can be members of one group.
func TestAllKindsShare(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	events := w.listen(t, "qos=1&filter="+sharedFilter)
	rpc := open(t, w, w.client("grpc"), &longlinev1.SubscribeRequest{Filters: []string{sharedFilter}, Qos: 1})
	device := w.connect(t, "d", new(fakeDevice), sharedFilter)
	for i := range 3 { // each member has room once
		if _, err := w.api.publishAcknowledged(t.Context(), numbered(i, nil)); err != nil {
			t.Fatal(err)
		}
	}
	readEvents(t, events, 1)
	receive(t, rpc, 1)
	<-device.got
}

// When a backend leaves, the messages that it was not sent go to another member; those that it was sent do not.
func TestBackendThatLeavesGivesBack(t *testing.T) {
	w := newWorld(t, Config{Batch: router.InboxConfig{Messages: 1}}, router.Config{})
	group := selection{filters: []string{sharedFilter}, qos: 1}
	leaves, err := w.api.subscribe(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		_, _ = w.router.Publish(numbered(i, nil), nil)
		if i == 2 { // 0 is sent, 1 is being sent, 2 was taken, 3 was not
			for range 2 {
				if _, _, err := leaves.next(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	stays, err := w.api.subscribe(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	defer stays.close()
	leaves.close()
	for _, want := range []string{"1", "2", "3"} {
		batch, _, err := stays.next(t.Context())
		if got := numbers(batch); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	}
}

func TestRefusesBadShares(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	for filter, why := range map[string]string{
		"$share/g":   "has no filter after the group",
		"$share//a":  "level 2 is empty",
		"$share/+/a": "level 2 has a wildcard",
	} {
		r := &longlinev1.SubscribeRequest{Filters: []string{filter}}
		refused{filter, subscribing(r), connect.CodeInvalidArgument, why}.check(t, w.client("grpc"))
	}
}
